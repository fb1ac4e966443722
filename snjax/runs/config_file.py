"""`config.json`: the configuration of a workdir, and whether a run may resume with another one.

A run is resumed by starting it again in the same workdir. Its configuration may differ from that in
the workdir as long as both compute the same bits.
"""

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from snjax.runs.files import Damaged, read_json, replace_file
from snjax.runs.workdir import CONFIG_NAME, JOURNAL_NAME, check_is_of_a_run

_ABSENT = '(absent)'


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """A nested config by full key: `{'optimizer.lr': 2e-4, ...}`. Empty groups stay as they are."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def read_config(path: Path) -> dict[str, Any]:
    """The config that a run left; raises a ValueError that names a damaged file."""
    try:
        config = read_json(path)
    except Damaged as error:
        raise Damaged(f'{error}; restore it, or use another --workdir') from None
    if config is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not isinstance(config, dict):
        raise ValueError(
            f'{path} is damaged (not a JSON object); restore it, or use another --workdir'
        )
    return config


def compare_config(
    workdir: str | os.PathLike,
    config: Mapping[str, Any],
    computed: Callable[[Mapping[str, Any]], dict[str, Any]] = flatten,
) -> list[tuple[str, str, str]]:
    """Checks that a run with `config` may resume in `workdir`. Writes nothing.

    Args:
        workdir: folder of the run, which need not exist.
        config: nested dict of JSON values; tuples count as lists.
        computed: returns, by full key, the part of a config that must be the same before and after.

    Returns:
        The other differences: full key, value in the workdir, value now.

    Raises:
        ValueError: the computed parts differ, `config.json` is damaged or of a run that this
            version cannot resume, `config` cannot be written as JSON, a sweep lives here, or files
            of something else.
    """
    workdir = Path(workdir)
    path = workdir / CONFIG_NAME
    now = json.loads(_as_json(config))
    if not path.exists():
        if (workdir / JOURNAL_NAME).exists():
            raise ValueError(
                f'{workdir} holds a sweep: add --mode=sweep to resume it, or use another --workdir'
            )
        check_is_of_a_run(workdir)
        return []
    before = read_config(path)
    try:
        refused = _differences(computed(before), computed(now))
    except ValueError as error:
        raise ValueError(f'{workdir} cannot be resumed: {error}') from error
    if refused:
        listed = ', '.join(f'{key}: {old} (workdir) != {new} (now)' for key, old, new in refused)
        raise ValueError(
            f'{workdir} was made with another config: {listed}; use another --workdir or restore '
            'these values'
        )
    return _differences(flatten(before), flatten(now))


def check_config(
    workdir: str | os.PathLike,
    config: Mapping[str, Any],
    computed: Callable[[Mapping[str, Any]], dict[str, Any]] = flatten,
) -> None:
    """Does `compare_config`, then writes `config` to the workdir and logs the differences.

    Writes nothing if the config is refused, or if it is the one in the workdir.
    """
    workdir = Path(workdir)
    path = workdir / CONFIG_NAME
    differences = compare_config(workdir, config, computed)
    for key, old, new in differences:
        logging.info('config %s: %s before, %s from now on', key, old, new)
    if differences or not path.exists():
        replace_file(path, _as_json(config))


def _as_json(config):
    try:
        return json.dumps(config, indent=2, sort_keys=True) + '\n'
    except (TypeError, ValueError) as error:
        raise ValueError(f'the config cannot be written as JSON: {error}') from error


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (full key, old value, new value) as text, for every key whose values differ."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before = json.dumps(old[key]) if key in old else _ABSENT
        after = json.dumps(new[key]) if key in new else _ABSENT
        if before != after and not _is_same_number(old.get(key), new.get(key)):
            found.append((key, before, after))
    return found


def _is_same_number(a: Any, b: Any) -> bool:
    """1 and 1.0 mean the same in a config; 1 and true do not."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return numbers and a == b
