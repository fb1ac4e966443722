"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957), usable on its own.

`SNDense`, `SNConv`, `SNConvTranspose` and `SNEmbed` are layers for Flax linen
(`snjax.spectral.linen` explains them and their options); `snjax.spectral.nnx` has those for Flax
NNX, and `init` and `normalize` serve any pytree of weights. `power_iteration` is the pure function
behind all three. `snjax.spectral.diagnostics` measures kernels and the layers of any network. Needs
jax, flax and numpy, and of snjax only `nn` and `parallel`.
"""

from snjax.spectral.functional import init, normalize, outputs_first, outputs_last
from snjax.spectral.linen import (
    COLLECTION,
    SNConv,
    SNConvTranspose,
    SNDense,
    SNEmbed,
    SpectralNorm,
    advance,
    sigmas,
    singular_values,
)
from snjax.spectral.power_iteration import power_iteration, rayleigh

__all__ = [
    'COLLECTION',
    'SNConv',
    'SNConvTranspose',
    'SNDense',
    'SNEmbed',
    'SpectralNorm',
    'advance',
    'init',
    'normalize',
    'outputs_first',
    'outputs_last',
    'power_iteration',
    'rayleigh',
    'sigmas',
    'singular_values',
]
