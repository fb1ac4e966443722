"""Turns a config into a plan, or refuses it, once: before data are read or anything is compiled.

As a program it checks whether runs with these configs would start. A sweep calls it before it
starts a run, in a process of its own, because methods import JAX:

    python -m experiments.build < configs.json    # {name: config}; exit 2, one line at a bad one

It looks for the weights of an extractor, but not into them. What depends on the device or on the
data is left to the runs.
"""

import dataclasses
import functools
import importlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.settings import check, keys, memory, ranges
from experiments.settings.scores import ScorePlan, score_plan
from snjax import from_config, parallel
from snjax.host import paths
from snjax.host.exit_codes import BAD_INPUT
from snjax.image_format import canonical, sides
from snjax.metrics import imported
from snjax.objectives.augment import parse_policy
from snjax.objectives.class_losses import CLASS_LOSSES
from snjax.objectives.penalties import PENALTIES
from snjax.training.adaptive import Adaptive
from snjax.training.adversarial import Nearby, linear_rise
from snjax.training.lecam import LeCam
from snjax.training.method import Method
from snjax.training.optimizers import (
    OPTIMIZERS,
    Schedule,
    burn_in,
    from_update,
    linear_decay,
    rising_half_life,
    scale_by_scheduled_adam,
)
from snjax.training.step import Options

Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker knows


@dataclasses.dataclass(frozen=True)
class Plan:
    """A resolved config.

    Attributes:
        method: the method to train.
        options: intervals and seed of the loop.
        scores: how the run is scored.
        stream: whether images are streamed from the host: one of `check.STREAM`.
        record: the config itself as a plain nested dict: for `config.json`, the logs, and
            `snjax.from_config`. Its paths are absolute, and `data.accept_changed` is off.
        accept_changed: whether the set may be another than in earlier starts.
    """

    method: Method
    options: Options
    scores: ScorePlan
    stream: str
    record: Mapping[str, Any]
    accept_changed: bool


def plan(config: Config) -> Plan:
    """Resolves a config.

    Raises:
        ValueError: of one line: a value is not accepted, or does not fit the method.
        FileNotFoundError: of one line: the weights of the extractor are not there.
    """
    ranges.check('config', config)
    check.data(config.data)
    memory.check_training(config)
    return Plan(
        method=method(config),
        options=options(config),
        scores=score_plan(config),
        stream=config.data.stream,
        record=_record(config),
        accept_changed=config.data.accept_changed,
    )


def _record(config: Config) -> Mapping[str, Any]:
    record = config.to_dict()
    for key in keys.PATHS:
        group, name = key.split('.')
        if record[group][name] and not _is_text(key, record):
            record[group][name] = str(paths.absolute(record[group][name], key))
    record['data']['accept_changed'] = False
    record['data']['image_size'] = canonical(record['data']['image_size'])
    return record


def _is_text(key: str, record: Mapping[str, Any]) -> bool:
    """Whether a value is no path, but what an extractor of the user's takes for weights."""
    is_own = key == 'eval.weights' and imported.is_path(record['eval']['extractor'])
    return is_own and not pathlib.Path(record['eval']['weights']).exists()


def methods() -> list[str]:
    """The names of the methods, which are the names of the other files in this folder."""
    files = pathlib.Path(__file__).parent.glob('*.py')
    return sorted(p.stem for p in files if p.stem not in ('build', '__init__'))


def method(config: Config) -> Method:
    """The method that `config.method` names, made from the config.

    Raises:
        ValueError: there is no such method, a key has another value than the method fixes, or the
            discriminator has outputs that it does not use.
    """
    check.choose('method', config.method, methods())
    module = importlib.import_module(f'experiments.{config.method}')
    flat = keys.flatten(config.to_dict())
    for key, value in getattr(module, 'FIXED', {}).items():
        if flat[key] != value:
            raise ValueError(
                f'{key} is {flat[key]!r}, but {config.method} is defined by {key}={value}: keep '
                'that value, or use another --config.method (gan accepts any)'
            )
    made, plain = module.make(config), importlib.import_module('experiments.gan').Gan
    head, loss = flat['model.head'], getattr(type(made), 'dis_loss', None)
    if head in CLASS_LOSSES and loss is plain.dis_loss:
        raise ValueError(
            f'model.head is {head!r}, but method is {config.method}, whose losses have no term for '
            'classes: use --config.method=acgan, or --config.model.head=projection'
        )
    return made


