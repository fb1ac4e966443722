"""Compiled programs kept on disk, so that a second start of a run compiles nothing anew."""

import hashlib
import os
import pathlib
import platform
import tempfile

import jax

# Bytes of programs that stay; the longest unused go first. A CIFAR ResNet's step takes a few millions.
_MAX_BYTES = 4 * 2**30


def use(where: str) -> pathlib.Path | None:
    """Lets JAX keep what it compiles.

    Args:
        where: a folder; 'auto' for `$JAX_COMPILATION_CACHE_DIR` where that is set, or else `xla` in `$SNJAX_CACHE` or
            `~/.cache/snjax`, and no cache where that cannot be written; 'off' for none.

    Returns:
        The folder, or None.

    Raises:
        ValueError: `where` is a folder that cannot be written.
    """
    if where == 'off':
        jax.config.update('jax_enable_compilation_cache', False)
        return None
    told = os.environ.get('JAX_COMPILATION_CACHE_DIR')
    if where == 'auto' and told:
        return pathlib.Path(told)
    root = os.environ.get('SNJAX_CACHE') or '~/.cache/snjax'
    folder = pathlib.Path(root, 'xla') if where == 'auto' else pathlib.Path(where)
    try:
        folder = folder.expanduser() / _machine()  # a RuntimeError where there is no home
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:
        if where == 'auto':
            return None
        raise ValueError(
            f'--compilation_cache={where} cannot be written ({error}): give another folder, auto or off'
        ) from error
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_compilation_cache_max_size', _MAX_BYTES)
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    return folder


def _machine() -> str:
    """A name for this kind of processor: homes are shared by machines whose instructions differ."""
    flags = ''
    info = pathlib.Path('/proc/cpuinfo')
    if info.is_file():
        lines = info.read_text().splitlines()
        flags = next((x for x in lines if x.startswith(('flags', 'Features'))), '')
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return f'{platform.machine()}-{digest}'
