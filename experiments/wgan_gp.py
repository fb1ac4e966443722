"""WGAN-GP: improved training of Wasserstein GANs (Gulrajani et al. 2017, arXiv:1704.00028, Algorithm 1).

The critic D minimises E[D(G(z))] - E[D(x)] + lambda E[(|grad D(x^)| - 1)^2], with x^ = a x + (1 - a) G(z) and one
a ~ U(0, 1) per image; the generator minimises -E[D(G(z))]. The pieces:

* the two losses: `wasserstein` in `snjax.objectives.losses`;
* the penalty, lambda = `penalty.gradient`: `snjax.objectives.penalties.gradient_penalty`.
  `penalty.gradient_one_sided` instead punishes slopes above 1 only (section 4 of the paper), and `penalty.drift`
  keeps the critic's values near 0 (Karras et al. 2018, appendix A.1);
* n_dis critic updates, then the generator's (`update_order = 'dis_first'`): `experiments.gan.Gan.train_step`. The
  official code starts with the generator and leaves its first update out, which is the same order.

The critic must judge every image by itself: batch norm in it is refused.
"""

from experiments import gan
from experiments.method import Config, require


class Method(gan.Method):
    """A Wasserstein GAN whose critic is held 1-Lipschitz by a penalty on its slope."""

    def __init__(self, config: Config):
        require(config, 'loss', 'wasserstein')
        if not (config.penalty.gradient or config.penalty.gradient_one_sided):
            raise ValueError(
                'wgan_gp without a gradient penalty: use --config.penalty.gradient=10, or --config.method=gan'
            )
        super().__init__(config)
