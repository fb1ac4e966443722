"""Recipe of each adversarial method: its changes to a plain GAN with the non-saturating loss.

The weights are the published ones. The comparisons of SNGAN's paper (`configs/sngan_paper.py`) and
of the toy problems (`benchmarks/toy_mixtures`) are built from these lines. Imports no JAX.
"""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    'gan': {},  # Goodfellow et al. 2014
    'weight_clipping': {'clip': 0.01},
    'wgan': {'loss': 'wasserstein', 'clip': 0.01},  # Arjovsky et al. 2017
    # Gulrajani et al. 2017, and their penalty with the non-saturating loss.
    'wgan_gp': {'method': 'wgan_gp', 'loss': 'wasserstein', 'penalty.gradient': 10.0},
    'gan_gp': {'penalty.gradient': 10.0},
    'dragan': {'penalty.dragan': 10.0},  # Kodali et al. 2017
    'lsgan': {'loss': 'least_squares'},  # Mao et al. 2017
    'batch_norm': {'model.normalization': 'batch'},
    'layer_norm': {'model.normalization': 'layer'},
    'weight_norm': {'model.normalization': 'weight'},
    # Brock et al. 2016.
    'orthonormal': {'model.dis_init': 'orthogonal', 'penalty.orthonormal': 1e-4},
    # Miyato et al. 2018, with both of the paper's losses.
    'sngan': {'method': 'sngan', 'model.normalization': 'spectral'},
    'sngan_hinge': {'method': 'sngan', 'model.normalization': 'spectral', 'loss': 'hinge'},
    # Yoshida and Miyato 2017: sigma is penalized, no weight is divided by it.
    'spectral_regularization': {'model.normalization': 'tracked', 'penalty.spectral': 0.01},
    'relativistic_average': {'loss': 'relativistic_average'},  # Jolicoeur-Martineau 2018
    # Huang et al. 2024.
    'r3gan': {
        'method': 'r3gan',
        'loss': 'relativistic_pairing',
        'penalty.r1': 0.05,
        'penalty.r2': 0.05,
    },
}
