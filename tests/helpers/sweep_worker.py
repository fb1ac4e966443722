"""A stand-in for launch.py that ends at once, and a sweep of such runs, for tests/sweeps.

    python sweep_worker.py --config=... --config.behaviour=crash --workdir=...    # a run
    python sweep_worker.py sweep FOLDER BEHAVIOUR,BEHAVIOUR,...              # a sweep on two slots
    python sweep_worker.py slurm FOLDER BEHAVIOUR,BEHAVIOUR,... nodes=2      # a sweep on SLURM

BEHAVIOURS says what a run does; it writes its pid, environment and cores to `started.jsonl`.
"""

import json
import os
import pathlib
import signal
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).parents[i]) for i in (2, 1)]

NUM_STEPS = 100


def finish(workdir, attempt):
    _reach(workdir, NUM_STEPS)


def diverge(workdir, attempt):
    _say('launch.py: diverged by step 7: dis_loss = nan')
    sys.exit(3)


def refuse(workdir, attempt):
    _say('launch.py: no such data')
    sys.exit(2)


def crash(workdir, attempt):
    raise RuntimeError(f'attempt {attempt} failed')


def crash_once(workdir, attempt):
    if attempt == 1:
        crash(workdir, attempt)


def killed_but_gets_further(workdir, attempt):
    """Killed four times, each time after a new checkpoint."""
    if attempt <= 4:
        _reach(workdir, 10 * attempt)
        os.kill(os.getpid(), signal.SIGKILL)


def preempted_once(workdir, attempt):
    if attempt == 1:
        sys.exit(75)


def stop_when_asked(workdir, attempt):
    """Trains until SIGTERM, then saves; finishes when it is started again."""
    if attempt == 1:
        signal.signal(signal.SIGTERM, lambda *_: (_reach(workdir, 50), sys.exit(75)))
        _reach(workdir, 20)
        time.sleep(60)


def deaf(workdir, attempt):
    """Ignores SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _reach(workdir, 20)
    time.sleep(60)


_ALL = finish, diverge, refuse, crash, crash_once, killed_but_gets_further, preempted_once
BEHAVIOURS = {f.__name__: f for f in (*_ALL, stop_when_asked, deaf)}


def _reach(workdir, step):
    (workdir / 'checkpoints' / str(step)).mkdir(parents=True, exist_ok=True)
    with open(workdir / 'metrics.jsonl', 'a') as file:
        line = {'step': step, 'perf/steps_per_s': 5.0, 'eval/frechet_distance': 1 / step}
        file.write(json.dumps(line) + '\n')


def _say(line):
    print(line, file=sys.stderr, flush=True)


def run(*flags):
    """Acts as launch.py."""
    given = dict(flag.removeprefix('--').split('=', 1) for flag in flags)
    workdir = pathlib.Path(given['workdir'])
    (workdir / 'config.json').write_text('{}')
    started = workdir / 'started.jsonl'
    cores = sorted(os.sched_getaffinity(0))
    with open(started, 'a') as file:
        line = {'pid': os.getpid(), 'cores': cores, 'environment': dict(os.environ)}
        file.write(json.dumps(line) + '\n')
    attempt = len(started.read_text().splitlines())
    BEHAVIOURS[given['config.behaviour']](workdir, attempt)


def sweep(folder, behaviours, retries='2'):
    """Runs all behaviours; exit code 0 if the sweep completed, 75 if it was stopped."""
    from snjax.sweeps import local, slots

    places = [slots.Slot('first', {'PLACE': '1'}, (0,)), slots.Slot('second', {'PLACE': '2'})]
    _work(folder, behaviours, retries, lambda *a: local.LocalEngine(a[0], places, *a[1:]))


def slurm_sweep(folder, behaviours, options=''):
    from snjax.sweeps import slurm

    given = slurm.parse(options)
    _work(folder, behaviours, 2, lambda *a: slurm.SlurmEngine(*a[:2], given, a[2]))


def _work(folder, behaviours, retries, engine):
    from snjax.sweeps import runs
    from snjax.sweeps.sweep_state import SweepState
    from snjax.sweeps.table import Display, print_table

    folder = pathlib.Path(folder)
    items = [{'config': 'c.py', 'behaviour': name} for name in behaviours.split(',')]
    configs = [{'data': {}, 'num_steps': NUM_STEPS, **item} for item in items]
    num_steps = [NUM_STEPS] * len(items)
    made = runs.make(items, configs, folder, identify=lambda config: config, num_steps=num_steps)
    with Display() as display:
        state = SweepState(made, folder, retries=int(retries), about={}, say=display.say)
        is_complete = engine(state, pathlib.Path(__file__), display).run()
        state.close()
    print_table(state)
    sys.exit(0 if is_complete else 75)


if __name__ == '__main__':
    ways = {'sweep': sweep, 'slurm': slurm_sweep}
    if sys.argv[1] in ways:
        ways[sys.argv[1]](*sys.argv[2:])
    else:
        run(*sys.argv[1:])
