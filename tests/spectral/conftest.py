"""Tests of gradients freeze layers on purpose; only those of the warning itself want it."""

import pytest

from snjax.spectral import frozen


@pytest.fixture(autouse=True)
def no_warning_of_frozen_training():
    """As in a process that advances u: `frozen` then stays silent."""
    frozen.note_advance()
