"""How tests run: compiled quickly, on one core each, with the shapes in signatures enforced."""

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
import jax  # after the lines above: NumPy and XLA read these variables once, when they start

# Prepared data sets and downloads of the tests stay out of the user's cache.
_CACHE = tempfile.mkdtemp(prefix='snjax-tests-')
os.environ['SNJAX_CACHE'] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
# Tracing makes many objects and few cycles, which Python would look for all the time.
gc.set_threshold(50_000, 50, 100)
jaxtyping.install_import_hook('snjax', 'beartype.beartype')  # before anything imports snjax
_MAPPINGS = pathlib.Path('/proc/self/maps')
# Folders whose files take longest. With them first, the workers end at about the same time.
_LONGEST = ('launch', 'parallel', 'sweeps', 'experiments')


def pytest_addoption(parser):
    """The option of `make oracles`."""
    parser.addoption(
        '--checkouts',
        type=pathlib.Path,
        help='folder with checkouts of the official codes (tests/oracles/official/fixtures.py)',
    )


def pytest_collection_modifyitems(items):
    """Puts the longest files first where pytest-xdist gives files to workers in this order."""
    if 'PYTEST_XDIST_WORKER' in os.environ:
        items.sort(key=lambda item: not set(_LONGEST) & set(item.path.parts[-3:-1]))


@pytest.fixture(autouse=True, scope='module')
def forget_programs():
    """Drops compiled programs before they slow down the compiling of others.

    A compiled program has up to hundreds of memory mappings. With 6,000 of them the same program
    takes 1.7 times as long to compile as with 2,000 (2 cores of an Intel Xeon, jax 0.10.2,
    2026-12-01). Linux allows 65,530 in a process, and XLA ends with a segmentation fault there.
    """
    yield
    if _MAPPINGS.exists() and _MAPPINGS.read_bytes().count(b'\n') > 2_500:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def own_errors():
    """Turns off the check of types and shapes, so that snjax's own error messages are seen."""
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', False)


# helpers.launching is imported inside the fixtures, so files that launch nothing start sooner.


@pytest.fixture(scope='session')
def launches(tmp_path_factory):
    """A folder for launches, shared by all processes of this test session."""
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each process has a folder of its own in the folder of the session.
    return base.parent / 'shared' if 'PYTEST_XDIST_WORKER' in os.environ else base


@pytest.fixture(scope='session')
def launcher(launches):
    """Starts launch.py; all launches of the session share one compilation cache."""
    from helpers.launching import Launcher
    from helpers.preloaded import Preloaded

    # A socket's path has at most 107 characters.
    cache, address = launches / 'launches' / 'cache', pathlib.Path(_CACHE, 'preloaded')
    preloaded = Preloaded(address, Launcher(cache).environment())
    yield Launcher(cache, preloaded=preloaded)
    preloaded.close()


@pytest.fixture(scope='session')
def finished_run(launcher, launches):
    """The tiny SNGAN after its last step, trained once in the session; no test may change it."""
    from helpers.launching import finish_once

    return finish_once(launcher, launches)


@pytest.fixture(scope='session')
def other_seed(launcher, launches, finished_run):
    """The workdir, beside the shared run's, of the same run with seed 1; no test may change it."""
    from helpers.launching import other_seed_once

    return other_seed_once(launcher, launches)
