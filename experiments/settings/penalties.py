"""Checks whether the group `penalty` of a config fits the rest of it (`check.gan` asks)."""

from typing import Any

from snjax.objectives.penalties import PENALTIES

# Use per-image gradients, so batch norm in D is refused.
_PER_IMAGE_PENALTIES = ('gradient', 'gradient_one_sided')


def check(config: Any) -> None:
    """Raises a ValueError of one line for a penalty that the players or the method do not fit."""
    normalization = config.model.normalization
    if config.penalty.spectral and normalization not in ('spectral', 'tracked'):
        raise ValueError(
            'penalty.spectral needs the sigma of every layer, which model.normalization='
            f'{normalization!r} does not keep: use --config.model.normalization=tracked'
        )
    if config.penalty.spectral and config.model.embed_u == 'rows':
        raise ValueError(
            "penalty.spectral reads u as the features' side of every weight, but model.embed_u is "
            "'rows': use --config.model.embed_u=features"
        )
    others = [n for n in PENALTIES if config.penalty[n] and n not in ('r1', 'r2')]
    if config.penalty.through_augment and (config.method != 'r3gan' or others):
        raise ValueError(
            f'penalty.through_augment is on, but method is {config.method} and penalties beside R1 and '
            f'R2 are {", ".join(others) or "off"}: it is for r3gan with r1 and r2 alone; use '
            '--config.penalty.through_augment=false'
        )
    if config.penalty.gen_orthogonal and config.method != 'biggan':
        raise ValueError(
            f'penalty.gen_orthogonal is {config.penalty.gen_orthogonal}, but method is {config.method}: '
            'it is for biggan; use --config.penalty.gen_orthogonal=0'
        )
    if config.penalty.lecam and config.accumulate > 1:
        raise ValueError(
            f'penalty.lecam is {config.penalty.lecam}, but accumulate is {config.accumulate}: its averages '
            'hold the mean of the whole batch; use --config.accumulate=1, or --config.penalty.lecam=0'
        )
    for name in _PER_IMAGE_PENALTIES:
        if config.penalty[name] and normalization == 'batch':
            raise ValueError(
                f'penalty.{name} is on the gradient at single images, which batch norm in the '
                'discriminator mixes: use --config.model.normalization=layer or none'
            )
