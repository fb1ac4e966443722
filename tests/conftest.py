"""How tests run: compiled quickly, on one core each, and with the shapes in `snjax`'s signatures enforced."""

import atexit
import gc
import os
import pathlib
import shutil
import tempfile

import jaxtyping
import pytest

from helpers.compiling import QUICKLY

os.environ.setdefault('XLA_FLAGS', QUICKLY)
# A test process has a core of its own; more threads of its linear algebra only wait for each other.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
import jax  # no earlier: NumPy reads the variables when it is imported

# What tests prepare is not for the user's own runs.
_CACHE = tempfile.mkdtemp(prefix='snjax-tests-')
os.environ['SNJAX_CACHE'] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
jaxtyping.install_import_hook('snjax', 'beartype.beartype')  # before anything imports snjax
_MAPPINGS = pathlib.Path('/proc/self/maps')


@pytest.fixture(autouse=True)
def forget_programs():
    """Lets go of compiled programs long before there are too many for Linux.

    Each has hundreds of memory mappings, of which a process gets 65,530; XLA ends in a segmentation fault there.
    """
    yield
    if _MAPPINGS.exists() and _MAPPINGS.read_bytes().count(b'\n') > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def own_errors():
    """Lets wrong shapes and types through to the library, to see its own error messages."""
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', False)
