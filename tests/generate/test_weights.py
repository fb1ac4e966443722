"""Which weights generate: the EMA if the run keeps one, unless others are asked for."""

import pytest

from snjax.generate.weights import CHOICES, select

RAW, EMA = {'params': {'kernel': 1}}, {'params': {'kernel': 2}}


@pytest.mark.parametrize(
    ('weights', 'with_ema', 'without'), [('auto', EMA, RAW), ('raw', RAW, RAW), ('ema', EMA, None)]
)
def test_each_name_selects_the_dict_itself(weights, with_ema, without):
    assert select(RAW, EMA, weights) is with_ema
    if without is not None:
        assert select(RAW, None, weights) is without


def test_auto_is_the_default():
    assert select(RAW, EMA) is EMA
    assert set(CHOICES) == {'auto', 'ema', 'raw'}


def test_an_ema_that_was_not_kept_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r'kept no moving average .*optimizer\.ema_decay is 0'):
        select(RAW, None, 'ema')
    with pytest.raises(ValueError, match="weights 'avg': accepted are auto, ema, raw"):
        select(RAW, EMA, 'avg')
