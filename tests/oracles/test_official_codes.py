"""The official trainings themselves, from checkouts: `make oracles CHECKOUTS=DIR`.

They have to do again what the fixtures say they did (`test_official.py` compares snjax with those).
"""

import numpy as np
import pytest

from oracles.official import compare, fixtures, ours


@pytest.mark.parametrize('model', list(ours.CONFIGS))
def test_the_official_code_does_what_its_fixture_says(model, pytestconfig, tmp_path):
    checkouts = pytestconfig.getoption('--checkouts')
    if checkouts is None:
        pytest.skip('needs --checkouts=DIR and the interpreters of official/fixtures.py')
    fixtures.run_peer(model, checkouts.resolve(), tmp_path / 'found.npz')
    with np.load(tmp_path / 'found.npz') as arrays:
        found = dict(arrays)
    theirs = fixtures.fixture(model)
    for t in (1, 20):
        errors, arrays = compare.errors(model, found, theirs, t)
        assert max(errors.values()) < 1e-9, (errors, arrays[:3])
