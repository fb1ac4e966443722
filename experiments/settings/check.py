"""Checks how the values of a config fit together: what cannot work is refused in one line.

The range of each number alone is in `experiments.settings.ranges`.

`experiments.build.plan` asks before any data are read and before anything is compiled.
"""

from typing import Any

from experiments.settings import check_labels, penalties, ranges
from experiments.settings.choices import choose
from snjax import models, parallel
from snjax.data import sets
from snjax.image_format import sides
from snjax.latents.initial import INITIAL_LATENTS
from snjax.latents.sampling import LATENTS
from snjax.objectives.losses import LOSSES
from snjax.objectives.reconstruction import PYRAMIDS, RECONSTRUCTION_LOSSES, WEIGHTINGS
from snjax.training import feed
from snjax.training.optimizers import EPS_FORMS, OPTIMIZERS

Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker knows
STREAM = ('auto', 'on', 'off', 'decode')
# A logit above 0 says "real"; in the others reals lie around 1, or anywhere.
_SIGNED_LOSSES = ('hinge', 'non_saturating', 'minimax')
_POLICIES = ('per_update', 'per_forward', 'per_joint_forward')  # of the power iterations


# ---- methods


def gan(config: Config) -> None:
    """Raises a ValueError for a value that no adversarial method accepts."""
    ranges.check('config', config)
    model = config.model
    choose('loss', config.loss, LOSSES)
    choose('update_order', config.update_order, ('gen_first', 'dis_first', 'same_fakes'))
    choose('model.spectral_updates', model.spectral_updates, _POLICIES)
    choose('model.latent', model.latent, LATENTS)
    _pixels(config.data)
    optimizer(config.optimizer)
    _batches(config)
    check_labels.classes(config)
    penalties.check(config)
    _burn_in(config)
    _adaptive(config)
    transfer(config)


def _adaptive(config: Config) -> None:
    d = config.data
    if d.augment_target and not d.augment:
        raise ValueError(
            f'data.augment_target is {d.augment_target}, but data.augment is empty: say which '
            'augmentations, as --config.data.augment=color,translation,cutout'
        )
    if d.augment_target and config.burn_in.augment:
        raise ValueError(
            f'data.augment_target is {d.augment_target} and burn_in.augment is on, but one of them can '
            'set the probability of augmentations: turn the other off'
        )
    if d.augment_target and config.loss not in _SIGNED_LOSSES:
        raise ValueError(
            f'data.augment_target is {d.augment_target}, but the sign of a logit means nothing in loss '
            f'{config.loss}: use --config.data.augment_target=0, or loss {", ".join(_SIGNED_LOSSES)}'
        )


def transfer(config: Config) -> None:
    """Raises a ValueError for values of the group `transfer` that do not fit the rest."""
    t = config.transfer
    choose('transfer.take', t.take, ('state', 'weights'))
    choose('transfer.optimizer', t.optimizer, ('fresh', 'kept'))
    choose('transfer.ema', t.ema, ('kept', 'fresh'))
    if t.take == 'weights' and not config.init_from:
        raise ValueError(
            'transfer.take=weights, but there is no checkpoint to take them of: give its run, as '
            '--init_from=runs/faces@50000'
        )
    if t.frozen and (t.take != 'weights' or t.optimizer != 'fresh'):
        raise ValueError(
            f'transfer.frozen is {t.frozen}: frozen blocks need --config.transfer.take=weights, and '
            'a fresh optimizer, whose old momentum would move them; or --config.transfer.frozen=0'
        )
    if t.frozen and config.clip:
        raise ValueError(
            f'transfer.frozen is {t.frozen}, but clip is {config.clip} and bounds all weights: use '
            '--config.clip=0, or --config.transfer.frozen=0'
        )


def _batches(config: Config) -> None:
    parallel.check_batch_size(batch_size=config.batch_size, gen_batch_size=config.gen_batch_size)
    loss = LOSSES[config.loss]
    if loss.relativistic and config.gen_batch_size != config.batch_size:
        raise ValueError(
            f'loss {config.loss} compares each fake with a real image, but gen_batch_size is '
            f'{config.gen_batch_size} and batch_size {config.batch_size}: use the same number'
        )
    if config.update_order == 'same_fakes' and config.gen_batch_size != config.batch_size:
        raise ValueError(
            'update_order same_fakes updates both players on one batch of fakes, but '
            f'gen_batch_size is {config.gen_batch_size} and batch_size {config.batch_size}: use the '
            'same number, or --config.update_order=gen_first'
        )
    parts(config, 'batch_size', 'gen_batch_size')
    if config.accumulate > 1 and loss.batch_wide:
        raise ValueError(
            f'accumulate is {config.accumulate}, but loss {config.loss} compares with the mean of '
            'the whole batch: use --config.accumulate=1, or --config.loss=relativistic_pairing'
        )


