"""WGAN-GP: improved training of Wasserstein GANs (Gulrajani et al. 2017, arXiv:1704.00028,
Algorithm 1).

The critic D minimizes E[D(G(z))] - E[D(x)] + lambda E[(|grad D(x^)| - 1)^2] with
x^ = a x + (1 - a) G(z) and one a ~ U(0, 1) per image; the generator minimizes -E[D(G(z))].

* The two losses: `wasserstein` in `snjax.objectives.losses`.
* The penalty, lambda = `penalty.gradient`: `snjax.objectives.penalties.gradient_penalty`.
  `penalty.gradient_one_sided` instead punishes slopes above 1 only (section 4), and `penalty.drift`
  keeps the critic's values near 0 (Karras et al. 2018, appendix A.1).
* n_dis critic updates, then one of the generator (`update_order = 'dis_first'`):
  `experiments.gan.Gan.train_step`. The official code starts with the generator and leaves out that
  first update, which gives the same order.

The critic must score every image by itself: batch norm in it is refused.
"""

from typing import Any

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator
from snjax.objectives.losses import LOSSES

FIXED = {'loss': 'wasserstein'}
PENALTIES = {'gradient', 'gradient_one_sided'}  # one of them is needed


def make(config: Any) -> Gan:
    """A Wasserstein GAN with a penalty on the critic's slope."""
    weights = penalties(config)
    if not weights.keys() & PENALTIES:
        raise ValueError(
            'wgan_gp without a gradient penalty: use --config.penalty.gradient=10, or '
            '--config.method=gan'
        )
    return Gan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config),
        loss=LOSSES['wasserstein'],
        penalties=weights,
        clip=config.clip,
    )
