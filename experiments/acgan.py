"""AC-GAN: conditional image synthesis with auxiliary classifier GANs (Odena et al. 2017,
arXiv:1610.09585); and what became of it, ContraGAN and ReACGAN.

The discriminator has a second output that names the class. It learns to name real images (L_C of
the paper); the generator is rewarded for fakes that it names as intended. The adversarial pair is
any of `snjax.objectives.losses`; `model.head` says what naming is
(`snjax.objectives.class_losses`).

The weights are those of WGAN-GP's code (github.com/igul222/improved_wgan_training,
gan_cifar_resnet.py): 1 for the discriminator, on real images alone (Odena et al. use fakes too),
and 0.1 for the generator, which can be too little with the hinge loss
(docs/results/projection_acgan.md). PyTorch-StudioGAN has 1 and 1 for ContraGAN, 0.5 and 0.5 for
ReACGAN.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import discriminator, generator
from snjax.models.heads import EMBEDDED
from snjax.objectives.class_losses import CLASS_LOSSES, OPTIONS, cross_entropy
from snjax.objectives.losses import LOSSES


@dataclasses.dataclass(frozen=True, kw_only=True)
class AcGan(Gan):
    """A GAN whose discriminator returns (logits (b,), *outputs on the classes).

    Attributes:
        dis_class_weight: weight of classifying real images, in D's loss.
        gen_class_weight: weight of classifying fakes, in G's loss.
        class_loss: these outputs and the classes (b,) to the loss and the accuracy.
    """

    dis_class_weight: float
    gen_class_weight: float
    class_loss: Callable[..., Any] = cross_entropy

    def dis_loss(self, real_out, fake_out, labels):
        loss, metrics = super().dis_loss(real_out[0], fake_out[0], labels)
        class_loss, metrics['class_accuracy'] = self.class_loss(*real_out[1:], labels)
        return loss + self.dis_class_weight * class_loss, {**metrics, 'dis_class_loss': class_loss}

    def gen_loss(self, fake_out, real_out, labels):
        loss, metrics = super().gen_loss(fake_out[0], real_out and real_out[0], labels)
        class_loss, metrics['fake_class_accuracy'] = self.class_loss(*fake_out[1:], labels)
        return loss + self.gen_class_weight * class_loss, {**metrics, 'gen_class_loss': class_loss}

    def logits(self, out):
        return out[0]


def make(config: Any) -> AcGan:
    """AC-GAN with the weights of `config.acgan`, and the class loss of its head."""
    c, head = config.acgan, config.model.head
    if head not in CLASS_LOSSES:
        raise ValueError(
            f'model.head is {head!r}, but acgan is defined by model.head={", ".join(CLASS_LOSSES)}: use '
            'one of them, or another --config.method (gan accepts none and projection)'
        )
    if head in EMBEDDED and config.accumulate > 1:
        raise ValueError(
            f'accumulate is {config.accumulate}, but model.head={head} compares all images of a batch: '
            'use --config.accumulate=1, or --config.model.head=acgan'
        )
    options = {'temperature': c.temperature, 'margin': c.margin}
    return AcGan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
        dis_class_weight=c.dis_weight,
        gen_class_weight=c.gen_weight,
        class_loss=functools.partial(CLASS_LOSSES[head], **{k: options[k] for k in OPTIONS[head]}),
    )
