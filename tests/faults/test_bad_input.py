"""Bad input of every kind: one line that names it, exit code 2, and nothing written."""

import pytest

from helpers.forked_launches import Launch, run
from helpers.launching import DIGITS

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
}
CASES = PATHS


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
