"""Every file of a finished workdir is damaged in every way, and every reader is asked about it.

Right is an answer as before the damage (the file does not matter, or an older checkpoint serves), or
a refusal of one line. A damaged checkpoint must never be restored as the newest, and nothing may end
in a traceback.
"""

import functools
import pathlib
import random
import shutil
from collections.abc import Callable

import life
import numpy as np

from experiments.report import runs as run_folders
from snjax.runs import scores_file, workdir
from snjax.runs.checkpoint import Checkpointer, load_tree

WAYS: dict[str, Callable[[pathlib.Path], object]] = {
    'empty': lambda path: path.write_bytes(b''),
    'half': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    'zeros': lambda path: path.write_bytes(b'\0' * path.stat().st_size),
    'bit': lambda path: path.write_bytes(_flipped(path.read_bytes())),
    'text': lambda path: path.write_bytes(b'{"step": 1e400}\n'),
    'folder': lambda path: (path.unlink(), path.mkdir()),
    'gone': lambda path: path.unlink(),
}


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Tries `limit` damages, chosen at random; 0 for all. Returns counts."""
    whole = folder / 'whole'
    code, output = life.fork(functools.partial(life.live, whole))
    assert code == 0, output
    files = sorted(path.relative_to(whole) for path in whole.rglob('*') if path.is_file())
    cases = [(name, way) for name in files for way in WAYS]
    if limit:
        cases = random.Random(0).sample(cases, limit)
    counts = {'files': len(files), 'damages': 0, 'found': 0, 'harmless': 0, 'missed': 0}
    counts['tracebacks'] = 0
    for name, way in cases:
        run = folder / 'damaged'
        shutil.copytree(whole, run)
        WAYS[way](run / name)
        code, output = life.fork(functools.partial(ask, run, str(name)))
        counts['damages'] += 1
        counts['tracebacks'] += code not in (0, 2) or 'Traceback' in output
        counts['missed'] += code == 0 and output.endswith('WRONG')
        counts['found'] += code == 2 or 'FOUND' in output
        counts['harmless'] += code == 0 and output.endswith('SAME')
        if code not in (0, 2) or 'Traceback' in output or output.endswith('WRONG'):
            print(f'{name} {way}: exit {code}\n{output}')
        shutil.rmtree(run)
    return counts


def ask(folder: pathlib.Path, name: str) -> str:
    """Reads a damaged workdir in every way, goes on in it, and says what came of it."""
    run_folders.read([folder])  # never raises for damage
    if name.startswith(workdir.CHECKPOINTS):
        with Checkpointer(folder / workdir.CHECKPOINTS) as checkpoints:
            found = checkpoints.restore_latest(life.state_of(0))
        assert found is not None
        step, state = found
        expected = life.state_of(step)
        if not all(np.array_equal(state[key], expected[key]) for key in expected):
            return 'WRONG'
        return 'FOUND' if step < life.NUM_STEPS else 'SAME'
    if name.startswith(workdir.BEST):
        step, tree = load_tree(folder / workdir.BEST)
        return (
            'SAME' if np.array_equal(tree['weights'], life.state_of(step)['weights']) else 'WRONG'
        )
    scores_file.read(folder / workdir.SCORES_NAME)
    said: list[str] = []
    life.live(folder, said.append)
    return 'FOUND' if said else 'SAME'


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if content
        else b'\1'
    )
