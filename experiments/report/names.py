"""Short names of kinds of runs, by the folders that their owner named. No JAX, no Matplotlib."""

import itertools
import json
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from snjax.runs.workdir import JOURNAL_NAME, SUMMARY_NAME
from snjax.sweeps.definition import NAME

_HASH = re.compile(r'-?[0-9a-f]{10}$')  # at the end of the folder of a sweep's run
_SEED = re.compile(r'(^|,)seed=[^,]*')
# The seed at the end of a workdir's name, as in 'plain-seed1', 'plain_s1' or 'plain1'.
_LAST_SEED = re.compile(r'[-_. ]*(seed|s)?[-_=]?\d+$')


def names(kinds: Sequence[Sequence[pathlib.Path]]) -> list[str]:
    """A name for each kind of run, unique among them.

    A run of a sweep has the name that the sweep gives it (`name`), or is named by its overrides;
    any other by its workdir. Seeds are left out where a kind has several.

    Args:
        kinds: the workdirs of each kind.
    """
    found = [_name(folders) for folders in kinds]
    counts = Counter(found)
    # The folders above tell runs of one name apart.
    long = [
        f'{folders[0].parent.name}/{name}' if counts[name] > 1 else name
        for name, folders in zip(found, kinds, strict=True)
    ]
    counts, seen = Counter(long), Counter()
    unique = []
    for name in long:
        seen[name] += 1
        unique.append(f'{name} ({seen[name]})' if counts[name] > 1 else name)
    return unique


def _name(folders: Sequence[pathlib.Path]) -> str:
    if all(_is_of_sweep(folder) for folder in folders):
        given = {_given_name(folder) for folder in folders}
        if len(given) == 1 and (chosen := given.pop()):
            return chosen
        name = _SEED.sub('', _HASH.sub('', folders[0].name)).strip(',-_')
        return name or folders[0].parent.parent.name
    names = [folder.name for folder in folders]
    if len(set(names)) == 1:
        return names[0]
    without = {_LAST_SEED.sub('', name) for name in names} - {''}
    if len(without) == 1:
        return without.pop()
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = ''.join(letters[0] for letters in alike).rstrip('-_.=, ')
    return common if len(common) > 2 else f'{names[0]} and {len(names) - 1} more'


def _is_of_sweep(folder: pathlib.Path) -> bool:
    is_inside = folder.parent.name == 'runs' and _HASH.search(folder.name) is not None
    return is_inside and (folder.parent.parent / JOURNAL_NAME).is_file()


def _given_name(folder: pathlib.Path) -> str:
    """The name that the sweep's definition gives to the run in a folder; '' for none."""
    try:
        runs = _runs_of(folder.parent.parent / SUMMARY_NAME)
        return str(runs.get(f'{folder.parent.name}/{folder.name}', {}).get(NAME, ''))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no such file, or damaged
        return ''


def _runs_of(path: pathlib.Path) -> dict[str, dict]:
    """The overrides of every run by its workdir."""
    return {run['workdir']: run['overrides'] for run in json.loads(path.read_text())['runs']}
