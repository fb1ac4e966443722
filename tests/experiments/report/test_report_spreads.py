"""Tests of `experiments.report.spreads`: seeds as one number or one curve."""

import math
import statistics

import pytest

from experiments.report.spreads import curve, format_spread, spread


def test_a_spread_is_mean_and_sample_deviation_of_what_is_finite():
    found = spread([1.0, 2.0, 6.0, math.nan, math.inf])
    assert found == (3.0, statistics.stdev([1, 2, 6]), (1.0, 2.0, 6.0))
    assert found.std == pytest.approx(math.sqrt(7))
    assert spread([4.0]) == (4.0, None, (4.0,))
    assert spread([math.nan]) is None


def test_a_curve_has_the_seeds_that_are_there_and_says_where_some_are_not():
    points = curve([{10: 1.0, 20: 3.0}, {10: 3.0, 20: math.nan}, {}])
    assert [(p.step, p.spread.mean, p.spread.std, p.is_whole) for p in points] == [
        (10, 2.0, math.sqrt(2), True),
        (20, 3.0, None, False),
    ]


def test_a_thinned_curve_keeps_the_spread_between_seeds_and_not_that_along_the_curve():
    steps = range(1, 1001)
    points = curve([{s: float(s) for s in steps}, {s: s + 2.0 for s in steps}], bins=10)
    assert len(points) == 10
    assert all(p.spread.std == pytest.approx(math.sqrt(2)) for p in points)
    assert all(p.spread.mean == pytest.approx(p.step + 1) for p in points)


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ([10.0, 12.0], '11.0 ± 1.4'),
        ([0.001, 0.003], '0.0020 ± 0.0014'),
        ([100.0, 400.0], '250 ± 212'),
        ([5.0, 5.0], '5 ± 0'),
        ([12.34567], '12.35'),
    ],
)
def test_a_spread_is_written_as_far_as_its_deviation_allows(values, text):
    assert format_spread(spread(values)) == text
