"""Trains, samples, inverts, scores, diagnoses, exports, sweeps, compares: `launch.py --config=configs/sngan_cifar.py`.

`launch.py --mode=compare --compare.fakes=samples --compare.real=photos` scores images of any origin.
`launch.py --mode=doctor` looks for what is wrong with this machine, a workdir, a config or its data;
`--mode=compile --target=v5e:2x4` compiles a training for chips that are not here, and counts.

`launch.py --config=... --dry_run` compiles a training and says what it costs, without a run.
`launch.py --mode=convert --config=... --published=netG_100000_steps.pth` makes a workdir of a published
generator.

`launch.py --list_keys` lists the keys of a config and of the modes, `--list_keys=optimizer` those
that match.

Exit codes: 0 done; 1 runs of a sweep failed; 2 bad config, flag or file; 3 diverged; 75 stopped by
SIGTERM, SIGHUP or a first Ctrl-C and saved, or another process of the run is gone (start again to
resume); 130 ended at once: Ctrl-C while nothing trains, or a second Ctrl-C.
"""

import functools
import importlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from experiments.modes import command_line, ends, errors, lines
from experiments.modes.command_line import define
from experiments.modes.errors import end
from experiments.report import LAYOUTS
from snjax.host.exit_codes import BAD_INPUT, DIVERGED, RESUMABLE

FLAGS = flags.FLAGS
MODES = 'train sample invert evaluate diagnose export compare doctor compile convert sweep report'.split()
TRAIN, SAMPLE, INVERT, EVALUATE, DIAGNOSE, EXPORT, COMPARE, *_ = ((m,) for m in MODES)
COMPILE, CONVERT, SWEEP, REPORT = ((m,) for m in MODES[-4:])
ONE_RUN, CONFIGURED = MODES[:6], [m for m in MODES[:11] if m != 'compare']
EXPLICIT, SEVERAL = ('explicit',), ('auto', 'explicit')
LOCAL, SLURM = ('local',), ('slurm',)

config, text, number = config_flags.DEFINE_config_file, flags.DEFINE_string, flags.DEFINE_integer
choice, switch = flags.DEFINE_enum, flags.DEFINE_bool
CONFIG = (
    'a file or the name of one in configs/; --config.KEY=... sets a key. Sample and invert read only '
    'data.data_dir, data.cache_dir and data.path of it, all else from --workdir'
)
# Every flag, with the modes and the other flags that read it. Elsewhere it is refused, not ignored.
define(choice, 'mode', 'train', 'what to do', values=MODES)
define(config, 'config', None, CONFIG, mode=CONFIGURED)
define(config, 'sample', None, 'a file of options; --sample.KEY=... sets one', mode=SAMPLE)
define(config, 'invert', None, 'a file of options; --invert.KEY=... sets one', mode=INVERT)
define(config, 'evaluate', None, 'a file of options; --evaluate.KEY=... sets one', mode=EVALUATE)
define(config, 'diagnose', None, 'a file of options; --diagnose.KEY=... sets one', mode=DIAGNOSE)
define(config, 'export', None, 'a file of options; --export.KEY=... sets one', mode=EXPORT)
define(config, 'compare', None, 'a file of options; --compare.KEY=... sets one', mode=COMPARE)
define(text, 'list_keys', None, 'list all keys, or with =TEXT those that match, and end')
define(text, 'workdir', None, 'folder of the run; default: runs/<config>[-argument], sweeps/...')
define(text, 'init_from', None, 'WORKDIR[@STEP], FILE or hf://... to begin with', mode=TRAIN)
define(text, 'compilation_cache', 'auto', 'folder, auto (~/.cache/snjax/xla) or off', mode=ONE_RUN)
define(number, 'profile', 0, 'calls of the training step to trace', at_least=0, mode=TRAIN)
define(text, 'target', 'cpu', 'chips to compile for, as v5e:2x4 or h200x8', mode=COMPILE)
define(number, 'num_images', 50_000, 'of the training set', at_least=1, mode=COMPILE)
define(text, 'out', None, 'file for the numbers, as JSON', mode=(*COMPILE, *COMPARE))
define(text, 'published', None, 'generator of another code, .pth or .npz', mode=CONVERT)
define(choice, 'distributed', 'off', 'several processes', values=('off', *SEVERAL), mode=ONE_RUN)
define(text, 'coordinator_address', None, 'host:port of process 0', distributed=EXPLICIT)
define(number, 'num_processes', None, 'number of processes of the run', distributed=EXPLICIT)
define(number, 'process_id', None, 'number of this process, from 0', distributed=EXPLICIT)
define(number, 'join_timeout', 300, 'seconds for all to join', at_least=1, distributed=SEVERAL)
define(number, 'peer_timeout', 100, 'seconds of silence allowed', at_least=4, distributed=SEVERAL)
define(text, 'sweep', None, 'a file with get_sweep; default: the config', mode=SWEEP)
define(switch, 'dry_run', False, 'say what would run, and what it costs', mode=(*TRAIN, *SWEEP))
define(number, 'retries', 2, 'further starts of a run that fails without progress', mode=SWEEP)
define(choice, 'engine', 'local', 'where runs start', values=('local', 'slurm'), mode=SWEEP)
define(number, 'slots', 0, 'runs at once; 0: one per GPU', mode=SWEEP, engine=LOCAL)
define(text, 'slurm', '', 'of sbatch: partition=gpu,time=600', mode=SWEEP, engine=SLURM)
define(choice, 'layout', 'auto', 'what the report shows first', values=LAYOUTS, mode=REPORT)


