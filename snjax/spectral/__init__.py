"""Spectral normalisation (Miyato et al. 2018): power iteration as a pure function, and Flax layers that keep u, v,
sigma.

`power_iteration` is the pure function, `linen` has the layers; what is here is all that a model of one's own needs.
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
