"""Refuses a value that is none of those accepted, in one line with the nearest one."""

import difflib
from collections.abc import Iterable


def choose(key: str, value: str, accepted: Iterable[str], flag: str = '--config.') -> str:
    """Returns `value` if it is one of `accepted`.

    Args:
        key: full key of a config, or an option of a mode.
        value: the chosen value.
        accepted: all accepted values.
        flag: the prefix of the key on the command line.

    Raises:
        ValueError: `value` is not accepted; the message names the nearest accepted one.
    """
    accepted = list(accepted)
    if value in accepted:
        return value
    near = difflib.get_close_matches(str(value), accepted, n=1, cutoff=0.5)
    hint = f'; did you mean {flag}{key}={near[0]}?' if near else ''
    listed = ', '.join(name or '(empty)' for name in accepted)
    raise ValueError(f'{key} is {value!r}: accepted are {listed}{hint}')
