"""`launch.py --mode=export`: the generator of a run as safetensors, StableHLO or ONNX.

The options are in `configs/modes/export.py`.
"""

import pathlib

from absl import flags

from experiments.modes.lines import say
from experiments.modes.options import Options, choose
from experiments.settings import ranges
from snjax.generate import export, weights
from snjax.generate.load import load
from snjax.host import paths
from snjax.metrics.weight_files import file_sha256


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=export` with the flags of `launch.py`."""
    run_export(given.export, workdir)


def run_export(options: Options, workdir: pathlib.Path) -> None:
    """Writes the generator of a checkpoint, and prints what it is and where.

    Args:
        options: see `configs/modes/export.py`.
        workdir: of the run.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, there is no such checkpoint, or
            ONNX without its packages; one line.
    """
    ranges.check('export', options)
    choose('export.format', options.format, export.FORMATS)
    choose('export.weights', options.weights, weights.CHOICES)
    out = paths.expanded(options.out, '--export.out') if options.out else None
    ending = f'.{options.format}'
    if out is not None and out.suffix != ending:
        raise ValueError(
            f'export.out is {options.out}, but export.format is {options.format}: use a name that '
            f'ends in {ending}, or --export.format={out.suffix[1:] or options.format}'
        )
    try:
        export.check_packages(options.format)
    except ModuleNotFoundError as error:
        raise ValueError(f'export.format is {options.format}: {error}') from error
    trained = load(workdir, options.step or None)
    kept = trained.kept(options.weights)
    if out is None:
        out = workdir / 'exported' / f'gen_step{trained.step}_{kept}{ending}'
    path = trained.export(out, options.weights)
    say(
        f'{options.format} of step {trained.step}, weights {kept}, at {path} '
        f'({path.stat().st_size:,} bytes, sha256 {file_sha256(path)})'
    )
