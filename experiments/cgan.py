"""cGANs with projection discriminator (Miyato and Koyama 2018, arXiv:1802.05637).

An SNGAN that knows classes. The discriminator's logit is psi(phi(x)) + y^T V phi(x) (eq. 3): the
inner product of the image's pooled features phi(x) with the embedding of its class, whose table V
is spectrally normalized like every other weight. Each of the generator's batch norms has a scale
and a shift per class. The pieces:

* the inner product with the class embedding: head 'projection' in `snjax.models.heads`;
* conditional batch norm: `snjax.nn.normalization.ConditionalBatchNorm`;
* classes of fakes, uniform and independent of the real images': `snjax.training.adversarial`.
"""

from typing import Any

from experiments import sngan
from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator, spectral_layers
from snjax.objectives.losses import LOSSES

FIXED = {**sngan.FIXED, 'model.head': 'projection'}


def make(config: Any) -> Gan:
    """An SNGAN whose discriminator sees the class by projection."""
    return Gan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config, layers=spectral_layers(config), head='projection'),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
    )
