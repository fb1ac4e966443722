"""Whether configs are of runs that would start: `python -m experiments.check`, with {name: config} as JSON on stdin.

A sweep asks this before it starts anything, in a process of its own, for methods import JAX. What depends on the device
or the data is left to the runs.
"""

import json
import sys

from ml_collections import ConfigDict

from experiments import members, streaming
from experiments.modes import train, training_scores


def main() -> None:
    """Ends with code 2 and one line on stderr at the first config that is not right."""
    for name, values in json.load(sys.stdin).items():
        try:
            config = ConfigDict(values).lock()
            train.train_options(config)
            streaming.check(config)
            members.load(config, members.members_of(config))
            training_scores.check(config)
        except ValueError as error:
            print(f'{name}: {error}', file=sys.stderr)
            sys.exit(2)


if __name__ == '__main__':
    main()
