"""AC-GAN: conditional image synthesis with auxiliary classifier GANs (Odena et al. 2017, arXiv:1610.09585).

The discriminator has a second output that names the class. It learns to name real images (L_C of the paper); the
generator is pulled towards fakes that it names as they were meant. The adversarial pair is any of
`snjax.objectives.losses`.

Weights are those of the code of WGAN-GP (github.com/igul222/improved_wgan_training, gan_cifar_resnet.py), which this
project takes for the reference: 1 for the discriminator, on real images alone (Odena et al. use fakes too), 0.1 for
the generator, which with the hinge loss can be too little (docs/results/projection_acgan.md).
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from experiments.gan import Gan
from experiments.method import Config, require
from experiments.settings import players


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcGan(Gan):
    """A GAN whose discriminator returns (logits (b,), class_logits (b, num_classes)).

    Attributes:
        dis_class_weight: of the classification of real images, in D's loss.
        gen_class_weight: of the classification of fakes, in G's loss.
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


class Method(AcGan):
    """AC-GAN with the weights of `config.acgan`."""

    def __init__(self, config: Config):
        require(config, 'model.head', 'acgan')
        weights = {
            f'{player}_class_weight': config.acgan[f'{player}_weight'] for player in ('dis', 'gen')
        }
        if min(weights.values()) < 0:
            raise ValueError(
                f'acgan.dis_weight is {config.acgan.dis_weight} and acgan.gen_weight {config.acgan.gen_weight}: '
                'each must be 0 or more'
            )
        super().__init__(**players(config), **weights)


def _classify(class_logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy, and the share of images whose class is named right."""
    losses = optax.softmax_cross_entropy_with_integer_labels(class_logits, labels)
    return jnp.mean(losses), jnp.mean(class_logits.argmax(-1) == labels)
