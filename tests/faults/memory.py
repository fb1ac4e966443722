"""A training of 10,000 calls: the memory of its process until 2,000 and near the end must agree.

It saves, draws and scores all the while, as a long run does. Its threads share one arena of malloc:
with one each, what they free stays with the process and looks like a leak (75 saves: 8 MB more, and
2 MB more with one arena).
"""

import pathlib
import re
import time

from helpers.launching import TINY, Launcher, logged_step, wait

CALLS, SETTLED = 10_000, 0.2  # share of the calls after which everything has been allocated once
ALLOWED = 1.05


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Trains for `limit` calls; 0 for 10,000. Returns counts, memory in MB."""
    calls = limit or CALLS
    launcher = Launcher(folder / 'cache' / 'jax')
    every = {'log.every': 50, 'log.histograms_every': 500, 'checkpoint.every': 200}
    every |= {'sampling.every': 200, 'eval.every': 400, 'steps_per_call': 1, 'num_steps': calls}
    flags = [f'--config.{key}={value}' for key, value in every.items()]
    workdir = f'--workdir={folder / "run"}'
    process = launcher.start(*TINY, *flags, workdir, MALLOC_ARENA_MAX='1')
    resident = {}
    while process.poll() is None:
        time.sleep(0.2)
        step = logged_step(folder / 'run')
        if step:
            resident[step] = _megabytes(process.pid) or resident.get(step, 0)
    outcome = wait(process)
    if outcome.code or not resident:
        print(outcome.stderr)
        return {'calls': calls, 'wrong': 1}
    early = [size for step, size in resident.items() if step <= SETTLED * calls]
    # Not at the last step, after which the finished run is scored in ways of its own.
    late = [size for step, size in resident.items() if 0.9 * calls <= step < calls]
    wrong = not early or not late or max(late) > ALLOWED * max(early)
    counts = {
        'calls': calls,
        'MB settled': max(early, default=0),
        'MB at the end': max(late, default=0),
    }
    return counts | {'wrong': int(wrong)}


def _megabytes(pid: int) -> int:
    """The resident memory of a process; 0 if it has ended."""
    try:
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r'VmRSS:\s+(\d+) kB', status)
    return int(found[1]) // 1024 if found else 0