def common(config: Config) -> dict[str, Any]:
    """All arguments of `experiments.gan.Gan` except players, loss, penalties and clipping.

    Raises:
        ValueError: a value is not accepted; the message names its key.
    """
    check.gan(config)
    o, model, b = config.optimizer, config.model, config.burn_in
    rate = functools.partial(linear_decay, decay_start=o.decay_start, decay_end=o.decay_end)
    chance, beta2 = float(config.data.augment_chance), burn_in(o.beta2, b.beta2, b.steps)
    adaptive = Adaptive(config.data.augment_target, config.data.augment_images, most=chance)
    p = config.penalty
    lecam = LeCam(p.lecam_decay, p.lecam_start, p.lecam_one_sided)
    nearby = Nearby(p.latent_radius, p.gen_latent_distance)
    lead = o.gen_lead if o.decay_end else 0
    ahead = {'decay_start': o.decay_start - lead, 'decay_end': o.decay_end - lead}
    dis_lr = o.dis_lr or (o.lr if lead else 0.0)
    return {
        'image_shape': (*sides(config.data.image_size), config.data.channels),
        'dim_z': model.dim_z,
        'latent': model.latent,
        'num_classes': model.num_classes,
        'fake_classes': model.fake_classes,
        'num_conditions': model.num_conditions,
        'batch_size': config.batch_size,
        'gen_batch_size': config.gen_batch_size,
        'n_dis': config.n_dis,
        'accumulate': config.accumulate,
        'update_order': config.update_order,
        'spectral_updates': model.spectral_updates,
        'optimizer': scale_by_scheduled_adam(o.beta1, beta2, o.eps)
        if b.beta2
        else OPTIMIZERS[o.name](o.beta1, o.beta2, o.eps, o.eps_form),
        'learning_rate': burn_in(o.lr, b.lr, b.steps) if b.lr else rate(o.lr, **ahead),
        'dis_learning_rate': rate(dis_lr) if dis_lr else None,
        'class_share': linear_rise(model.conditioning_start, model.conditioning_end)
        if model.conditioning_end
        else None,
        'augment': parse_policy(config.data.augment),
        'adaptive': adaptive if adaptive.target else None,
        'lecam': lecam if p.lecam else None,
        'nearby': nearby if p.latent_consistency or p.gen_latent_distance else None,
        'augment_chance': burn_in(0.0, chance, b.steps) if b.augment else chance,
        'frozen': from_config.frozen_layers(config),
        'ema_decay': _ema_decay(o, b),
    }


def _ema_decay(o: Config, b: Config) -> float | Schedule:
    if b.ema:
        return rising_half_life(o.ema_decay, b.steps)
    return from_update(o.ema_start, o.ema_decay) if o.ema_start else o.ema_decay


def penalties(config: Config) -> dict[str, float | Schedule]:
    """The weights of the group `penalty` that are not 0; those of R1, R2 and LeCam may be schedules."""
    b, weights = config.burn_in, {n: float(config.penalty[n]) for n in (*PENALTIES, 'lecam')}
    found: dict[str, float | Schedule] = {n: weight for n, weight in weights.items() if weight}
    for name in {'r1', 'r2'} & found.keys() if b.gamma else ():
        found[name] = burn_in(weights[name], b.gamma, b.steps)
    if weights['lecam'] and config.penalty.lecam_start:
        found['lecam'] = from_update(config.penalty.lecam_start + 1, weights['lecam'])
    return found


def options(config: Config) -> Options:
    """The loop's options; `steps_per_call` is this backend's where the config leaves it open."""
    return Options(
        num_steps=config.num_steps,
        steps_per_call=config.steps_per_call or parallel.default_steps_per_call(),
        log_every=config.log.every,
        histogram_every=config.log.histograms_every,
        sample_every=config.sampling.every,
        num_samples=config.sampling.num,
        diagnose_every=config.diagnostics.every,
        checkpoint_every=config.checkpoint.every,
        keep=config.checkpoint.keep,
        keep_every=config.checkpoint.keep_every,
        flip=config.data.flip,
        dequantize=config.data.dequantize,
        seed=config.seed,
        workers=config.data.workers,
        watched=config.sentinel.num,
        rollbacks=config.sentinel.rollbacks,
    )


def main() -> None:
    """Exits with 2 and one line on stderr at the first config that is refused."""
    for name, values in json.load(sys.stdin).items():
        try:
            plan(ConfigDict(values).lock())
        except (ValueError, FileNotFoundError) as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(BAD_INPUT)


if __name__ == '__main__':
    main()
