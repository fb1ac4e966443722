"""The imports of `snjax.spectral`: jax, flax, numpy, jaxtyping, and of snjax `nn` and `parallel`."""

import pathlib
import subprocess
import sys

PROGRAM = """
import sys
import flax.linen, jax, jaxtyping, numpy
before = set(sys.modules)
import snjax.spectral
print(*sorted(set(sys.modules) - before))
"""


def test_the_layers_need_nothing_but_jax_flax_numpy_and_jaxtyping():
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert 'snjax.spectral.linen' in loaded
    standard = {name for name in loaded if name.split('.')[0] in sys.stdlib_module_names}
    needed = ('jax', 'jaxlib', 'flax', 'numpy', 'jaxtyping', 'snjax')
    assert {name.split('.')[0] for name in set(loaded) - standard} <= set(needed)
    own = {'.'.join(name.split('.')[:2]) for name in loaded if name.startswith('snjax')}
    assert own == {'snjax', 'snjax.spectral', 'snjax.nn', 'snjax.parallel', 'snjax.host'}
