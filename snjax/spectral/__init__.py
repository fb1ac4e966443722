"""Spectral normalization (Miyato et al. 2018, arXiv:1802.05957), usable on its own.

`SNDense`, `SNConv`, `SNConvTranspose` and `SNEmbed` are Flax layers (`snjax.spectral.linen`
explains them and their options); `power_iteration` is the pure function behind them.
`snjax.spectral.diagnostics` measures kernels and the layers of any network. Needs jax, flax, numpy
and jaxtyping, and of snjax only `nn` and `parallel`.
"""

from snjax.spectral.linen import (
    COLLECTION,
    SNConv,
    SNConvTranspose,
    SNDense,
    SNEmbed,
    SpectralNorm,
    advance,
    sigmas,
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
    'power_iteration',
    'rayleigh',
    'sigmas',
]
