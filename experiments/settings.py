"""A config's values checked and made into what `experiments.gan.Gan` takes.

Everything impossible is refused here, before a network is compiled, in one line that names the key.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.method import Config, choose
from snjax import from_config, parallel
from snjax.latents.sampling import LATENTS
from snjax.objectives.augment import parse_policy
from snjax.objectives.losses import LOSSES
from snjax.objectives.penalties import PENALTIES

# Gradients with respect to one image mean nothing where a layer mixes images.
_PER_IMAGE_PENALTIES = ('gradient', 'gradient_one_sided')


def linear_decay(lr: float, decay_start: int, decay_end: int) -> Callable[[jax.Array], jax.Array]:
    """`lr` up to `decay_start`, then a straight line to 0 at `decay_end` (generator updates); 0 and 0 for constant."""

    def rate(step):
        if not decay_end:
            return jnp.full((), lr, jnp.float32)
        left = (decay_end - step) / max(1, decay_end - decay_start)
        return lr * jnp.clip(left, 0.0, 1.0).astype(jnp.float32)

    return rate


def players(config: Config) -> dict[str, Any]:
    """The arguments of a `Gan`, from a config.

    Raises:
        ValueError: a value is impossible; the message names its key.
    """
    _check_choices(config)
    _check_numbers(config)
    _check_classes(config)
    _check_accumulation(config)
    o, size = config.optimizer, config.data.image_size
    return {
        'gen': from_config.generator(
            config, batch_norm_axis=parallel.AXIS if config.model.sync_batch_norm else None
        ),
        'dis': discriminator_of(config),
        'loss': LOSSES[config.loss],
        'image_shape': (size, size, config.data.channels),
        'dim_z': config.model.dim_z,
        'latent': config.model.latent,
        'num_classes': config.model.num_classes,
        'batch_size': config.batch_size,
        'gen_batch_size': config.gen_batch_size,
        'n_dis': config.n_dis,
        'fakes_at_once': config.fakes_at_once,
        'accumulate': config.accumulate,
        'update_order': config.update_order,
        'spectral_updates': config.model.spectral_updates,
        'optimizer': OPTIMIZERS[o.name](o.beta1, o.beta2, o.eps),
        'learning_rate': linear_decay(o.lr, o.decay_start, o.decay_end),
        'dis_learning_rate': linear_decay(o.dis_lr, o.decay_start, o.decay_end)
        if o.dis_lr
        else None,
        'penalties': penalties_of(config),
        'clip': config.clip,
        'augment': parse_policy(config.data.augment),
        'ema_decay': o.ema_decay,
    }


OPTIMIZERS = {
    'adam': optax.scale_by_adam,
    'rmsprop': lambda beta1, beta2, eps: optax.scale_by_rms(beta2, eps),
    'sgd': lambda beta1, beta2, eps: optax.identity(),
}


def discriminator_of(config: Config) -> Any:
    """The discriminator of a config, with the layers that `model.normalization` names."""
    axis = parallel.AXIS if config.model.sync_batch_norm else None
    return from_config.discriminator(config, batch_norm_axis=axis)


def penalties_of(config: Config) -> dict[str, float]:
    """The penalties that have a weight, checked against what they need of the discriminator."""
    weights = {name: config.penalty[name] for name in PENALTIES}
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f'penalty.{name} is {weight}: 0 (off) or a positive weight')
    normalization = config.model.normalization
    if weights['spectral'] and normalization not in ('spectral', 'tracked'):
        raise ValueError(
            f'penalty.spectral needs the sigma of every layer, which model.normalization={normalization!r} '
            'does not keep: use --config.model.normalization=tracked'
        )
    for name in _PER_IMAGE_PENALTIES:
        if weights[name] and normalization == 'batch':
            raise ValueError(
                f'penalty.{name} is on the gradient at single images, which batch norm in the discriminator mixes: '
                'use --config.model.normalization=layer or none'
            )
    return {name: float(weight) for name, weight in weights.items() if weight}


def _check_choices(config: Config) -> None:
    choose('loss', config.loss, LOSSES)
    choose('update_order', config.update_order, ('gen_first', 'dis_first'))
    choose('model.spectral_updates', config.model.spectral_updates, ('per_update', 'per_forward'))
    choose('model.latent', config.model.latent, LATENTS)
    per_forward = config.model.spectral_updates == 'per_forward'
    if config.fakes_at_once and per_forward and config.model.gen_normalization == 'spectral':
        raise ValueError(
            'fakes_at_once makes all fakes with the same singular vectors, which model.spectral_updates=per_forward '
            'moves from pass to pass: use --config.fakes_at_once=False'
        )
    choose('optimizer.name', config.optimizer.name, OPTIMIZERS)
    if config.data.channels not in (1, 3):
        raise ValueError(f'data.channels is {config.data.channels}: 1 and 3 are accepted')


def _check_numbers(config: Config) -> None:
    counts = {'model.dim_z': config.model.dim_z}
    counts |= {key: config[key] for key in ('n_dis', 'batch_size', 'gen_batch_size')}
    for key, value in counts.items():
        if not 0 < value < math.inf:
            raise ValueError(f'{key} is {value}: a positive number is needed')
    check_optimizer(config.optimizer)
    if not 0 <= config.clip < math.inf:
        raise ValueError(f'clip is {config.clip}: 0 (none) or a positive number is needed')
    parallel.check_batch_size(batch_size=config.batch_size, gen_batch_size=config.gen_batch_size)
    if LOSSES[config.loss].relativistic and config.gen_batch_size != config.batch_size:
        raise ValueError(
            f'loss {config.loss} compares each fake with a real image, but gen_batch_size is '
            f'{config.gen_batch_size} and batch_size {config.batch_size}: use the same number'
        )


def _check_accumulation(config: Config) -> None:
    """Raises a ValueError of one line where parts of a batch do not add up to the batch."""
    check_parts(config, 'batch_size', 'gen_batch_size')
    if config.accumulate > 1 and LOSSES[config.loss].batch_wide:
        raise ValueError(
            f'accumulate is {config.accumulate}, but loss {config.loss} compares with the mean of the whole batch: use '
            '--config.accumulate=1, or --config.loss=relativistic_pairing'
        )


def check_parts(config: Config, *sizes: str) -> None:
    """Raises a ValueError of one line unless `accumulate` divides each device's share of these batches."""
    num = config.accumulate
    if num < 1:
        raise ValueError(f'accumulate is {num}: 1 (a batch at once) or more is accepted')
    for name in sizes:
        share = config[name] // parallel.device_count()
        if share % num:
            fitting = [n for n in range(1, share + 1) if share % n == 0]
            near = min(fitting, key=lambda n: (abs(n - num), n))
            raise ValueError(
                f'accumulate {num} does not divide {name}, {share} images on each device: '
                f'use --config.accumulate={near}'
            )


