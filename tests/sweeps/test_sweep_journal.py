"""The journal of a sweep: kills and damage."""

import pytest

from snjax.sweeps import journal
from snjax.sweeps.journal import Journal, RunState


def test_a_journal_outlives_a_line_that_was_cut_short(tmp_path):
    path = tmp_path / 'journal.jsonl'
    with Journal(path) as opened:
        opened.append('a', RunState.RUNNING, slot='CPU 0')
        opened.append('a', RunState.FINISHED, code=0)
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole + whole[:cut].replace(b'\n', b''))
        assert [line['state'] for line in journal.read(path)] == ['running', 'finished']
    with Journal(path) as opened:
        opened.append('b', RunState.CRASHED, code=1)
    assert path.read_bytes().startswith(whole)
    assert [(x['run'], x['state']) for x in journal.read(path)][1:] == [
        ('a', 'finished'),
        ('b', 'crashed'),
    ]


@pytest.mark.parametrize('bad', ['{"run": "a"', '[]', '{"run": "a", "state": "lost"}'])
def test_other_damage_to_a_journal_is_named(tmp_path, bad):
    path = tmp_path / 'journal.jsonl'
    path.write_text(f'{{"run": "a", "state": "running"}}\n{bad}\n{{"run": "b"}}\n')
    with pytest.raises(ValueError, match='line 2 is damaged'):
        journal.read(path)
