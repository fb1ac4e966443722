"""Keeps compiled programs on disk, so that the second start of a run compiles nothing."""

import hashlib
import os
import pathlib
import platform
import tempfile

import jax

from snjax.host import paths
from snjax.host.folders import cache_folder

# Size limit in bytes; programs unused for the longest time are deleted first. The step of a CIFAR
# ResNet takes a few million bytes.
_MAX_BYTES = 4 * 2**30


def use(where: str) -> pathlib.Path | None:
    """Switches JAX's persistent compilation cache on or off.

    Args:
        where: a folder; 'off' for no cache; or 'auto' for `$JAX_COMPILATION_CACHE_DIR`, else `xla`
            in `$SNJAX_CACHE`, else `~/.cache/snjax/xla`. 'auto' uses no cache if the folder cannot
            be written.

    Returns:
        The folder; None without a cache.

    Raises:
        ValueError: `where` is a folder that cannot be written.
    """
    if where == 'off':
        jax.config.update('jax_enable_compilation_cache', False)
        return None
    chosen = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    if where == 'auto' and chosen:
        return pathlib.Path(chosen)
    try:
        # A ValueError where there is no home.
        folder = cache_folder() / 'xla' if where == 'auto' else paths.expanded(where)
        folder /= _machine()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        if where == 'auto':
            return None
        raise ValueError(
            f'--compilation_cache={where} cannot be written ({error}): give another folder, auto '
            'or off'
        ) from error
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_compilation_cache_max_size', _MAX_BYTES)
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    return folder


def _machine() -> str:
    """A name for this kind of processor: machines with other instructions may share the home."""
    flags = ''
    info = pathlib.Path('/proc/cpuinfo')
    if info.is_file():
        lines = info.read_text().splitlines()
        flags = next((x for x in lines if x.startswith(('flags', 'Features'))), '')
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return f'{platform.machine()}-{digest}'
