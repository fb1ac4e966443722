"""Breaks runs on purpose and counts what came of it: `python tests/faults/campaign.py [NAME ...]`.

Each campaign is a file here. The counts are those of docs/reliability.md. Exits with 1 if anything
that should not happen did.
"""

import argparse
import importlib
import pathlib
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

# In this order: those without launch.py first.
NAMES = ('kill_points', 'damage', 'disks', 'memory', 'pairs', 'signals')
# Counts that must be zero.
BAD = ('wrong', 'leftovers', 'noise', 'missed', 'tracebacks', 'hangs', 'lost')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', help=f'any of {", ".join(NAMES)}; default: all')
    parser.add_argument('--limit', type=int, default=0, help='cases of each; 0 for all')
    arguments = parser.parse_args()
    failed = False
    for name in arguments.names or NAMES:
        module = importlib.import_module(name)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f'{name}-') as folder:
            counts = module.campaign(pathlib.Path(folder), arguments.limit)
        text = ', '.join(f'{value} {key}' for key, value in counts.items())
        print(f'{name}: {text}; {time.monotonic() - began:.0f} s', flush=True)
        failed |= any(counts.get(bad) for bad in BAD)
    sys.exit(failed)


if __name__ == '__main__':
    main()
