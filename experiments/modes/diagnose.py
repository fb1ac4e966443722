"""`launch.py --mode=diagnose`: what the discriminator of a checkpoint does to distances.

The options are in `configs/modes/diagnose.py`; `docs/usage/diagnose.md` explains every number.
"""

import functools
import math
import operator
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import flags

from experiments import build
from experiments.gan import Gan, GanState
from experiments.modes import command_line, diagnose_files, lines
from experiments.modes.measure_gan import Effort, Measurement, layer_errors, measurable, upper_bound
from experiments.modes.options import NO_PLACES, Options
from experiments.modes.training_diagnostics import fixed_images
from experiments.settings.check import Config
from snjax import from_config
from snjax.data import ImageSet
from snjax.latents.sampling import seed_key
from snjax.runs import set_file
from snjax.runs.checkpoint import load_tree
from snjax.runs.digest import paths
from snjax.runs.files import read_lines
from snjax.runs.workdir import CHECKPOINTS, METRICS_NAME, steps_in
from snjax.spectral.diagnostics import LayerReport, layer_report
from snjax.training.conditioning import blank_labels


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=diagnose` with the flags of `launch.py`."""
    run_diagnose(given.diagnose, given.config, workdir, command_line.places())


def run_diagnose(
    options: Options,
    config: Config,
    workdir: pathlib.Path,
    places: Mapping[str, str] = NO_PLACES,
    say: Callable[[str], None] = lines.say,
) -> None:
    """Prints a page about D, and writes it with a record and figures into the workdir's folder
    `diagnosis`.

    Args:
        options: see `configs/modes/diagnose.py`.
        config: of the run.
        workdir: of the run.
        places: where the training set lies, if it is not where the run found it.
        say: prints a line.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, the run trains no discriminator,
            or there is no such checkpoint; one line.
    """
    _check(options)
    method = build.method(config)
    if not isinstance(method, Gan):
        raise ValueError(
            f'{workdir} holds a run of {config.method}, which trains no discriminator: '
            '--mode=diagnose takes a run of a GAN'
        )
    method = measurable(method)
    step, state = restored(method, workdir, options.step or None)
    fixed = functools.partial(fixed_images, num=options.num, num_conditions=method.num_conditions)
    whole = _image_set(config, places, accepted_in=workdir)
    # Fakes of the whole set's classes or numbers, as while it trained.
    images: Any = whole.images  # decoded or not
    method = method.with_images(images, whole.labels_for(method.num_conditions))
    real = fixed(whole)
    effort = Effort(options.num, options.starts, options.ascent_steps, options.norm_steps)
    found = Measurement(method, *real, effort)(state)
    if options.held_out:
        others = fixed(_image_set(config, places, split=options.held_out))
        held_out = Measurement(method, *others, effort._replace(starts=1))
        found['logits/held_out'] = held_out(state)['logits/real']
    report = _report(method, state, options)
    found |= _certain(method, report)
    errors = _errors_over_training(method, workdir, options.norm_steps)
    record = {
        'step': step,
        'options': options.to_dict(),
        'layers': {name: layer._asdict() for name, layer in report.items()},
        'network': found,
        'sigma_error': dict(sorted(errors.items())),
    }
    page = diagnose_files.page(step, report, found)
    for line in page:
        say(line)
    for path in diagnose_files.write(workdir / 'diagnosis', record, page, report):
        say(f'wrote {path}')


def _check(options: Options) -> None:
    """Raises a ValueError for impossible options, before anything is loaded."""
    for key in ('num', 'starts', 'ascent_steps', 'norm_steps'):
        if options[key] < 1:
            raise ValueError(f'diagnose.{key} is {options[key]}: a whole number from 1 is needed')
    if options.gram_iterations < 0:
        raise ValueError(
            f'diagnose.gram_iterations is {options.gram_iterations}: a whole number from 0 is needed'
        )


def restored(method: Gan, workdir: pathlib.Path, step: int | None) -> tuple[int, GanState]:
    """The state of a checkpoint; the newest good one for None.

    Raises:
        FileNotFoundError, ValueError: there is none, it is damaged, or it is of another state than
            the config describes.
    """
    step, tree = load_tree(workdir / CHECKPOINTS, step)
    like = jax.eval_shape(method.init, seed_key(0, 'init'))
    try:
        leaves = [functools.reduce(operator.getitem, path, tree) for path in paths(like)]
    except KeyError as error:
        raise ValueError(
            f'the checkpoint of step {step} in {workdir} has no {error}: it was made with another '
            'config than config.json'
        ) from error
    return step, jax.tree.unflatten(jax.tree.structure(like), leaves)


def _image_set(
    config: Config,
    places: Mapping[str, str],
    accepted_in: pathlib.Path | None = None,
    **changes: str,
) -> ImageSet:
    """The run's set; `accepted_in` is a workdir whose own set it has to be."""
    image_set = from_config.image_set(config.to_dict(), **{**places, **changes})
    if accepted_in:
        accept_changed = bool(places.get('accept_changed', False))
        set_file.check(accepted_in, image_set, accept_changed=accept_changed)
    return image_set


def _report(method: Gan, state: GanState, options: Options) -> dict[str, LayerReport]:
    labels = [blank_labels(1, method.num_classes, method.num_conditions)]
    return layer_report(
        method.dis,
        state.dis.variables,
        method.image_shape,
        *labels,
        n_steps=options.norm_steps,
        n_iterations=options.gram_iterations,
        train=False,
    )


def _certain(method: Gan, report: Mapping[str, LayerReport]) -> dict[str, float]:
    """The product bound with norms from above where there are any: no estimate can be above it."""
    norms = {
        f'operator/{name}': layer.operator if layer.bound is None else layer.bound
        for name, layer in report.items()
    }
    bound = upper_bound(method.dis, norms).get('lipschitz/upper', math.inf)
    return {'lipschitz/certain': bound} if math.isfinite(bound) else {}


def _errors_over_training(
    method: Gan, workdir: pathlib.Path, n_steps: int
) -> dict[int, dict[str, float]]:
    """sigma / exact - 1 by layer, at every step where the training logged it or kept a checkpoint."""
    found: dict[int, dict[str, float]] = {}
    metrics = workdir / METRICS_NAME
    prefix = 'diagnostics/sigma_error/'
    for _, point in read_lines(metrics).good:  # a damaged line is left out
        errors = {
            k.removeprefix(prefix): float(v) for k, v in point.items() if k.startswith(prefix)
        }
        if errors:
            found[point['step']] = errors
    measure = layer_errors(method, n_steps)
    for step in steps_in(workdir / CHECKPOINTS):
        if step not in found:
            found[step] = measure(restored(method, workdir, step)[1])
    return {step: errors for step, errors in found.items() if errors}
