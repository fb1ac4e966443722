"""LeCam regularization: D's logits are pulled towards moving averages of themselves.

Tseng et al. 2021, "Regularizing Generative Adversarial Networks under Limited Data"
(arXiv:2104.03310), section 3.2: R_LC = E[(D(x) - a_F)^2] + E[(D(G(z)) - a_R)^2], where a_R and a_F
are exponential moving averages of D's mean logits of real images and of fakes. With few images it
keeps D from parting the two ever further.

As in the authors' code (github.com/google/lecam-gan) the averages of an update already hold its own
batch, as constants for the gradient. Their BigGAN begins them with the logits of update `first` and
their StyleGAN2 at the first update, corrected for the start at 0: here both are one rule, a sum of
weighted means over the sum of the weights. The averages are in the checkpoint, so a run resumes bit
for bit.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from snjax import parallel
from snjax.training.optimizers import from_update

Logits = Float[Array, ' b']
Scalar = Float[Array, '']


class Anchors(struct.PyTreeNode):
    """Moving averages of D's logits, times `weight`; float32.

    Attributes:
        real, fake: weighted sums of the mean logits of all updates so far.
        weight: sum of the weights; 0 before the first update.
    """

    real: Any
    fake: Any
    weight: Any


@dataclasses.dataclass(frozen=True)
class LeCam:
    """The regularization, without its weight, which is 0 before `first`.

    Attributes:
        decay: of the averages; published: 0.99 (paper, StyleGAN2) and 0.9 (BigGAN's code).
        first: generator update with which they begin; until then they are the newest mean logits.
        one_sided: only logits on the far side of the other's average count, E[max(0, D(x) - a_F)^2]
            + E[max(0, a_R - D(G(z)))^2], as in the authors' code; the paper has no max.
    """

    decay: float
    first: int
    one_sided: bool = False

    def start(self) -> Anchors:
        """No average yet."""
        return Anchors(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    def observed(self, anchors: Anchors, real: Scalar, fake: Scalar, step: jax.Array) -> Anchors:
        """The averages after one more discriminator update.

        Args:
            anchors: before it.
            real, fake: means over the whole batch of D's logits of real images and of fakes.
            step: generator updates done.
        """
        decay = jnp.asarray(from_update(self.first, self.decay)(step), jnp.float32)
        seen = Anchors(real, fake, jnp.ones(()))
        return jax.tree.map(lambda a, x: decay * a + (1 - decay) * x, anchors, seen)

    def penalty(
        self,
        anchors: Anchors,
        real_logits: Logits,
        fake_logits: Logits,
        step: jax.Array,
        mean: Callable[[Any], Scalar] = parallel.batch_mean,
    ) -> Scalar:
        """R_LC of one batch, >= 0, NOT multiplied by its weight.

        Args:
            anchors: before this update.
            real_logits, fake_logits: of this device's images.
            step: generator updates done.
            mean: averages an array over all its entries, and over all devices.
        """
        real, fake = (mean(lax.stop_gradient(x)) for x in (real_logits, fake_logits))
        now = self.observed(anchors, real, fake, step)
        real, fake = real_logits - now.fake / now.weight, now.real / now.weight - fake_logits
        if self.one_sided:
            real, fake = jax.nn.relu(real), jax.nn.relu(fake)
        return jnp.mean(jnp.square(real)) + jnp.mean(jnp.square(fake))
