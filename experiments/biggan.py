"""BigGAN: large scale GAN training (Brock et al. 2019, arXiv:1809.11096).

SAGAN's game, both players spectrally normalized, at eight times the batch and twice the width, on
networks whose batch norms see the class and parts of z (`snjax.models.biggan`). The pieces:

* orthogonal regularization of G (section 3.1), beta = `penalty.gen_orthogonal`: below;
* batches of 2,048 in parts: `accumulate`, `snjax.training.accumulation`;
* a moving average of G from an update on: `optimizer.ema_decay` and `optimizer.ema_start`;
* standing statistics and the truncation trick belong to finished runs: `--mode=sample`.
"""

import dataclasses
from typing import Any

import jax
import optax

from experiments import sagan
from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, gen_spectral_layers, generator, spectral_layers
from snjax.objectives.losses import LOSSES
from snjax.objectives.weight_penalties import orthogonal

FIXED = sagan.FIXED


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGan(Gan):
    """Adds the gradient of G's regularization to that of its loss once an update, as their code."""

    gen_orthogonal: float = 0.0  # beta; 0 for none

    def update_gen(self, state, real, key):
        def update(updates, state, params=None, **extra):
            pull = jax.grad(lambda p: self.gen_orthogonal * orthogonal(p))(params)
            updates = jax.tree.map(lambda a, b: a + b, updates, pull)
            return inner.update(updates, state, params, **extra)

        inner = optax.with_extra_args_support(self.optimizer)
        regularized = optax.GradientTransformationExtraArgs(inner.init, update)
        changed = {'optimizer': regularized} if self.gen_orthogonal else {}
        return Gan.update_gen(dataclasses.replace(self, **changed), state, real, key)


def make(config: Any) -> BigGan:
    """A GAN of two spectrally normalized players, with G's kernels kept orthogonal."""
    return BigGan(
        **common(config),
        gen=generator(config, layers=gen_spectral_layers(config), training=True),
        dis=discriminator(config, layers=spectral_layers(config)),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
        gen_orthogonal=config.penalty.gen_orthogonal,
    )
