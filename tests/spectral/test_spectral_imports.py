"""The imports of `snjax.spectral`: jax, flax, numpy, and of snjax `nn` and `parallel`."""

import pathlib
import subprocess
import sys

PROGRAM = """
import sys, time
import flax, flax.linen, flax.nnx, jax, numpy
before, began = set(sys.modules), time.process_time()
sys.modules['jaxtyping'] = None  # importing it fails, as where it is not installed
import snjax.spectral, snjax.spectral.nnx
print(time.process_time() - began)
import importlib, pkgutil
for module in pkgutil.iter_modules(snjax.spectral.__path__, 'snjax.spectral.'):
    importlib.import_module(module.name)
print(*sorted(set(sys.modules) - before - {'jaxtyping'}))
"""


def test_the_layers_need_nothing_but_jax_flax_and_numpy():
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *loaded = done.stdout.split()
    assert {'snjax.spectral.linen', 'snjax.spectral.nnx'} <= set(loaded)
    standard = {name for name in loaded if name.split('.')[0] in sys.stdlib_module_names}
    needed = ('jax', 'jaxlib', 'flax', 'numpy', 'snjax')
    assert {name.split('.')[0] for name in set(loaded) - standard} <= set(needed)
    own = {'.'.join(name.split('.')[:2]) for name in loaded if name.startswith('snjax')}
    packages = {'snjax.spectral', 'snjax.nn', 'snjax.parallel', 'snjax.host'}
    assert own == {'snjax', 'snjax.shapes', *packages}
    assert float(seconds) < 1
