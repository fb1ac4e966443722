"""A life on disks of growing size: one line where there is no room, and every checkpoint is good.

Needs Linux, and root or user namespaces, to mount a small disk.
"""

import pathlib
import subprocess
import sys

import life

SIZES_KB = (4, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
GO_ON = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import life
folder = pathlib.Path(sys.argv[2])
try:
    life.live(folder)
except (ValueError, OSError) as error:
    print(error, file=sys.stderr)
    code = 2
else:
    code = 0
from snjax.runs.checkpoint import load_tree
from snjax.runs.workdir import steps_in
for step in steps_in(folder / 'checkpoints'):
    _, tree = load_tree(folder / 'checkpoints', step)
    assert (tree['weights'] == life.state_of(step)['weights']).all()
sys.exit(code)
"""


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Tries `limit` sizes; 0 for all. Returns counts."""
    counts = {'disks': 0, 'full': 0, 'wrong': 0, 'noise': 0}
    disk = folder / 'disk'
    disk.mkdir()
    for size in SIZES_KB[: limit or None]:
        mount = f'mount -t tmpfs -o size={size}k full "$0" && exec "$@"'
        here = str(pathlib.Path(life.__file__).parent)
        command = ['unshare', '--mount', 'sh', '-c', mount, str(disk)]
        command += [sys.executable, '-c', GO_ON, here, str(disk / 'run')]
        done = subprocess.run(command, capture_output=True, text=True)
        counts['disks'] += 1
        counts['full'] += done.returncode == 2
        counts['wrong'] += done.returncode not in (0, 2)
        lines = done.stderr.strip().splitlines()
        is_one = len(lines) == 1 and 'No space left on device' in lines[0]
        if done.returncode not in (0, 2) or (done.returncode == 2 and not is_one):
            counts['noise'] += 1
            print(f'{size} kB: exit {done.returncode}\n{done.stderr}')
    return counts
