"""Spectrally normalized GANs in JAX and Flax: the library.

`snjax.spectral` stands alone; `snjax.train(config, workdir)` trains, and `snjax.load(workdir)`
gives a trained generator.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snjax.generate.load import load
    from snjax.generate.pictures import show
    from snjax.generate.trained import TrainedGenerator
    from snjax.host.command import train

__version__ = '0.2.0'
__all__ = ['TrainedGenerator', 'load', 'show', 'train']


def __getattr__(name: str):
    # Imported on first use: `import snjax.spectral` needs neither the time nor the packages.
    if name not in __all__:
        raise AttributeError(f"module 'snjax' has no attribute {name!r}")
    try:
        from snjax.generate.load import load
        from snjax.generate.pictures import show
        from snjax.generate.trained import TrainedGenerator
        from snjax.host.command import train
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"snjax.{name} needs {error.name}: pip install 'snjax[train]'", name=error.name
        ) from error
    found = (load, show, train, TrainedGenerator)
    return {thing.__name__: thing for thing in found}[name]
