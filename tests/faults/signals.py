"""Real trainings get a signal at a random moment, start again, and must end as if undisturbed."""

import pathlib
import random
import signal
import time

from helpers.launching import TINY, Launcher, assert_same_run, printed, wait
from helpers.preloaded import Preloaded
from helpers.waiting import wait_until
from snjax.runs.workdir import newest_step

NUM = 200
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
CODES = {
    signal.SIGKILL: (-signal.SIGKILL, 0),
    signal.SIGTERM: (75, 0),
    signal.SIGHUP: (75, 0),
    signal.SIGINT: (75, 130, 0),
}


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Sends `limit` signals; 0 for 200. Returns counts."""
    draw, fresh = random.Random(0), Launcher(folder / 'cache' / 'jax')
    preloaded = Preloaded(folder / 'preloaded', fresh.environment())
    launcher = Launcher(fresh.cache, preloaded=preloaded)
    began = time.monotonic()
    launcher.train(folder / 'whole')
    seconds = time.monotonic() - began
    counts = {'signals': 0, 'runs': 0, 'wrong': 0, 'tracebacks': 0}
    while counts['signals'] < (limit or NUM):
        run = folder / f'run-{counts["runs"]}'
        counts['runs'] += 1
        for _ in range(3):
            number = draw.choice(SIGNALS)
            training = draw.random() < 0.7  # else at any moment from the first on
            start = (launcher if training else fresh).start
            process = start(*TINY, f'--workdir={run}')
            if training:
                wait_until(lambda process=process: 'compiled' in printed(process), process)
            time.sleep(draw.uniform(0.3, seconds / 2))
            process.send_signal(number)
            outcome = wait(process)
            counts['signals'] += 1
            counts['tracebacks'] += 'Traceback' in outcome.stderr
            if outcome.code not in CODES[number]:
                counts['wrong'] += 1
                print(
                    f'{number.name} at step {newest_step(run)}: exit {outcome.code}\n{outcome.stderr}'
                )
        launcher.train(run)
        try:
            assert_same_run(run, folder / 'whole')
        except AssertionError as error:
            counts['wrong'] += 1
            print(f'{run.name} differs: {error}')
    preloaded.close()
    return counts
