"""Tests of experiments.modes.outcome: the line on how a training went."""

import json

import pytest

from experiments.modes import outcome
from helpers.launching import ROOT

WILD = {'real': 100.0, 'fake': -100.0}
HEALTHY = {
    'sentinel/diversity': dict.fromkeys(range(50, 1001, 50), 0.9),
    'sentinel/saturation': dict.fromkeys(range(50, 1001, 50), 0.2),
    'sentinel/dis_accuracy': dict.fromkeys(range(50, 1001, 50), 0.7),
}


def scored(*values, tag='eval/frechet_distance'):
    """A score at steps 200, 400, ... of a run of 1000."""
    return {tag: {200 * (i + 1): value for i, value in enumerate(values)}}


@pytest.mark.parametrize(
    ('curves', 'expected'),
    [
        (HEALTHY | scored(90, 50, 40, 35, 20), 'distance 20 at the end and still falling'),
        (HEALTHY | scored(90, 50, 20, 21, 20.5), 'no longer falling (best 20 at step 600)'),
        (HEALTHY | scored(90, 20, 30, 40, 50), 'but 20 at step 400: the better checkpoint is in x'),
        (HEALTHY | scored(90, 60, 50, 40, 30, tag='eval/inception/train/fid'), 'FID 30 at the end'),
        (HEALTHY, 'no sign of a collapse (diversity 0.90, real images 1); no scores were taken'),
        (
            HEALTHY | {'sentinel/diversity': dict.fromkeys(range(50, 1001, 50), 0.1)},
            'looks collapsed: samples are more alike than real images are (diversity 0.10',
        ),
        (
            HEALTHY | {f'train/{k}_logits': {i: x * i for i in range(20)} for k, x in WILD.items()},
            "looks diverged: D's logits on real images and fakes are 2.9e+03 apart; no scores",
        ),
        ({'train/rec_loss': {1: 0.5}}, 'no scores were taken'),
    ],
)
def test_the_line_says_how_it_went(curves, expected):
    line = outcome.sentence(curves, 'x')
    assert expected in line and '\n' not in line
    assert line.endswith(outcome.PAGE) and (ROOT / outcome.PAGE).is_file()


def test_a_collapse_that_is_over_is_none():
    early = dict.fromkeys(range(50, 501, 50), 0.1) | dict.fromkeys(range(550, 1001, 50), 0.9)
    assert 'no sign' in outcome.sentence(HEALTHY | {'sentinel/diversity': early})


def test_the_logs_of_a_workdir_are_read(tmp_path):
    lines = [{'step': s, 'wall_time': 1.0, 'eval/swd': 9.0 - s} for s in (1, 2)]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert outcome.of(tmp_path).startswith('sliced Wasserstein distance 7 at the end, its best')
