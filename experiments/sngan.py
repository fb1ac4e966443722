"""SNGAN: spectral normalization for generative adversarial networks (Miyato et al. 2018,
arXiv:1802.05957).

Every layer of the discriminator divides its weight by its largest singular value, W / sigma(W)
(eq. 8). The pieces, in the paper's order:

* Algorithm 1 (appendix A): 1. power iteration for sigma, once per discriminator update:
  `snjax.spectral.power_iteration`; 2. W / sigma: `snjax.spectral.SpectralNorm.normalize`;
  3. the update: `experiments.gan.Gan.update_dis`;
* discriminator and generator in turn: `experiments.gan.Gan.train_step`;
* the hinge loss (eqs. 16 and 17) or the non-saturating one: `snjax.objectives.losses`;
* the networks of appendix B.4 (tables 3 to 6): `snjax.models`.
"""

from typing import Any

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator, spectral_layers
from snjax.objectives.losses import LOSSES

FIXED = {'model.normalization': 'spectral'}


def make(config: Any) -> Gan:
    """A GAN whose discriminator is spectrally normalized."""
    return Gan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config, layers=spectral_layers(config)),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
    )
