"""The sweep behind docs/results/cifar10.md: the runs that its table lists, with five checkpoints
each.
"""

import importlib
import re
from collections import Counter
from pathlib import Path

from configs.sweeps import cifar10
from helpers.launching import ROOT
from snjax.sweeps import definition


def test_the_sweep_has_the_runs_of_the_page():
    items = definition.checked(cifar10.get_sweep(definition))
    runs = Counter()
    for item in items:
        path, _, argument = item['config'].partition(':')
        module = importlib.import_module(f'configs.{Path(path).stem}')
        num_steps = module.get_config(*filter(None, [argument])).num_steps
        assert num_steps == 5 * item['checkpoint.keep_every']
        runs[Path(path).stem, argument, num_steps] += 1
    listed = Counter()
    page = (ROOT / 'docs' / 'results' / 'cifar10.md').read_text()
    row = r'^\|[^|]*\| \[(\w+)\]\([^)]*\)(?: `:([^`]*)`)? \| ([\d, ]+) \| ([\d,]+) \|$'
    for name, argument, seeds, num_steps in re.findall(row, page, re.M):
        listed[name, argument, int(num_steps.replace(',', ''))] += len(seeds.split(','))
    assert runs.total() == 10
    assert listed == runs
