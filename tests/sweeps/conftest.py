"""Fixtures of the sweeps' tests: SLURM, or stand-ins for its programs."""

import pytest

from helpers.slurm_cluster import Slurm, StandIns

_CLUSTERS = {'stand-ins': StandIns, 'slurm': Slurm}


@pytest.fixture(params=['stand-ins', pytest.param('slurm', marks=pytest.mark.slow)])
def cluster(request, tmp_path_factory):
    """A cluster of stand-ins, and in slow tests also SLURM itself."""
    made = _CLUSTERS[request.param](tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()


@pytest.fixture
def stand_ins(tmp_path_factory):
    """A cluster of stand-ins."""
    made = StandIns(tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()


@pytest.fixture
def slurm_itself(tmp_path_factory):
    """SLURM with two nodes; skips the test where SLURM is missing or does not start."""
    made = Slurm(tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()
