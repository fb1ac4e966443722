"""`launch.py --mode=compile --config=... --target=v5e:2x4`: the training step on chips that are not
here.

The config is resolved as a run on those chips would, and its step is compiled by their vendor's
compiler. No data is read, nothing is computed, the workdir is not touched. docs/usage/compile.md
says what each line means.
"""

import json
import math
import pathlib
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import build
from experiments.modes import lines, streaming
from snjax import from_config, parallel
from snjax.data.sampler import Rows
from snjax.latents.sampling import seed_key
from snjax.parallel import cost, inspection, targets
from snjax.runs.files import replace_file
from snjax.training import feed
from snjax.training.step import labels_like, make_step


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Prints the page, and writes `--out` if it was given."""
    record = compile_step(given.config, given.target, given.num_images)
    for line in page(record):
        lines.say(line)
    if given.out:
        replace_file(pathlib.Path(given.out), json.dumps(record, indent=2) + '\n')
        lines.say(f'wrote {given.out}')


def compile_step(config: Any, target_name: str, num_images: int) -> dict[str, Any]:
    """Compiles the training step of a config for a target, and returns its numbers.

    Args:
        config: of a run.
        target_name: see `snjax.parallel.targets.find`.
        num_images: size of the training set.

    Raises:
        ValueError: the config or the target would be refused; one line.
    """
    target = targets.find(target_name)
    with targets.compiling_for(target):
        plan = build.plan(config)
        like = from_config.images_shape(plan.record, num_images)
        shape = like.shape
        images = np.broadcast_to(np.zeros((), like.dtype), shape)  # of no size in memory
        options = streaming.choose_options(plan.stream, plan.options, images, lines.say)
        method = plan.method.with_images(images)
        state = jax.eval_shape(method.init, seed_key(options.seed, 'init'))
        state = parallel.shard_shapes(state, method.state_axes)
        keys = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
        labels = labels_like(method, shape[0])
        arrays: dict[str, Any] = {'label': labels, 'data_rng': keys, 'train_rng': keys}
        streamed: tuple = ()
        if options.stream:
            streamed = (feed.streamed_shape(method, options, images),)
        else:
            arrays['image'] = Rows.of(like)
        step = parallel.DataParallel(make_step(method, options), method.state_axes)
        flops = cost.flops(step.trace(state, arrays, streamed))
        compiled = parallel.compile(step.lower(state, arrays, streamed=streamed))
        resident = _num_bytes(arrays) if not options.stream else _num_bytes(streamed)
        found = {
            'target': target.name,
            'devices': parallel.describe(),
            'device_memory': parallel.device_memory(),
            'updates_per_call': options.steps_per_call,
            'state_bytes': _num_bytes(step.per_device(state)),
            'data_bytes': resident if not options.stream else _num_bytes(streamed) // _count(),
            'flops': flops,
        }
    memory = compiled.memory_analysis()
    for kind in ('temp', 'argument', 'output', 'alias'):
        size = getattr(memory, f'{kind}_size_in_bytes', None)
        found[f'{kind}_bytes'] = size
    chip = target.chip
    found |= inspection.inspect(compiled.as_text(), chip).record()
    found['peak_flops'] = chip.flops if chip else None
    found['clock'] = chip.clock if chip else 0.0
    return found


def _count() -> int:
    return parallel.device_count()


def _num_bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def page(found: dict[str, Any]) -> list[str]:
    """The numbers of `compile_step` as lines to read, of one device and one generator update."""
    calls, there = found['updates_per_call'], found['device_memory']
    needs = (found['argument_bytes'] or 0) + (found['temp_bytes'] or 0)
    needs += max(0, (found['output_bytes'] or 0) - (found['alias_bytes'] or 0))
    verdict = 'fits' if needs <= there else 'DOES NOT FIT'
    per_update = lambda value: f'{value / calls:,.0f}'  # noqa: E731
    said = [
        f'target       {found["target"]}: {found["devices"]}; nothing ran',
        f'memory       {verdict}: {_gb(needs)} of {_gb(there)}; temporaries '
        f'{_gb(found["temp_bytes"])}, state {_gb(found["state_bytes"])}, data '
        f'{_gb(found["data_bytes"])}',
        f'arithmetic   {found["flops"] / calls / 1e9:,.1f} GFLOP an update and device, counted',
        f'kernels      {per_update(found["kernels"])} an update, of which '
        f'{per_update(found["fusions"])} are fusions and {per_update(found["convolutions"])} '
        'convolutions',
        f'moving       {per_update(found["transposes"])} transposes of '
        f'{found["transpose_bytes"] / calls / 1e6:,.1f} MB, {per_update(found["copies"])} copies of '
        f'{found["copy_bytes"] / calls / 1e6:,.1f} MB an update',
    ]
    for kind, one in found['collectives'].items():
        said.append(
            f'{kind:<12} {one["count"] / calls:,.1f} an update, {one["bytes"] / calls / 1e6:,.2f} MB '
            f'of {one["arrays"] / calls:,.0f} arrays, {one["asynchronous"] / calls:,.1f} asynchronous'
        )
    if found['seconds']:
        seconds = found['seconds'] / calls
        how = "by the compiler's cycle estimates" if found['cycles'] else 'by a roofline model'
        used = found['flops'] / calls / seconds / found['peak_flops']
        cycles = f'{found["cycles"] / calls:,.0f} cycles, ' if found['cycles'] else ''
        said.append(
            f'time         {cycles}{seconds * 1e3:,.3g} ms an update {how}, not measured; '
            f'matrix units at {used:.0%} of their peak'
        )
    if found['unknown_loops']:
        said.append(
            f'loops        {found["unknown_loops"]} have a length that is not known and count once: '
            'the numbers above are too low'
        )
    said.append(_HEADER[bool(found['seconds']), bool(found['cycles'])])
    total = found['cycles'] or found['seconds'] or 1
    for one in found['dearest']:
        value = one['cycles'] or one['seconds'] or 0
        share = f'{value / total:5.1%}' if found['seconds'] else f'{one["num_bytes"] / 1e6:5.1f} MB'
        where = ', '.join(filter(None, [one['line'], _short(one['layer'])]))
        name = '' if one['opcode'].startswith('__') else f' {one["name"]}'
        said.append(f'  {share}  {one["times"]:>4} x {one["opcode"]}{name}  {where}')
    return said


_HEADER = {
    (True, True): 'dearest      share of the estimated cycles, how often in a call, where',
    (True, False): 'dearest      share of the modelled time, how often in a call, where',
    (False, False): 'largest      results by size, how often in a call, where',
    (False, True): 'largest      results by size, how often in a call, where',
}


def _gb(num_bytes: int | None) -> str:
    return 'unknown' if num_bytes is None else f'{num_bytes / 1e9:,.2f} GB'


def _short(layer: str) -> str:
    """The layer and what is done there: the operation itself is in the instruction's name."""
    parts = [
        part for part in layer.split('/')[:-1] if not part.startswith(('jit(', 'while', 'body'))
    ]
    return '/'.join(parts[-2:])
