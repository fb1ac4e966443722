"""R3GAN: Huang et al. 2024, "The GAN is dead; long live the GAN!" (arXiv:2501.05441).

Both players minimize E[softplus(-(D(x) - D(G(z))))] over pairs of a real image and a fake, with
real and fake exchanged for G. D is penalized at real images (R1) and at fakes (R2).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator
from snjax.models import PLAIN
from snjax.objectives.augment import augment
from snjax.objectives.losses import LOSSES
from snjax.training.optimizers import at

FIXED = {'loss': 'relativistic_pairing', 'model.normalization': 'none'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3Gan(Gan):
    """Takes R1 and R2 at images before augmentation, through it, in the pass that gives logits."""

    def shown(self, batch, key, chance):
        return batch  # `judged` augments it

    def judged(self, dis, params, real, fake, keys, *, all_real, step):
        fake, num = fake._replace(near=None), len(real.image)  # of zCR, which is not in here
        both = jax.tree.map(lambda *x: jnp.concatenate(x), real, fake)
        keys = jnp.concatenate([jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in (0, 1)])

        def judge(images):
            image = augment(images, keys, self.augment, at(self.augment_chance, step))
            return self._apply(self.dis, dis, params, image, both.label)

        logits, pull, model_state = jax.vjp(judge, both.image, has_aux=True)
        squared = jnp.sum(jnp.square(pull(jnp.ones_like(logits))[0]), (1, 2, 3)) / 2
        found = {'r1': jnp.mean(squared[:num]), 'r2': jnp.mean(squared[num:])}
        return (logits[:num], logits[num:]), found, model_state


def make(config: Any) -> Gan:
    """A relativistic pairing GAN with R1 and R2."""
    for name in ('r1', 'r2'):
        if not config.penalty[name]:
            raise ValueError(
                f'penalty.{name} is 0, but r3gan penalizes both ends: --config.penalty.{name}=0.05'
            )
    return (R3Gan if config.penalty.through_augment else Gan)(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config, layers=PLAIN),
        loss=LOSSES['relativistic_pairing'],
        penalties=penalties(config),
        clip=config.clip,
    )
