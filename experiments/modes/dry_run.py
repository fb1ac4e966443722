"""`launch.py --config=... --dry_run`: what a training would do and cost, without a run.

The config is resolved and refused as for a run, the set is read, the step is compiled (the run
then takes it from the compilation cache) and a few updates are timed. The workdir is not touched.
"""

import json
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import flags

from experiments import build
from experiments.modes import lines, streaming, train
from experiments.settings import keys
from snjax import parallel
from snjax.host import paths
from snjax.latents.sampling import seed_key
from snjax.runs.config_file import flatten
from snjax.runs.workdir import newest_step
from snjax.training import beginning, feed
from snjax.training.step import Options, compile_ahead, compile_now, device_data

_TIMED_S, _MOST_CALLS, _WARM_UP = 5.0, 50, 2


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Shows what the same flags without `--dry_run` would do."""
    if parallel.process_count() > 1:
        raise ValueError('--dry_run looks at one process: leave out --distributed')
    train.set_origin(given, workdir)
    show(given.config, workdir)


def show(config: Any, workdir: pathlib.Path) -> None:
    """Prints the page of a dry run.

    Raises:
        ValueError: the run would be refused; one line.
    """
    plan, say = build.plan(config), lines.say
    say(f'dry run of {plan.record["method"]} on {parallel.describe()}')
    for line in train.compare(workdir, plan.record):
        say(line)
    image_set = train.load_data(plan.record, say)
    train.check_num_classes(plan.method.num_classes, image_set)
    beginning.check_set_size(len(image_set.images), plan.method.batch_size)
    options = streaming.choose_options(plan.stream, plan.options, image_set.images, say)
    labels = image_set.labels_for(plan.method.num_conditions)
    method = plan.method.with_images(image_set.images, labels)
    for line in _config_lines(plan.record, options):
        say(line)
    state = method.init(seed_key(options.seed, 'init'))
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    start = newest_step(workdir)
    # The program of the run itself, which then finds it in the compilation cache.
    shape = jax.ShapeDtypeStruct(image_set.images.shape, image_set.images.dtype)
    ahead = compile_ahead(method, options, shape, workdir, say)
    pixels: Any = None if options.stream else image_set.images
    data = device_data(pixels, labels, options.seed)
    state = parallel.shard(state, method.state_axes)
    with feed.open_feed(method, options, image_set.images, 0) as images:
        if ahead and ahead.fits(state, data, images.example()):
            program = ahead.result()
        else:
            program = compile_now(method, options, state, data, images.example(), say)
        seconds = _seconds_a_call(
            lambda state: program(state, data, *images.next(lambda: True))[0],
            state,
            most=options.num_steps // options.steps_per_call - _WARM_UP,
        )
    seconds /= options.steps_per_call
    left = max(options.num_steps - start, 0)
    at = f'resumes at step {start}' if start else 'begins at step 0'
    say(f'steps        {options.num_steps}; {workdir} {at}, {left} to do')
    say(
        f'time         {seconds:.3g} s an update, so about {_duration(seconds * left)}, and more '
        'for grids, checkpoints and scores'
    )
    for line in _disk_lines(plan.record, num_bytes, workdir):
        say(line)
    say('no run was made; leave out --dry_run to train')


def _config_lines(record: Mapping[str, Any], options: Options) -> list[str]:
    """The keys that differ from the defaults of `configs/base.py`, as the run has them."""
    resolved = flatten(record) | {'steps_per_call': options.steps_per_call}
    if resolved['data.stream'] == 'auto':
        resolved['data.stream'] = 'on' if options.stream else 'off'
    base = flatten(keys.FILES['config'].get_config().to_dict())
    changed = {k: v for k, v in resolved.items() if k not in base or base[k] != v}
    shown = [f'  {key} = {json.dumps(value)}' for key, value in sorted(changed.items())]
    others = len(resolved) - len(changed)
    return ['config', *shown, f'  {others} other keys have their defaults: --list_keys']


def _seconds_a_call(update: Callable[[Any], Any], state: Any, most: int) -> float:
    """Mean time of a few calls, the first ones left out; at most `most` of them."""
    times: list[float] = []
    for call in range(_WARM_UP + max(most, 1)):
        begun = time.perf_counter()
        state = jax.block_until_ready(update(state))
        if call >= _WARM_UP:
            times.append(time.perf_counter() - begun)
        if len(times) == _MOST_CALLS or sum(times) > _TIMED_S:
            break
    return sum(times) / len(times)


def _duration(seconds: float) -> str:
    """'40 s', '12 min', '7.5 hours' or '3.1 days'."""
    for size, name in ((86400, 'days'), (3600, 'hours')):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {name}'
    return f'{seconds / 60:.0f} min' if seconds >= 120 else f'{seconds:.0f} s'


def _disk_lines(record: Mapping[str, Any], num_bytes: int, workdir: pathlib.Path) -> list[str]:
    """What checkpoints take. Arrays are stored compressed, so these are upper bounds."""
    o, num_steps = record['checkpoint'], record['num_steps']
    saved = num_steps // o['every'] if o['every'] else 1
    kept = min(o['keep'], saved) + (num_steps // o['keep_every'] if o['keep_every'] else 0)
    kept += bool(record['eval']['every'])
    there = next(path for path in [workdir, *workdir.absolute().parents] if path.is_dir())
    return [
        f'disk         up to {num_bytes / 1e6:,.1f} MB a checkpoint, {kept} kept: '
        f'{kept * num_bytes / 1e6:,.0f} MB in {paths.printable(str(workdir))}; '
        f'{shutil.disk_usage(there).free / 1e9:,.1f} GB are free there'
    ]
