"""SNGAN: spectral normalization for generative adversarial networks (Miyato et al. 2018, arXiv:1802.05957).

What makes a GAN an SNGAN is one line below: every layer of the discriminator divides its weight by its largest singular
value, W / sigma(W) (eq. 8). The pieces, in the paper's order:

* Algorithm 1 (appendix A): 1. power iteration for sigma, one a discriminator update, `snjax.spectral.power_iteration`;
  2. W / sigma, `snjax.spectral.SpectralNorm.normalize`; 3. the update, `experiments.gan.Gan.update_dis`;
* discriminator and generator updates in turn: `experiments.gan.Gan.train_step`;
* the hinge loss (eqs. 16 and 17) or the non-saturating one: `snjax.objectives.losses`;
* the networks of appendix B.4 (tables 3 to 6): `snjax.models`.
"""

from experiments import gan
from experiments.method import Config, require


class Method(gan.Method):
    """A GAN whose discriminator is spectrally normalised."""

    def __init__(self, config: Config):
        require(config, 'model.normalization', 'spectral')
        super().__init__(config)
