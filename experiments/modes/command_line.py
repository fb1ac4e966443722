"""The flags of `launch.py`: their defaults, the flags that are refused, the workdir. No JAX."""

import itertools
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments.modes import config_paths, ends, errors, from_hub, going_on, key_errors, list_keys
from experiments.modes.config_paths import CONFIGS
from experiments.settings import keys, ranges
from snjax.host import paths
from snjax.runs import generator_file, hub
from snjax.runs.workdir import CONFIG_NAME

# The flags that `define` makes are those of its caller, which `--help` lists.
flags.disclaim_key_flags()

# For each flag of `launch.py`, the values of other flags with which it is read; filled by `define`.
READ_WITH: dict[str, Mapping[str, Iterable[str]]] = {}
# What a run takes of the one that it begins with.
_TAKEN = ('transfer.take', 'transfer.optimizer', 'transfer.ema')


def define(
    kind: Callable[..., Any],
    name: str,
    default: Any,
    meaning: str,
    *,
    values: Iterable[str] = (),
    at_least: int | None = None,
    **read_with: Iterable[str],
) -> None:
    """Defines a flag of `launch.py`.

    Args:
        kind: `flags.DEFINE_string` or another such function.
        name: of the flag.
        default: its value if it is left out.
        meaning: the help text.
        values: accepted values, for `flags.DEFINE_enum`.
        at_least: smallest accepted number.
        **read_with: values of other flags with which this one is read, as `mode=('sweep',)`. With
            any other value it is refused instead of ignored.
    """
    needs = ''.join(f' [--{flag}={"|".join(few)}]' for flag, few in read_with.items())
    accepted = [list(values)] if values else []
    bound = {} if at_least is None else {'lower_bound': at_least}
    kind(name, default, *accepted, meaning + needs, **bound)
    READ_WITH[name] = read_with


def completed(argv: list[str]) -> list[str]:
    """The command line with the flags that were left out, and the paths of configs given by name.

    The options of a mode default to its file in `configs/modes/`. Without --config, the config is
    that of the run in --workdir, or else in --init_from; for a sweep defined by --sweep it is
    `configs/base.py`.

    Raises:
        ValueError: --workdir holds no run.
    """
    mode = _value(argv, 'mode') or 'train'
    argv = config_paths.with_located(_with_value_of_list_keys(argv))
    argv = from_hub.with_workdir(argv, mode)
    added = [
        f'--{name}={CONFIGS}/modes/{name}.py'
        for name in keys.MODES_WITH_OPTIONS
        if not _has(argv, name) and (name == mode or _has(argv, name + r'\.\w[\w.]*'))
    ]
    if not _has(argv, 'config'):
        workdir = _value(argv, 'workdir')
        origin = _value(argv, 'init_from')
        if mode == 'train' and origin:
            if not workdir:
                raise ValueError(going_on.NO_WORKDIR)
            if not (pathlib.Path(workdir) / CONFIG_NAME).exists():
                workdir = _origin(origin)
        if mode == 'sweep' and _has(argv, 'sweep'):
            added.append(f'--config={CONFIGS}/base.py')
        elif mode == 'train' and workdir and generator_file.is_one(pathlib.Path(workdir)):
            added.append(f'--config={CONFIGS}/from_workdir.py:{workdir}')
        elif mode not in ('sweep', 'report', 'doctor', 'compare') and workdir:
            # Of a pattern, the first run says which keys there are.
            matches = paths.matches(workdir, CONFIG_NAME)
            if not matches:
                raise ValueError(
                    f'{workdir} holds no run: there is no {workdir}/{CONFIG_NAME}; give '
                    + ('--config, or ' if mode == 'train' else '')
                    + 'the --workdir of a training'
                )
            added.append(f'--config={CONFIGS}/from_workdir.py:{matches[0].parent}')
    return [argv[0], *added, *argv[1:]]


def _origin(name: str) -> str:
    """The workdir or the file that --init_from names."""
    folder = going_on.split(name)[0]
    return str(from_hub.downloaded(folder)) if hub.is_address(folder) else folder


