"""Bad input of every kind: one line that names it, exit code 2, and nothing written."""

import jax
import pytest

from experiments.modes import start
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
        ['Is a directory', 'run/config.json'],
    ),
    'a user that is not there': (
        Launch([DIGITS, '--workdir=~nobody_here/run']),
        ['--workdir', "no user 'nobody_here'"],
    ),
    'images of a user that is not there': (
        Launch([f'--config={ROOT}/configs/sngan_folder.py:~nobody_here/x', RUN]),
        ['data.path', "no user 'nobody_here'"],
    ),
    'a backslash': (Launch([DIGITS, '--workdir=a\\b']), ["'a\\\\b'", 'another --workdir']),
    'an address': (Launch([DIGITS, '--workdir=gs://bucket/run']), ["'gs:'", 'another --workdir']),
    'a name that is too long': (Launch([DIGITS, f'--workdir={"x" * 300}']), ['too long']),
    'a flag file that is not there': (Launch([DIGITS, '--flagfile=nowhere']), ['nowhere']),
    'two configs': (Launch([DIGITS, DIGITS, RUN]), ['--config']),
    'a loop of links': (Launch([DIGITS, '--workdir=/proc/self/fd/999/x']), ['/proc/self/fd/999']),
    'a report of nothing': (Launch(['--mode=report', '--workdir=a[1]']), ['a[1] holds no run']),
}
DATA = {}
CASES = PATHS | DATA


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
