"""Whether all processes of a run were started alike, asked before any of them computes.

Processes that differ would train something else each, or end minutes later in an aborted
collective.
"""

import json
from collections.abc import Mapping
from typing import Any

_STARTED = 'snjax/started'  # a folder in the coordination service: process number -> its values


def check_same(
    client: Any, process_id: int, num_processes: int, values: Mapping[str, Any], *, timeout: float
) -> None:
    """Compares JSON values of this process, by name, with those of the other processes.

    Every process must call it. All of them find the same differences, so all end alike.

    Args:
        client: of JAX's coordination service.
        process_id: number of this process.
        num_processes: number of processes, as this one was told.
        values: what must agree.
        timeout: seconds to wait for the others' values.

    Raises:
        ValueError: a process differs from process 0; one line with all differences.
    """
    own = json.dumps({**values, 'number of processes': num_processes}, sort_keys=True)
    client.key_value_set(f'{_STARTED}/{process_id}', own)

    def read(process: int) -> dict[str, Any]:
        return json.loads(client.blocking_key_value_get(f'{_STARTED}/{process}', milliseconds))

    milliseconds = int(1000 * timeout)
    first = read(0)
    # Its own values come first: told another number, it would wait for processes that never come.
    others = [i for i in range(1, num_processes) if i != process_id]
    for process in [*([process_id] if process_id else []), *others]:
        other = json.loads(own) if process == process_id else read(process)
        differences = [
            f'{name}: {_shown(first, name)} != {_shown(other, name)}'
            for name in sorted(first.keys() | other.keys())
            if _shown(first, name) != _shown(other, name)
        ]
        if differences:
            raise ValueError(
                f'process {process} was started in another way than process 0 '
                f'({", ".join(differences)}): start all processes with the same flags and versions'
            )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], sort_keys=True) if name in values else '(absent)'