def main(argv: list[str]) -> None:
    del argv
    lines.escape_logs()
    if not FLAGS['verbosity'].present:  # libraries report every save at level INFO
        logging.set_verbosity(logging.WARNING)
    {'sweep': _sweep, 'report': _report}.get(FLAGS.mode, _run)()


def _run() -> None:
    """Calls `main` of the file in `experiments/modes/` for a mode that works on one run."""
    # Imported after the flags are read, so that a typo is answered at once.
    from experiments.modes import going_on, start
    from snjax import parallel
    from snjax.runs.run_logger import Diverged
    from snjax.runs.workdir import describe_newest
    from snjax.training.loop import Preempted

    workdir = command_line.workdir()
    if FLAGS.mode == 'train':
        ends.describe = functools.partial(describe_newest, workdir)
    try:
        start.start(FLAGS, workdir)
        name = 'dry_run' if FLAGS.dry_run else FLAGS.mode
        mode = importlib.import_module(f'experiments.modes.{name}')
        mode.main(FLAGS, workdir)
    except (ValueError, OSError) as error:
        error = errors.input_error(error, workdir)
        parallel.exit_if_peer_lost(error)
        end(error, BAD_INPUT)
    except (AttributeError, KeyError) as error:
        errors.end_at_key(error)
    except Diverged as error:
        end(going_on.after_divergence(error, workdir), DIVERGED)
    except Preempted as error:
        end(RuntimeError(f'{error}; the same command goes on'), RESUMABLE)


def _sweep() -> None:
    """Runs a sweep. Only the runs import JAX: here it would hold a device that they need."""
    from experiments.modes import start_sweep

    workdir = command_line.workdir()
    try:
        sys.exit(start_sweep.start(FLAGS, workdir))
    except (ValueError, OSError) as error:
        end(errors.input_error(error, workdir), BAD_INPUT)


def _report() -> None:
    """Compares runs. It imports no JAX, which takes longer than writing the page."""
    from experiments.modes.report import run_report

    try:
        if not FLAGS.workdir:
            raise ValueError("--workdir is missing: give a sweep, a run, or a pattern as 'runs/*'")
        run_report(command_line.workdir(), FLAGS.layout)
    except (ValueError, OSError) as error:
        end(errors.input_error(error, FLAGS.workdir), BAD_INPUT)


def _main(argv: list[str]) -> None:
    """Runs `main`; in a distributed run under a supervisor, reporting the exit code to peers."""
    if FLAGS.distributed == 'off':
        return main(argv)
    from snjax.host import supervisor
    from snjax.runs.workdir import describe_newest

    supervisor.supervise(lambda: describe_newest(command_line.workdir()))
    from snjax import parallel

    with parallel.report_exit():
        main(argv)


def run() -> None:
    """The program."""
    ends.prepare()
    app.run(_main, flags_parser=command_line.parse)


if __name__ == '__main__':
    run()