def _with_value_of_list_keys(argv: list[str]) -> list[str]:
    """The command line with `--list_keys=TEXT` for --list_keys alone, or with TEXT after it."""
    words = list(argv)
    for place, word in enumerate(words):
        if re.fullmatch('--?list_keys', word):
            is_text = place + 1 < len(words) and not words[place + 1].startswith('-')
            words[place] = f'--list_keys={words.pop(place + 1) if is_text else ""}'
            break
    return words


def _check_renamed(argv: list[str]) -> None:
    """Raises a ValueError for a flag whose key was moved to a mode, or removed."""
    for word in argv[1:]:
        found = re.match(r'--?(?:no)?config\.([\w.]+)', word)
        what = found and key_errors.renamed(found[1])
        if found and what:
            raise ValueError(f'--config.{found[1]} {what}')


def _check_once(argv: list[str]) -> None:
    """Raises a ValueError for a flag of a file that is given twice, one of which would be lost."""
    for name in ('config', *keys.MODES_WITH_OPTIONS, 'sweep', 'workdir'):
        given = [word for word in argv[1:] if re.match(rf'--?{name}(=|$)', word)]
        if len(given) > 1:
            raise ValueError(f'--{name} is given {len(given)} times: {", ".join(given)}; keep one')


def parse(argv: list[str]) -> list[str]:
    """Reads the flags. Any mistake in them or in a config file is one line and exit code 2.

    Returns:
        The words that are no flags: the program's name.
    """
    try:
        _check_renamed(argv)
        _check_once(argv)
        rest = _read(completed(argv))
        if len(rest) > 1:
            raise ValueError(f'{rest[1]!r} is no flag: write --config=... --workdir=... --mode=...')
        if flags.FLAGS.list_keys is not None:
            with ends.reader_may_leave():
                list_keys.show(flags.FLAGS.list_keys)
            sys.exit(0)
        _check_read()
        if flags.FLAGS.mode != 'report':  # each run has its own config
            _check_files(flags.FLAGS.mode)
            workdir()  # its path is refused here, once
        elif flags.FLAGS.workdir:
            workdir()
    except Exception as error:
        errors.end_at_config(error, source=f'--config={_value(argv, "config")}')
    return rest


def _read(argv: list[str]) -> list[str]:
    """Reads the flags; `--help` prints them and ends with 0, not with absl's 1."""
    try:
        with ends.reader_may_leave():
            return flags.FLAGS(argv)
        sys.exit(0)  # the reader of the help has left
    except SystemExit as asked:
        sys.exit(0 if asked.code == 1 else asked.code)


def _check_read() -> None:
    """Raises a ValueError for a flag that nothing would read."""
    for name, conditions in READ_WITH.items():
        if not flags.FLAGS[name].present:
            continue
        for condition, accepted in conditions.items():
            value: Any = flags.FLAGS[condition].value
            if value in accepted:
                continue
            of, *others = (f'--{condition}={x}' for x in accepted)
            remedy = 'leave it out' if others else f'add {of}, or leave it out'
            raise ValueError(
                f'--{name} is a flag of {", ".join([of, *others])}, not of --{condition}={value}: '
                f'{remedy}'
            )


def _check_files(mode: str) -> None:
    """Raises a ValueError for a config file that is missing, lacks keys or sets unread ones."""
    for name in ('config', *keys.MODES_WITH_OPTIONS):
        flag = flags.FLAGS[name]
        if flag.value is None and not flag.present:
            continue
        file = config_flags.get_config_filename(flag)
        path = file.partition(':')[0]
        if not pathlib.Path(path).is_file():
            near = config_paths.hint(path) if name == 'config' else ''
            raise ValueError(f'--{name}={path}: there is no such file{near}')
        key_errors.check_keys(name, flag.value, file)
        # The values of a finished run are what they are, and a sweep checks each of its configs.
        if name != 'config' or mode == 'train':
            _check_ranges(name, flag, file)
    if flags.FLAGS['config'].value is None:
        if mode in ('doctor', 'compare'):
            return
        if mode in keys.MODES_OF_RUNS:
            raise ValueError('--workdir is missing: give a run, as --workdir=runs/sngan_digits')
        raise ValueError('--config is missing: give a file, as --config=configs/sngan_digits.py')
    if mode in keys.MODES_OF_RUNS:
        _check_overrides(mode)


