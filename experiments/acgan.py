"""AC-GAN: conditional image synthesis with auxiliary classifier GANs (Odena et al. 2017,
arXiv:1610.09585).

The discriminator has a second output that names the class. It learns to name real images (L_C of
the paper); the generator is rewarded for fakes that it names as intended. The adversarial pair is
any of `snjax.objectives.losses`.

The weights are those of WGAN-GP's code (github.com/igul222/improved_wgan_training,
gan_cifar_resnet.py): 1 for the discriminator, on real images alone (Odena et al. use fakes too),
and 0.1 for the generator, which can be too little with the hinge loss
(docs/results/projection_acgan.md).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator
from snjax.objectives.losses import LOSSES

FIXED = {'model.head': 'acgan'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcGan(Gan):
    """A GAN whose discriminator returns (logits (b,), class_logits (b, num_classes)).

    Attributes:
        dis_class_weight: weight of classifying real images, in D's loss.
        gen_class_weight: weight of classifying fakes, in G's loss.
    """

    dis_class_weight: float
    gen_class_weight: float

    def dis_loss(self, real_out, fake_out, labels):
        loss, metrics = super().dis_loss(real_out[0], fake_out[0], labels)
        class_loss, metrics['class_accuracy'] = _classify(real_out[1], labels)
        return loss + self.dis_class_weight * class_loss, {**metrics, 'dis_class_loss': class_loss}

    def gen_loss(self, fake_out, real_out, labels):
        loss, metrics = super().gen_loss(fake_out[0], real_out and real_out[0], labels)
        class_loss, metrics['fake_class_accuracy'] = _classify(fake_out[1], labels)
        return loss + self.gen_class_weight * class_loss, {**metrics, 'gen_class_loss': class_loss}

    def logits(self, out):
        return out[0]


def make(config: Any) -> AcGan:
    """AC-GAN with the weights of `config.acgan`."""
    weights = config.acgan
    if min(weights.dis_weight, weights.gen_weight) < 0:
        raise ValueError(
            f'acgan.dis_weight is {weights.dis_weight} and acgan.gen_weight {weights.gen_weight}: '
            'each must be 0 or more'
        )
    return AcGan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config, head='acgan'),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
        dis_class_weight=weights.dis_weight,
        gen_class_weight=weights.gen_weight,
    )


def _classify(class_logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy, and the share of images that are classified correctly."""
    losses = optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)
    return jnp.mean(losses), jnp.mean(class_logits.argmax(-1) == labels)