def check_optimizer(o: Config) -> None:
    """Raises a ValueError of one line for impossible values of the group `optimizer`, names apart."""
    if not 0 < o.lr < math.inf:
        raise ValueError(f'optimizer.lr is {o.lr}: a positive number is needed')
    if not 0 <= o.dis_lr < math.inf:
        raise ValueError(f'optimizer.dis_lr is {o.dis_lr}: 0 (none) or a positive number is needed')
    if not 0 <= o.ema_decay < 1:
        raise ValueError(
            f'optimizer.ema_decay is {o.ema_decay}: 0 (no average) up to below 1 is accepted'
        )
    for key in ('beta1', 'beta2'):
        if not 0 <= o[key] < 1:
            raise ValueError(f'optimizer.{key} is {o[key]}: 0 up to below 1 is accepted')
    if (o.decay_start or o.decay_end) and not 0 <= o.decay_start < o.decay_end:
        raise ValueError(
            f'optimizer.decay_start {o.decay_start} is not before optimizer.decay_end {o.decay_end}: '
            'the rate falls between them; 0 and 0 keep it constant'
        )


def _check_classes(config: Config) -> None:
    model = config.model
    if model.num_classes < 0:
        raise ValueError(f'model.num_classes is {model.num_classes}: 0 (none) or more')
    if bool(model.num_classes) != (model.head != 'none'):
        raise ValueError(
            f'model.num_classes is {model.num_classes} and model.head {model.head!r}: a conditional GAN needs both, '
            'as --config.model.num_classes=10 --config.model.head=projection; 0 and none make an unconditional one'
        )