def _burn_in(config: Config) -> None:
    b, o = config.burn_in, config.optimizer
    named = [name for name in ('lr', 'beta2', 'gamma', 'ema', 'augment') if b[name]]
    if named and not b.steps:
        raise ValueError(
            f'burn_in.{named[0]} is {b[named[0]]}, but burn_in.steps is 0: give the generator updates '
            'that the burn-in takes, as --config.burn_in.steps=10000'
        )
    if b.lr and (o.decay_end or o.dis_lr):
        raise ValueError(
            f'burn_in.lr is {b.lr}, but optimizer.decay_end is {o.decay_end} and optimizer.dis_lr '
            f'{o.dis_lr}: both players follow one rate in a burn-in; leave the two at 0, or '
            '--config.burn_in.lr=0'
        )
    if b.beta2 and (o.name != 'adam' or o.eps_form != 'adam'):
        raise ValueError(
            f'burn_in.beta2 is {b.beta2}, but optimizer.name is {o.name} and optimizer.eps_form '
            f'{o.eps_form}: beta2 moves in --config.optimizer.name=adam with eps_form=adam alone'
        )
    if o.ema_start and (b.ema or not o.ema_decay):
        raise ValueError(
            f'optimizer.ema_start is {o.ema_start}: it needs --config.optimizer.ema_decay=0.9999, not '
            f'{o.ema_decay}, and burn_in.ema off; or --config.optimizer.ema_start=0'
        )
    if b.ema and not o.ema_decay:
        raise ValueError(
            'burn_in.ema is on, but optimizer.ema_decay is 0: give the decay at its end, as '
            '--config.optimizer.ema_decay=0.999'
        )


def glo(config: Config) -> None:
    """Raises a ValueError for a value that GLO does not accept."""
    ranges.check('config', config)
    o, g = config.optimizer, config.glo
    models.check_architecture(config.model.architecture)
    choose('glo.z_optimizer', g.z_optimizer, OPTIMIZERS)
    choose('glo.loss', g.loss, RECONSTRUCTION_LOSSES)
    choose('glo.z_loss', g.z_loss, ['', *RECONSTRUCTION_LOSSES])
    choose('glo.weighting', g.weighting, WEIGHTINGS)
    choose('glo.pyramid', g.pyramid, PYRAMIDS)
    choose('glo.initial', g.initial, INITIAL_LATENTS)
    optimizer(o)
    transfer(config)
    if config.transfer.frozen:
        raise ValueError(
            f'transfer.frozen is {config.transfer.frozen}, but GLO has no discriminator: leave it at 0'
        )
    _pixels(config.data)
    side = min(sides(config.data.image_size))
    if side < 2**g.levels:
        raise ValueError(
            f'glo.levels is {g.levels}: 0 up to {side.bit_length() - 1} halve images of {side} px'
        )
    parallel.check_batch_size(batch_size=config.batch_size)
    parts(config, 'batch_size')
    if config.data.flip:
        raise ValueError(
            'data.flip is on, but in GLO a latent belongs to one image: use '
            '--config.data.flip=false'
        )
    if config.diagnostics.every:
        raise ValueError(
            f'diagnostics.every is {config.diagnostics.every}, but GLO has no discriminator: leave it '
            'at 0'
        )
    model = config.model
    if config.data.conditions:
        raise ValueError(
            f'data.conditions is {config.data.conditions!r}, but GLO has no conditions: leave it empty'
        )
    if model.num_classes or model.num_conditions or o.ema_decay:
        raise ValueError(
            f'model.num_classes is {model.num_classes}, model.num_conditions {model.num_conditions} and '
            f'optimizer.ema_decay {o.ema_decay}: GLO has neither classes, conditions nor a moving '
            'average; leave all at 0 (--sample.prior=class samples classes)'
        )


# ---- groups of keys


def _pixels(d: Config) -> None:
    sets.check_pixels(d.image_size, d.channels, d.fit, d.bits)


def optimizer(o: Config) -> None:
    """Raises a ValueError for a value that the group `optimizer` does not accept."""
    choose('optimizer.name', o.name, OPTIMIZERS)
    choose('optimizer.eps_form', o.eps_form, EPS_FORMS)
    if o.gen_lead > max(o.decay_end - 1, 0):
        raise ValueError(
            f'optimizer.gen_lead is {o.gen_lead}: 0 up to below optimizer.decay_end, '
            f'{o.decay_end}, is accepted'
        )
    if (o.decay_start or o.decay_end) and o.decay_start >= o.decay_end:
        raise ValueError(
            f'optimizer.decay_start {o.decay_start} is not before optimizer.decay_end '
            f'{o.decay_end}: the rate falls between them; 0 and 0 keep it constant'
        )


def parts(config: Config, *sizes: str) -> None:
    """Raises a ValueError unless `accumulate` divides each device's share of these batches."""
    num = config.accumulate
    for name in sizes:
        share = config[name] // parallel.device_count()
        if share % num:
            fitting = [n for n in range(1, share + 1) if share % n == 0]
            near = min(fitting, key=lambda n: (abs(n - num), n))
            raise ValueError(
                f'accumulate {num} does not divide {name}, {share} images on each device: '
                f'use --config.accumulate={near}'
            )


def data(d: Config) -> None:
    """Checks the group `data` without reading data; raises a ValueError of one line."""
    sets.check_request(
        d.name,
        d.image_size,
        d.channels,
        d.fit,
        d.bits,
        data_dir=d.data_dir or None,
        path=d.path or None,
        labels=d.labels,
        conditions=d.conditions,
    )
    choose('data.stream', d.stream, STREAM)
    if d.stream in ('on', 'decode'):
        feed.check_installed(f'data.stream={d.stream} streams the images')
