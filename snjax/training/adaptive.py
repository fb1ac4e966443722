"""Adaptive augmentation: its probability follows how far the discriminator overfits.

ADA (Karras et al. 2020, arXiv:2006.06676), section 3.1: r_t = E[sign(D(x))] over real training
images is 0 where D cannot tell them from fakes and near 1 where it knows them by heart. The
probability of every augmentation starts at 0, and moves up while r_t is above a target, down while
it is below. The published transformations are in `snjax.objectives.ada`; whatever `data.augment`
names follows the rule. State and rule are in the checkpoint, so a run resumes bit for bit.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

INTERVAL = 4  # discriminator updates between adjustments, as in the official code


class Chance(struct.PyTreeNode):
    """The probability, float32, and what was seen since it was last adjusted.

    Attributes:
        value: probability of each augmentation of each image.
        signs: sum over discriminator updates of the mean sign of the logits of real images.
        updates: number of these updates, int32.
    """

    value: Any
    signs: Any
    updates: Any


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """The rule.

    Attributes:
        target: of r_t; published: 0.6.
        images: real images that D sees while the probability moves by 1; published: 500,000.
        most: upper bound of the probability.
    """

    target: float
    images: int
    most: float = 1.0

    def start(self) -> Chance:
        """Probability 0."""
        return Chance(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def observed(self, chance: Chance, signs: jax.Array, batch_size: int) -> Chance:
        """The probability after one more discriminator update.

        Args:
            chance: before it.
            signs: mean over the whole batch of the sign of D's logits of real images.
            batch_size: real images of the update.
        """
        total, updates = chance.signs + signs, chance.updates + 1
        step = INTERVAL * batch_size / self.images
        moved = chance.value + step * jnp.sign(total / updates - self.target)
        is_due = updates == INTERVAL
        return Chance(
            jnp.where(is_due, jnp.clip(moved, 0.0, self.most), chance.value),
            jnp.where(is_due, 0.0, total),
            jnp.where(is_due, 0, updates),
        )
