"""Two processes of one run, of which one fails: both must end, with the right code, and say why."""

import pathlib
import shutil
import signal
import socket

from helpers.launching import TINY, Launcher, logged_step, wait
from helpers.waiting import wait_until

ONE, OTHER = '--config.n_dis=2', 'another workdir'
SECONDS = 300
# name: flags of both processes, signal and number of the process that gets it, codes that are right.
CASES = {
    'other config': (([], [ONE]), None, (2, 2)),
    'other workdir': (([], [OTHER]), None, (2, 2)),
    'other seed': ((['--config.seed=1'], []), None, (2, 2)),
    'weights missing at 0': ((['--config.eval.weights=/none', '--config.eval.extractor=inception'],
                              ['--config.eval.extractor=inception']), None, (2, 2)),
    'in use': (([], []), 'lock', (2, 2)),
    'killed 0': (([], []), (signal.SIGKILL, 0), (-9, 75)),
    'killed 1': (([], []), (signal.SIGKILL, 1), (75, -9)),
    'stopped': (([], []), (signal.SIGTERM, None), (75, 75)),
}  # fmt: skip


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Tries `limit` cases; 0 for each three times. Returns counts."""
    launcher = Launcher(folder / 'cache' / 'jax')
    cases = [name for name in CASES for _ in range(3)]
    counts = {'pairs': 0, 'wrong': 0, 'hangs': 0}
    for name in cases[: limit or None]:
        run = folder / 'run'
        codes = _pair(launcher, run, name)
        counts['pairs'] += 1
        counts['hangs'] += None in codes
        if tuple(codes) != CASES[name][2]:
            counts['wrong'] += 1
            print(f'{name}: {codes}, not {CASES[name][2]}')
        shutil.rmtree(run, ignore_errors=True)
    return counts


def _pair(launcher: Launcher, run: pathlib.Path, name: str) -> list[int | None]:
    flags, event, _ = CASES[name]
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    where = ['--distributed=explicit', f'--coordinator_address=localhost:{port}']
    where += ['--num_processes=2', '--peer_timeout=12', '--config.steps_per_call=1']
    if event == 'lock':
        from snjax.runs.lock import WorkdirLock

        holder = WorkdirLock(run)
        holder.__enter__()
    both = [
        launcher.start(
            *TINY,
            f'--workdir={run}{"-2" if OTHER in flags[i] else ""}',
            *where,
            f'--process_id={i}',
            *(flag for flag in flags[i] if flag != OTHER),
            JAX_PLATFORMS='cpu',
        )
        for i in (0, 1)
    ]
    if isinstance(event, tuple):
        wait_until(lambda: logged_step(run) >= 5, both[0], seconds=SECONDS)
        number, which = event
        for i, process in enumerate(both):
            if which in (None, i):
                process.send_signal(number)
    codes: list[int | None] = []
    for process in both:
        try:
            codes.append(wait(process, SECONDS).code)
        except Exception:
            codes.append(None)
    if event == 'lock':
        holder.__exit__()
    return codes
