"""Bad input of every kind: one line that names it, exit code 2, and nothing written."""

import jax
import pytest

from experiments.modes import start
from experiments.settings import keys, ranges
from helpers.forked_launches import Launch, run
from helpers.launching import DIGITS, ROOT

RUN = '--workdir=run'
# name: (launch, what the one line must say)
PATHS = {
    'metrics of another program': (
        Launch([DIGITS, RUN], {'run/metrics.jsonl': '{"step": 1, "loss": 2}\n' * 500}),
        ['run holds metrics.jsonl but no config.json', 'another --workdir'],
    ),
    'a folder for config.json': (
        Launch([DIGITS, RUN], {'run/config.json/': ''}),
        ['run/config.json is a folder where a file belongs'],
    ),
    'a user that is not there': (
        Launch([DIGITS, '--workdir=~nobody_here/run']),
        ['--workdir', "no user 'nobody_here'"],
    ),
    'images of a user that is not there': (
        Launch([f'--config={ROOT}/configs/sngan_folder.py:~nobody_here/x', RUN]),
        ['data.path', "no user 'nobody_here'"],
    ),
    'a table of labels that names another image': (
        Launch(
            [f'--config={ROOT}/configs/sngan_folder.py:photos', RUN],
            {'photos/a.png': '', 'photos/labels.csv': 'file,label\nb.png,cat\n'},
        ),
        ['labels.csv in ', "row 2, column 'file'", "'b.png'", '--config.data.labels=folders'],
    ),
    'an archive that is none': (
        Launch([f'--config={ROOT}/configs/sngan_folder.py:photos.zip', RUN], {'photos.zip': 'PK'}),
        ['photos.zip cannot be read as a zip archive', '--config.data.path'],
    ),
    'a backslash': (Launch([DIGITS, '--workdir=a\\b']), ["'a\\\\b'", 'another --workdir']),
    'an address': (Launch([DIGITS, '--workdir=gs://bucket/run']), ["'gs:'", 'another --workdir']),
    'a name that is too long': (Launch([DIGITS, f'--workdir={"x" * 300}']), ['too long']),
    'a flag file that is not there': (Launch([DIGITS, '--flagfile=nowhere']), ['nowhere']),
    'two configs': (Launch([DIGITS, DIGITS, RUN]), ['--config']),
    'a loop of links': (Launch([DIGITS, '--workdir=/proc/self/fd/999/x']), ['/proc/self/fd/999']),
    'a report of nothing': (Launch(['--mode=report', '--workdir=a[1]']), ['a[1] holds no run']),
}


def config(*lines):
    """The launch of a config file that changes the demo's by these lines."""
    head = ['from configs import sngan_digits', 'def get_config():']
    body = ['c = sngan_digits.get_config()', *lines, 'return c']
    return file('\n'.join([*head, *(f'    {line}' for line in body), '']))


def file(text):
    return Launch(['--config=mine.py', RUN], {'mine.py': text})


def sweep(items, text=''):
    files = {'sweep.py': f'def get_sweep(h):\n    return {items}\n', 'mine.py': text}
    return Launch(['--mode=sweep', '--sweep=sweep.py', '--workdir=sweep', DIGITS], files)


CONFIG_FILES = {
    'None': (config('c.n_dis = None'), ['mine.py', 'n_dis is None: a whole number']),
    'a tuple': (config('c.n_dis = (1, 2)'), ['mine.py', "'n_dis'", 'tuple']),
    'a text': (config("c.n_dis = '5'"), ['mine.py', "'n_dis'", 'str']),
    'another text': (
        config('c.n_dis = None', "c.n_dis = '5'"),
        ['mine.py', "n_dis is '5': a whole number is needed"],
    ),
    'true for a number': (
        config('c.n_dis = None', 'c.n_dis = True'),
        ['mine.py', 'n_dis is True: a whole number is needed'],
    ),
    'a number of NumPy': (
        config('import numpy', 'c.optimizer.lr = None', 'c.optimizer.lr = numpy.float32(1)'),
        ['mine.py', 'optimizer.lr is np.float32(1.0)'],
    ),
    'a function': (config('c.loss = None', 'c.loss = print'), ['mine.py', 'loss is', 'a text']),
    'a missing group': (
        config('c.unlock()', "del c['optimizer']"),
        ['mine.py', 'optimizer.beta1 is missing'],
    ),
    'a key deleted from a locked config': (config("del c['n_dis']"), ['mine.py, line 4', 'locked']),
    'no group': (config('c.optimizer = None'), ['mine.py', 'optimizer is None: a group']),
    'a number for a group': (
        config('c.optimizer = None', 'c.optimizer = 3'),
        ['mine.py', 'optimizer is 3: a group'],
    ),
    'a group for a number': (
        config('c.n_dis = None', "c.n_dis = {'a': 1}"),
        ['mine.py', 'n_dis is a group'],
    ),
    'an empty config': (
        file('from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()\n'),
        ['mine.py', 'is missing', 'base.get_config()'],
    ),
    'no config': (file('def get_config():\n    return {}\n'), ['mine.py', 'ConfigDict is needed']),
    'an empty file': (file(''), ['mine.py has no get_config()']),
    'a syntax error': (file('def get_config(:\n'), ['mine.py, line 1: SyntaxError']),
    'a NUL byte': (file('def get_config():\n\0'), ['mine.py', 'null bytes']),
    'a missing module': (file('import nothing_here\n'), ['mine.py, line 1', 'nothing_here']),
    'an error': (file('def get_config():\n    return 1 / 0\n'), ['mine.py, line 2', 'division']),
    'an endless recursion': (
        file('def get_config():\n    return get_config()\n'),
        ['mine.py, line 2: RecursionError'],
    ),
    'a number that divides by zero': (config('c.n_dis = 1 // 0'), ['mine.py, line 4']),
    'a sweep of a bad value': (sweep("[{'n_dis': -1}]"), ['n_dis is -1: a whole number from 1']),
    'a sweep of NaN': (sweep("[{'optimizer.eps': float('nan')}]"), ['optimizer.eps is nan']),
    'a sweep of None': (sweep("[{'n_dis': None}]"), ['n_dis is None']),
    'a sweep of nothing': (sweep('None'), ['get_sweep returned None']),
    'a sweep of a config with a syntax error': (
        sweep("[{'config': 'mine.py'}]", 'def get_config(:\n'),
        ['mine.py, line 1: SyntaxError'],
    ),
    'a sweep of a config with an error': (
        sweep("[{'config': 'mine.py'}]", 'def get_config():\n    return 1 / 0\n'),
        ['mine.py, line 2: ZeroDivisionError'],
    ),
    'a sweep with an error': (sweep('1 / 0'), ['sweep.py, line 2: ZeroDivisionError']),
    'a sweep with a syntax error': (sweep('('), ['sweep.py, line', 'SyntaxError']),
}
# Values of numbers that no range of `experiments.settings.ranges` takes.
OUT_OF_RANGE = ('nan', '-inf', '-2', '1e30', f'{2**63}', f'{2**32}')


