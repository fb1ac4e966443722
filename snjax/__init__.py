"""Spectrally normalized GANs in JAX and Flax: the library.

`snjax.spectral` stands alone; `snjax.load(workdir)` gives a trained generator.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snjax.generate.load import load
    from snjax.generate.trained import TrainedGenerator

__version__ = '0.2.0.dev0'
__all__ = ['TrainedGenerator', 'load']


def __getattr__(name: str):
    # Imported on first use: `import snjax.spectral` need not wait for the checkpoint library.
    if name == 'load':
        from snjax.generate.load import load

        return load
    if name == 'TrainedGenerator':
        from snjax.generate.trained import TrainedGenerator

        return TrainedGenerator
    raise AttributeError(f"module 'snjax' has no attribute {name!r}")
