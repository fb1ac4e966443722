"""A small part of the campaigns, in processes of their own, because they fork: see `make faults`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(('name', 'limit'), [('kill_points', 6), ('damage', 12)])
def test_a_few_cases_of_the_campaign_end_well(name, limit):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('campaign.py'), name, f'--limit={limit}'],
        capture_output=True,
        text=True,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf'\b{limit} (kills|damages), .*\b0 (wrong|missed), ', done.stdout)
