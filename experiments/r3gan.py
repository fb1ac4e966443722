"""A modern yardstick: relativistic pairing with zero-centred penalties (Huang et al. 2024, "The GAN is dead; long live
the GAN!", arXiv:2501.05441).

Both players minimise E[softplus(-(D(x) - D(G(z))))], each real image against one fake, with real and fake exchanged for
G, and D is penalised at both ends, R1 at real images and R2 at fakes. No layer of D is normalised. Here it runs on the
same ResNet as the other methods: the comparison is of objectives, not of the paper's network.
"""

from experiments import gan
from experiments.method import Config, require


class Method(gan.Method):
    """A relativistic pairing GAN with R1 and R2."""

    def __init__(self, config: Config):
        require(config, 'loss', 'relativistic_pairing')
        for name in ('r1', 'r2'):
            if not config.penalty[name]:
                raise ValueError(
                    f'penalty.{name} is 0, but r3gan penalises both ends: '
                    f'give its weight, as --config.penalty.{name}=0.05'
                )
        super().__init__(config)
