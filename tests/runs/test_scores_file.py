"""Tests of snjax.runs.scores_file: what a second evaluation of a checkpoint keeps of the first."""

import pytest

from snjax.runs import scores_file
from snjax.runs.scores_file import Row

SAME = {'protocol': 'p', 'extractor': 'digits', 'checkpoint': 'last', 'step': 5, 'fake_count': 9}
HALVES = {'half_samples': 20, 'confidence': 0.95}
INFINITE = {'extrapolated_through': 15}
BARS = Row({'fd': 2.0}, SAME | HALVES, {'fd': (1.0, 3.0)})
FOREVER = Row({'fd': 2.0, 'fd_infinity': 1.5}, SAME | INFINITE)


def after(folder, *rows):
    path = folder / 'scores.json'
    for row in rows:
        scores_file.add(path, [row])
    (found,) = scores_file.read(path)
    return found


@pytest.mark.parametrize('rows', [(BARS, FOREVER), (FOREVER, BARS)])
def test_bars_and_scores_of_infinitely_many_are_kept_beside_each_other(tmp_path, rows):
    found = after(tmp_path, *rows)
    assert found.scores == {'fd': 2.0, 'fd_infinity': 1.5}
    assert found.intervals == {'fd': (1.0, 3.0)}
    assert found.manifest == SAME | HALVES | INFINITE | {scores_file.MERGED: True}


def test_one_evaluation_with_both_replaces_the_merged_row(tmp_path):
    intervals = {'fd': (1.1, 2.9), 'fd_infinity': (1.0, 2.0)}
    both = Row(FOREVER.scores, SAME | HALVES | INFINITE, intervals)
    assert after(tmp_path, BARS, FOREVER, both) == both
    # And what it found stays when one of the two is evaluated alone, as on another device.
    again = after(tmp_path, Row(BARS.scores, SAME, {}))
    assert again == both


@pytest.mark.parametrize('change', [{'step': 6}, {'fake_count': 10}])
def test_nothing_is_kept_of_another_step_or_count(tmp_path, change):
    new = Row(FOREVER.scores, FOREVER.manifest | change)
    assert after(tmp_path, BARS, new) == new
