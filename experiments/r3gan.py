"""The objective of R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!",
arXiv:2501.05441).

Both players minimize E[softplus(-(D(x) - D(G(z))))] over pairs of a real image and a fake, with
real and fake exchanged for G. D is penalized at both ends: R1 at real images, R2 at fakes. No layer
of D is normalized. It runs here on the same ResNet as the other methods: the comparison is of
objectives, not of the paper's network.
"""

from typing import Any

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator
from snjax.models import PLAIN
from snjax.objectives.losses import LOSSES

FIXED = {'loss': 'relativistic_pairing', 'model.normalization': 'none'}
PENALTIES = ('r1', 'r2')  # both are needed


def make(config: Any) -> Gan:
    """A relativistic pairing GAN with R1 and R2."""
    weights = penalties(config)
    for name in PENALTIES:
        if name not in weights:
            raise ValueError(
                f'penalty.{name} is 0, but r3gan penalizes both ends: give its weight, as '
                f'--config.penalty.{name}=0.05'
            )
    return Gan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config, layers=PLAIN),
        loss=LOSSES['relativistic_pairing'],
        penalties=weights,
        clip=config.clip,
    )
