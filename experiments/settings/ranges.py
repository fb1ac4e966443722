"""The range of every number in a config and in the options of the modes: one table, no JAX.

`check` asks before anything is imported that computes, so a value without meaning costs a second.
Whether a number fits the others, the network or the memory is asked by
`experiments.settings.check`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.settings import keys
from snjax.image_format import MAX_CHANNELS, MAX_SIDE, is_size

_MOST = 2**31 - 1  # steps and counts are 32-bit integers on the devices
_LAST_SEED = 2**32 - 1  # JAX takes the lower 32 bits of a larger one, which is another seed


class Range(NamedTuple):
    """Finite numbers from `least` to `most`; without `least` itself if `is_open`."""

    least: float
    most: float
    is_open: bool = False

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, int | float)
        if not math.isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.is_open and value == self.least)

    def words(self, kind: type) -> str:
        """The accepted numbers in words."""
        noun = 'a whole number' if kind is int else 'a number'
        if self.is_open:
            return f'{noun} above {self.least:g}' + self._up_to('')
        return f'{noun} from {self.least:g}' + self._up_to(' on')

    def _up_to(self, without: str) -> str:
        if self.most == math.inf:
            return without
        if self.most == DECAY.most:
            return ' to below 1'
        return f' to {self.most:g}' if self.most < 1e6 else f' to {self.most}'


COUNT, INTERVAL, SEED = Range(1, _MOST), Range(0, _MOST), Range(0, _LAST_SEED)
WEIGHT, POSITIVE = Range(0, math.inf), Range(0, math.inf, is_open=True)
DECAY = Range(0, math.nextafter(1, 0))
SIZE = Range(1, MAX_SIDE)
RANGES: Mapping[str, Mapping[str, Range]] = {
    'config': {
        'seed': SEED,
        'num_steps': COUNT,
        'steps_per_call': Range(0, 100_000),
        'batch_size': COUNT,
        'gen_batch_size': COUNT,
        'n_dis': Range(1, 1000),
        'accumulate': COUNT,
        'clip': WEIGHT,
        'model.gen_width': SIZE,
        'model.dis_width': SIZE,
        'model.dim_z': Range(1, 2**20),
        'model.lipschitz': POSITIVE,
        'model.dis_lipschitz': POSITIVE,
        'model.n_power_iterations': Range(1, 1000),
        'model.n_warmup_iterations': Range(0, 10_000),
        'model.n_singular_values': Range(1, 100),
        'model.num_classes': Range(0, 2**20),
        'model.num_conditions': Range(0, 1000),
        'model.dim_embed': SIZE,
        'model.attention': Range(0, 2**16),
        'model.conditioning_start': INTERVAL,
        'model.conditioning_end': INTERVAL,
        'penalty.gradient': WEIGHT,
        'penalty.gradient_one_sided': WEIGHT,
        'penalty.drift': WEIGHT,
        'penalty.dragan': WEIGHT,
        'penalty.r1': WEIGHT,
        'penalty.r2': WEIGHT,
        'penalty.consistency': WEIGHT,
        'penalty.consistency_fake': WEIGHT,
        'penalty.latent_consistency': WEIGHT,
        'penalty.gen_latent_distance': WEIGHT,
        'penalty.latent_radius': POSITIVE,
        'penalty.lecam': WEIGHT,
        'penalty.lecam_decay': DECAY,
        'penalty.lecam_start': INTERVAL,
        'penalty.orthonormal': WEIGHT,
        'penalty.gen_orthogonal': WEIGHT,
        'penalty.l2': WEIGHT,
        'penalty.spectral': WEIGHT,
        'acgan.dis_weight': WEIGHT,
        'acgan.gen_weight': WEIGHT,
        'acgan.temperature': POSITIVE,
        'acgan.margin': Range(0, 1),
        'glo.levels': Range(0, 16),
        'glo.z_lr': POSITIVE,
        'data.image_size': SIZE,
        'data.channels': Range(1, MAX_CHANNELS),
        'data.bits': Range(8, 16),
        'data.augment_chance': Range(0, 1),
        'data.augment_target': Range(0, 1),
        'data.augment_images': COUNT,
        'data.workers': Range(0, 4096),
        'optimizer.lr': POSITIVE,
        'optimizer.dis_lr': WEIGHT,
        'optimizer.beta1': DECAY,
        'optimizer.beta2': DECAY,
        'optimizer.eps': WEIGHT,
        'optimizer.gen_lead': INTERVAL,
        'optimizer.decay_start': INTERVAL,
        'optimizer.decay_end': INTERVAL,
        'optimizer.ema_decay': DECAY,
        'optimizer.ema_start': INTERVAL,
        'burn_in.steps': Range(0, _MOST),
        'burn_in.lr': WEIGHT,
        'burn_in.beta2': DECAY,
        'burn_in.gamma': WEIGHT,
        'transfer.frozen': Range(0, 1000),
        'checkpoint.every': INTERVAL,
        'checkpoint.keep': COUNT,
        'checkpoint.keep_every': INTERVAL,
        'log.every': COUNT,
        'log.histograms_every': INTERVAL,
        'sentinel.rollbacks': INTERVAL,
        'sentinel.num': INTERVAL,
        'diagnostics.every': INTERVAL,
        'sampling.every': INTERVAL,
        'sampling.num': INTERVAL,
        'eval.num_samples': COUNT,
        'eval.every': INTERVAL,
        'eval.batch_size': COUNT,
        'eval.neighbour_num': COUNT,
        'eval.seed': SEED,
    },
    'sample': {
        'num': COUNT,
        'seed': SEED,
        'truncation': WEIGHT,
        'step': INTERVAL,
        'label': Range(-1, _MOST),
        'label_to': Range(-1, _MOST),
        'rows': COUNT,
        'frames': COUNT,
        'extent': WEIGHT,
        'points': INTERVAL,
        'fps': POSITIVE,
        'components': COUNT,
        'neighbours': COUNT,
    },
    'invert': {
        'num': COUNT,
        'restarts': COUNT,
        'steps': COUNT,
        'lr': POSITIVE,
        'prior_weight': WEIGHT,
        'fraction': Range(0, 1),
        'factor': Range(2, 2**16),
        'noise': POSITIVE,
        'measurements': Range(1, 2**20),
        'batch_size': COUNT,
        'seed': SEED,
        'step': INTERVAL,
    },
    'evaluate': {
        'num_samples': INTERVAL,
        'batch_size': INTERVAL,
        'neighbour_num': INTERVAL,
        'half_samples': INTERVAL,
        'confidence': Range(0, 1),
        'seed': Range(-1, _LAST_SEED),
        'nearest': INTERVAL,
        'step': INTERVAL,
    },
    'diagnose': {
        'num': COUNT,
        'starts': COUNT,
        'ascent_steps': INTERVAL,
        'norm_steps': COUNT,
        'gram_iterations': COUNT,
        'step': INTERVAL,
    },
    'export': {'step': INTERVAL},
    'compare': {
        'image_size': Range(0, MAX_SIDE),
        'channels': Range(1, 3),
        'batch_size': COUNT,
        'neighbour_num': COUNT,
        'half_samples': INTERVAL,
        'confidence': Range(0, 1),
        'seed': SEED,
    },
}
# Of one number, or two.
_SIZES = (('config', 'data.image_size'), ('compare', 'image_size'))
_NOUNS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}


def check(flag: str, config: Any) -> None:
    """Checks the type of every value and the range of every number. Absent keys are not missed.

    Args:
        flag: 'config' or the mode whose options these are.
        config: a ConfigDict, or a nested dict.

    Raises:
        ValueError: of one line, for the first value that is not accepted.
    """
    plain = config if isinstance(config, Mapping) else config.to_dict()
    there = keys.flatten(plain)
    for key, default in _defaults(flag).items():
        if key in there:
            _check_one(flag, key, there[key], default)


def _defaults(flag: str) -> dict[str, Any]:
    return keys.flatten(keys.FILES[flag].get_config().to_dict())


def _check_type(flag: str, key: str, value: Any, default: Any) -> None:
    kind = type(default)
    accepted = (int, float) if kind is float else kind
    is_bool = isinstance(value, bool)
    if not isinstance(value, accepted) or is_bool != (kind is bool):
        name = key if flag == 'config' else f'{flag}.{key}'
        raise ValueError(
            f'{name} is {value!r:.60}: {_NOUNS[kind]} is needed; change --{flag}.{key}'
        )


def _check_one(flag: str, key: str, value: Any, default: Any) -> None:
    if (flag, key) in _SIZES and not isinstance(value, int):
        if not is_size(value):
            name = key if flag == 'config' else f'{flag}.{key}'
            raise ValueError(
                f'{name} is {value!r:.60}: {RANGES[flag][key].words(int)}, or height,width as 48,64, is '
                f'accepted; change --{flag}.{key}'
            )
        return
    _check_type(flag, key, value, default)
    allowed = RANGES[flag].get(key)
    if allowed is not None and value not in allowed:
        name = key if flag == 'config' else f'{flag}.{key}'
        raise ValueError(
            f'{name} is {value}: {allowed.words(type(default))} is accepted; change --{flag}.{key}'
        )
