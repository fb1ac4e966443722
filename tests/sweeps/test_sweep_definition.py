"""Definitions of sweeps: products, lists, random draws, and what is refused."""

import re

import pytest

from snjax.sweeps import definition as h


def test_product_is_everything_with_everything_and_the_last_key_changes_fastest():
    assert h.product({'a': [1, 2], 'b': ['x', 'y']}, [{'c': 0, 'd': 0}, {'c': 1}]) == [
        {'a': 1, 'b': 'x', 'c': 0, 'd': 0},
        {'a': 1, 'b': 'x', 'c': 1},
        {'a': 1, 'b': 'y', 'c': 0, 'd': 0},
        {'a': 1, 'b': 'y', 'c': 1},
        {'a': 2, 'b': 'x', 'c': 0, 'd': 0},
        {'a': 2, 'b': 'x', 'c': 1},
        {'a': 2, 'b': 'y', 'c': 0, 'd': 0},
        {'a': 2, 'b': 'y', 'c': 1},
    ]


def test_zipped_and_chain():
    zipped = h.zipped({'a': [1, 2], 'b': [3, 4]}, [{'c': 5}, {'c': 6}])
    assert zipped == [{'a': 1, 'b': 3, 'c': 5}, {'a': 2, 'b': 4, 'c': 6}]
    assert h.chain(zipped, ({'a': n} for n in (7, 8))) == [*zipped, {'a': 7}, {'a': 8}]


def test_samples_lie_in_their_ranges_and_do_not_depend_on_their_number_or_each_other():
    ranges = {
        'lr': h.log_uniform(1e-5, 1e-1),
        'x': h.uniform(-2.0, 3.0),
        'n': h.integers(1, 3),
        'k': h.choice(['p', 'q']),
    }
    drawn = h.sample(ranges, 300, seed=1)
    assert drawn[:5] == h.sample(ranges, 5, seed=1) != h.sample(ranges, 5, seed=2)
    assert [d['lr'] for d in drawn] == [d['lr'] for d in h.sample({'lr': ranges['lr']}, 300, 1)]
    assert {d['n'] for d in drawn} == {1, 2, 3} and {d['k'] for d in drawn} == {'p', 'q'}
    xs, lrs = sorted(d['x'] for d in drawn), sorted(d['lr'] for d in drawn)
    assert -2 <= xs[0] < -1.9 and 2.9 < xs[-1] <= 3 and abs(xs[150] - 0.5) < 0.5
    assert 1e-5 <= lrs[0] < 2e-5 and 5e-2 < lrs[-1] <= 1e-1 and 3e-4 < lrs[150] < 3e-3
    assert all(len(re.sub(r'e.*|[-.]', '', f'{x:g}').lstrip('0')) <= 4 for x in xs + lrs)
    # The same on every machine and version: a sweep is its seed.
    assert h.sample(ranges, 2, seed=0) == FIRST_SAMPLES


FIRST_SAMPLES = [
    {'lr': 0.001277, 'x': 2.592, 'n': 2, 'k': 'q'},
    {'lr': 0.0001032, 'x': 0.3878, 'n': 1, 'k': 'p'},
]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: h.product({'a': [1]}, {'a': [2]}), 'a is given twice, as 1 and 2'),
        (lambda: h.product({'a': 'xy'}), "a: 'xy' is not a list of values; write ['xy']"),
        (lambda: h.product({'a': 3}), 'write [3]'),
        (lambda: h.zipped({'a': [1, 2], 'b': [3]}), '2 of a, 1 of b; equally many of each'),
        (lambda: h.sample({'a': h.uniform(0, 1)}, 0), 'num is 0'),
        (lambda: h.uniform(1, 1), 'from 1 to 1'),
        (lambda: h.log_uniform(0, 1), 'low is 0'),
        (lambda: h.integers(3, 2), 'integers: from 3'),
        (lambda: h.choice([]), 'nothing to choose'),
        (lambda: h.checked(None), 'get_sweep returned None'),
        (lambda: h.checked([]), 'no items'),
        (lambda: h.checked([{'a': [1, 2]}]), 'a is [1, 2]; accepted are numbers, strings'),
        (lambda: h.checked([{3: 1}]), 'the key 3'),
        (lambda: h.checked([{'name': 'a/b'}]), "name is 'a/b'; accepted are up to 60 letters"),
        (lambda: h.checked([{'name': 3}]), 'name is 3; accepted'),
    ],
)
def test_what_is_no_sweep_is_named_in_one_line(own_errors, make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make()
    assert '\n' not in str(error.value)


def test_flags_are_what_the_command_line_reads():
    np = pytest.importorskip('numpy')
    (item,) = h.checked([{'config': 'c.py:a,b', 'lr': np.float64(2e-4), 'n': np.int64(3)}])
    assert item == {'config': 'c.py:a,b', 'lr': 2e-4, 'n': 3} and type(item['lr']) is float
    item |= {'small': 1e-8, 'flip': True, 'off': False, 'title': 'a b'}
    assert h.flags(item) == [
        '--config.lr=0.0002',
        '--config.n=3',
        '--config.small=1e-08',
        '--config.flip=true',
        '--config.off=false',
        '--config.title=a b',
    ]
