"""Where a benchmark ran; `python -m benchmarks.machine [OUT.json]` prints it alone."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from benchmarks import command


def describe() -> dict[str, Any]:
    """Date, processor, cores, versions, and the command that is running."""
    import flax
    import jax

    from snjax import parallel

    return {
        'date': datetime.date.today().isoformat(),
        'devices': parallel.describe(),
        'processor': _processor(),
        'cores': os.cpu_count(),
        'python': platform.python_version(),
        'jax': jax.__version__,
        'flax': flax.__version__,
        'commit': _commit(),
        'command': ' '.join(['python -m', _module(), *map(_public, sys.argv[1:])]),
    }


def write(report: dict[str, Any], out: pathlib.Path | None) -> None:
    """Prints a report and writes it to `out`, replacing an earlier one."""
    text = json.dumps(report, indent=2)
    print(text, flush=True)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + '\n')


def _public(argument: str) -> str:
    """An argument without absolute paths of this machine."""
    name, is_given, value = argument.partition('=')
    return f'{name}=PATH' if is_given and value.startswith('/') else argument


def _module() -> str:
    spec = sys.modules['__main__'].__spec__
    return spec.name if spec else pathlib.Path(sys.argv[0]).stem


def _processor() -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(':')[2].strip() for x in lines if x.startswith('model name')), '')


def _commit() -> str:
    root = pathlib.Path(__file__).parents[1]
    command = ['git', '-C', str(root), 'describe', '--always', '--dirty']
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=describe.__doc__)
    parser.add_argument('out', type=command.report, nargs='?')
    write(describe(), parser.parse_args().out)


if __name__ == '__main__':
    command.run(main)