def _check_ranges(name: str, flag: flags.Flag, file: str) -> None:
    """Raises a ValueError for a value of another type or out of range, and names where it stands."""
    try:
        ranges.check(name, flag.value)
    except ValueError as error:
        key = str(error).split(' is ')[0].removeprefix(f'{name}.')
        if key in config_flags.get_override_values(flag):
            raise
        raise ValueError(f'{file}: {error}') from error


def _check_overrides(mode: str) -> None:
    """Raises a ValueError for a `--config.` flag that a mode of finished runs does not read."""
    options = key_errors.defaults(mode)
    for key in config_flags.get_override_values(flags.FLAGS['config']):
        if key in keys.PLACES:
            continue
        group, _, name = key.partition('.')
        if group in keys.MOVED and keys.MOVED[group][0] == mode and name in options:
            raise ValueError(f'--config.{key} is a flag of --mode=train: use --{mode}.{name}')
        raise ValueError(
            f"--config.{key} is a flag of --mode=train: --mode={mode} reads the run's own config; "
            f'only {", ".join(keys.PLACES)} may be overridden; leave it out'
        )


def forget_beginning() -> None:
    """Sets what the command line does not say of the beginning of a new run to its default, where the
    config is that of another run: how that one began says nothing of this one.
    """
    flag = flags.FLAGS['config']
    if not config_flags.get_config_filename(flag).startswith(f'{CONFIGS}/from_workdir.py'):
        return
    config: Any = flag.value
    defaults = keys.FILES['config'].get_config()
    given = config_flags.get_override_values(flag)
    for key in _TAKEN:
        if key not in given:
            config.update_from_flattened_dict({key: defaults[key]})


def places() -> dict[str, Any]:
    """The keys `PLACES` that the command line or the file of --config gives; empty ones left out."""
    flag = flags.FLAGS['config']
    read = keys.PLACES
    if config_flags.get_config_filename(flag).startswith(f'{CONFIGS}/from_workdir.py'):
        read = [key for key in keys.PLACES if key in config_flags.get_override_values(flag)]
    config: Any = flag.value
    values = {key.removeprefix('data.'): config[key] for key in read}
    return {name: value for name, value in values.items() if value}


def workdir() -> pathlib.Path:
    """--workdir, or a folder named after the config (of a sweep, its definition) and argument."""
    given = flags.FLAGS['workdir'].value
    if given:
        return _usable(paths.expanded(given, '--workdir'))
    if flags.FLAGS['config'].value is None:  # the doctor's, or images without a run
        return pathlib.Path()
    above, named = 'runs', config_flags.get_config_filename(flags.FLAGS['config'])
    if flags.FLAGS['mode'].value == 'sweep':
        above, named = 'sweeps', flags.FLAGS['sweep'].value or named
    path, _, argument = named.partition(':')
    argument = argument.strip('/').replace('/', '_')
    return _usable(
        pathlib.Path(above) / '-'.join(filter(None, [pathlib.Path(path).stem, argument]))
    )


def _usable(workdir: pathlib.Path) -> pathlib.Path:
    if flags.FLAGS['mode'].value in ('train', 'sweep', 'convert'):
        paths.check_workdir(workdir)
    return workdir


def _has(argv: list[str], pattern: str) -> bool:
    """Whether the command line has a flag whose name matches."""
    return any(re.match(rf'--?(?:no)?(?:{pattern})(=|$)', word) for word in argv[1:])


def _value(argv: list[str], name: str) -> str | None:
    """The value of a flag, which is not parsed yet; None without it."""
    value: Any = None
    for word, following in itertools.pairwise([*argv[1:], '']):
        found = re.match(rf'--?{name}(?:=(.*))?$', word, re.DOTALL)
        if found:
            value = found[1] if found[1] is not None else following
    return value
