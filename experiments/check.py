"""Whether configs are of runs that would start: `python -m experiments.check`, with {name: config} as JSON on stdin.

A sweep asks this before it starts anything, in a process of its own, for methods import JAX. What depends on the device
or the data is left to the runs.
"""

import json
import sys

from ml_collections import ConfigDict

from experiments import method, streaming
from experiments.modes import evaluate, train


def main() -> None:
    """Ends with code 2 and one line on stderr at the first config that is not right."""
    for name, values in json.load(sys.stdin).items():
        try:
            config = ConfigDict(values).lock()
            train.train_options(config)
            streaming.check(config)
            method.load(config)
            evaluate.check(config)
        except ValueError as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(2)


if __name__ == '__main__':
    main()
