"""SAGAN: self-attention generative adversarial networks (Zhang et al. 2019, arXiv:1805.08318).

An SNGAN with three changes: both players attend over the whole image (`snjax.nn.attention`), the
generator is spectrally normalized too, and the players learn at different rates, 1e-4 and 4e-4,
one update each (`optimizer.lr`, `optimizer.dis_lr`, `n_dis`).
"""

from typing import Any

from experiments import sngan
from experiments.build import common, penalties
from experiments.gan import Gan
from snjax.from_config import (
    discriminator,
    gen_spectral_layers,
    generator,
    spectral_layers,
)
from snjax.objectives.losses import LOSSES

FIXED = {**sngan.FIXED, 'model.gen_normalization': 'spectral'}


def make(config: Any) -> Gan:
    """An SNGAN with self-attention and a spectrally normalized generator."""
    if not config.model.attention:
        raise ValueError(
            'model.attention is 0: sagan needs the height of the feature map that attends to '
            'itself, as --config.model.attention=16'
        )
    return Gan(
        **common(config),
        gen=generator(config, layers=gen_spectral_layers(config), training=True),
        dis=discriminator(config, layers=spectral_layers(config)),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
    )
