"""Spectrally normalized GANs in JAX and Flax: the library.

`snjax.spectral` stands alone; `snjax.load(workdir)` gives a trained generator.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snjax.generate.load import load
    from snjax.generate.trained import TrainedGenerator

__version__ = '0.2.0'
__all__ = ['TrainedGenerator', 'load']


def __getattr__(name: str):
    # Imported on first use: `import snjax.spectral` needs neither the time nor the packages.
    if name not in __all__:
        raise AttributeError(f"module 'snjax' has no attribute {name!r}")
    try:
        from snjax.generate.load import load
        from snjax.generate.trained import TrainedGenerator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"snjax.{name} needs {error.name}: pip install 'snjax[train]'", name=error.name
        ) from error
    return {'load': load, 'TrainedGenerator': TrainedGenerator}[name]
