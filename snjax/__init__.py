"""Spectrally normalised GANs in JAX and Flax: the library.

`snjax.spectral` stands alone; `snjax.load(workdir)` gives a trained generator.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snjax.generate.trained import TrainedGenerator, load

__version__ = '0.1.0'
__all__ = ['TrainedGenerator', 'load']


def __getattr__(name: str):
    # Looked up when asked for: whoever wants the layers alone need not wait for the checkpoint library.
    if name in __all__:
        from snjax.generate import trained

        return getattr(trained, name)
    raise AttributeError(f"module 'snjax' has no attribute {name!r}")
