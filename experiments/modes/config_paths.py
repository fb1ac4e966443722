"""Where a config lies that the command line names: `sngan_cifar` means `configs/sngan_cifar.py`,
from any folder and also where snjax is installed without its repository.
"""

import difflib
import pathlib
import re

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


def located(value: str, folder: str = '') -> str:
    """The path of a config file.

    Args:
        value: a path, which wins if there is such a file here; or the name of a file in `configs/`,
            or its path from the repository. `:argument` may follow.
        folder: in `configs/`, where names are looked for.

    Returns:
        The path of the file, and the argument; `value` as it is for a file that does not exist.
    """
    path, colon, argument = value.partition(':')
    if pathlib.Path(path).is_file():
        return value
    if re.fullmatch(r'[\w-]+', path):
        found = CONFIGS / folder / f'{path}.py'
    elif path.startswith('configs/'):
        found = CONFIGS.parent / path
    else:
        return value
    if not found.is_file():
        return value
    here = pathlib.Path.cwd()
    found = found.resolve()
    # From the repository, a run and a sweep note the short path, whichever way it was given.
    short = found.relative_to(here) if found.is_relative_to(here) else found
    return f'{short}{colon}{argument}'


def hint(path: str, folder: str = '') -> str:
    """'; did you mean FILE?' after the path of a file that does not exist; '' if none is like it.

    Args:
        path: as it was given, without an argument.
        folder: in `configs/`, whose files are proposed.
    """
    names = [file.stem for file in (CONFIGS / folder).glob('[!_]*.py')]
    near = difflib.get_close_matches(pathlib.Path(path).stem, names, n=1, cutoff=0.7)
    return f'; did you mean {(pathlib.Path("configs") / folder / near[0])}.py?' if near else ''


def with_located(argv: list[str]) -> list[str]:
    """The command line with the paths of its --config and --sweep."""
    words, expects = list(argv), None
    for place, word in enumerate(words[1:], start=1):
        flag = re.fullmatch(r'(--?(config|sweep)=)(.*)', word, re.DOTALL)
        alone = re.fullmatch(r'--?(config|sweep)', word)
        if expects:
            words[place] = located(word, _FOLDERS[expects])
        elif flag:
            words[place] = flag[1] + located(flag[3], _FOLDERS[flag[2]])
        expects = alone[1] if alone and not expects else None
    return words


_FOLDERS = {'config': '', 'sweep': 'sweeps'}