def out_of_range():
    """Every number of every flag at values without meaning, as far as its range excludes them."""
    for flag, numbers in ranges.RANGES.items():
        mode = [] if flag == 'config' else [f'--mode={flag}']
        defaults = keys.flatten(keys.FILES[flag].get_config().to_dict())
        for key, allowed in numbers.items():
            for text in OUT_OF_RANGE:
                whole = isinstance(defaults[key], int)
                if whole != text.lstrip('-').isdecimal() or float(text) in allowed:
                    continue
                name = key if flag == 'config' else f'{flag}.{key}'
                # Images without a run have no config and no workdir.
                where = [] if flag == 'compare' else [DIGITS, RUN]
                launch = Launch([*mode, *where, f'--{flag}.{key}={text}'])
                yield f'{flag}.{key}={text}', (launch, [f'{name} is ', f'--{flag}.{key}'])


def value(flag, *parts):
    return Launch([DIGITS, RUN, f'--config.{flag}']), [*parts, f'--config.{flag.split("=")[0]}']


VALUES = {
    'a grid larger than the memory': value('sampling.num=100000000', 'takes at least', 'GB'),
    'a batch larger than the memory': value('batch_size=2000000000', 'takes at least', 'GB'),
    'fakes larger than the memory': value('gen_batch_size=2000000000', 'takes at least', 'GB'),
    'a layer larger than the memory': value('model.gen_width=60000', 'takes at least', 'GB'),
    'no number': value('n_dis=1e3', 'a whole number is accepted'),
    'an empty number': value('optimizer.lr=', 'a number is accepted'),
    'neither true nor false': value('data.flip=maybe', 'Non-boolean'),
    'a normalization of D for G': value('model.gen_normalization=batch', "'none', 'spectral'"),
    'a port that is none': (
        Launch(
            [
                DIGITS,
                RUN,
                '--distributed=explicit',
                '--coordinator_address=127.0.0.1:99999',
                '--num_processes=2',
                '--process_id=0',
            ]
        ),
        ['--coordinator_address=127.0.0.1:99999', 'host:port'],
    ),
}
CASES = PATHS | CONFIG_FILES | VALUES | dict(out_of_range())


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
    return run(
        {name: launch for name, (launch, _) in CASES.items()}, tmp_path_factory.mktemp('bad')
    )


@pytest.mark.parametrize('name', CASES)
def test_bad_input_is_one_line_and_exit_2_and_writes_nothing(ended, name):
    found = ended[name]
    assert found.code == 2, found
    lines = [line for line in found.err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith('launch.py: '), found.err
    assert [part for part in CASES[name][1] if part not in lines[0]] == [], lines[0]
    assert [path for path in found.made if not path.endswith('.lock')] == []


def test_64_bits_are_refused_because_they_draw_other_images():
    with jax.enable_x64(True), pytest.raises(ValueError, match='JAX_ENABLE_X64 is set'):
        start.start(None, None)


def test_every_number_of_every_config_has_a_range():
    for flag, numbers in ranges.RANGES.items():
        defaults = keys.flatten(keys.FILES[flag].get_config().to_dict())
        there = {k: v for k, v in defaults.items() if type(v) in (int, float)}
        assert there.keys() == numbers.keys()
        for key, default in there.items():
            assert default in numbers[key], key


@pytest.mark.parametrize('number', [0.5, 1.0, 1.5, -0.1, float('inf')])
def test_ranges_and_their_words(number):
    assert (number in ranges.Range(0, 1)) == (number in (0.5, 1.0))
    assert (number in ranges.POSITIVE) == (number in (0.5, 1.0, 1.5))
    assert ranges.POSITIVE.words(float) == 'a number above 0'
    assert ranges.SEED.words(int) == 'a whole number from 0 to 4294967295'
