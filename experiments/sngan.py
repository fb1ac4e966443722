"""SNGAN: spectral normalization for generative adversarial networks (Miyato et al. 2018, arXiv:1802.05957).

What makes a GAN an SNGAN is one argument below: every layer of the discriminator divides its weight by its largest
singular value, W / sigma(W) (eq. 8). The pieces, in the paper's order:

* power iteration for sigma, one a discriminator update: `snjax.spectral.power_iteration` (Algorithm 1, appendix A);
* discriminator and generator updates in turn: `experiments.gan.Gan.train_step`;
* the hinge loss (eqs. 16 and 17) or the non-saturating one: `snjax.losses`;
* the networks of appendix B.4 (tables 3 to 6): `snjax.models`.
"""

from experiments import gan
from experiments.method import Config
from snjax import models


class Method(gan.Gan):
    """A GAN whose discriminator is spectrally normalised."""

    def __init__(self, config: Config):
        model = config.model
        discriminator = models.make_discriminator(
            architecture=model.architecture,
            image_size=config.data.image_size,
            dis_width=model.dis_width,
            variant=model.variant,
            normalization='spectral',
            n_power_iterations=model.n_power_iterations,
            n_warmup_iterations=model.n_warmup_iterations,
            dtype=model.dtype,
        )
        super().__init__(dis=discriminator, **gan.settings(config))
