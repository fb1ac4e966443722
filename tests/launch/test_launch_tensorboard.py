"""What TensorBoard finds in the runs of launch.py, read from the event files and asked of its
server.
"""

import numpy as np
import pytest

from helpers.launching import NUM_STEPS, SAMPLE_EVERY, events, metrics, scores, state
from helpers.tensorboard_server import ask, ask_bytes, hparams_rows, scalar_points, serve, wait_for


@pytest.fixture
def two_runs(finished_run, other_seed):
    """The folder with the shared run and one of another seed."""
    assert other_seed.parent == finished_run.workdir.parent
    return other_seed.parent


def test_another_seed_is_another_run(two_runs):
    first, second = (metrics(two_runs / name) for name in ('first', 'second'))
    assert [line['step'] for line in first] == [line['step'] for line in second]
    assert first[0]['train/dis_loss'] != second[0]['train/dis_loss']
    grids = [two_runs / run / 'samples' / f'{NUM_STEPS:08d}.png' for run in ('first', 'second')]
    assert grids[0].read_bytes() != grids[1].read_bytes()


def test_event_files_hold_what_the_lines_hold(finished_run):
    expected = {
        (tag, line['step']): np.float32(value)
        for line in metrics(finished_run.workdir)
        for tag, value in line.items()
        if tag not in ('step', 'wall_time')
    }
    scalars = [(tag, step, v) for tag, step, v in events(finished_run.workdir) if v is not None]
    assert len(scalars) == len(expected)
    assert {(tag, step): np.float32(v) for tag, step, v in scalars} == expected


def test_tensorboard_serves_two_runs(two_runs):
    runs = ['first', 'second']
    with serve(two_runs) as url:
        wait_for(lambda: hparams_rows(url), lambda rows: len(rows) == 2)
        assert sorted(ask(url, 'runs')) == runs

        for run, name in zip(runs, ('first', 'second'), strict=True):
            lines = [x for x in metrics(two_runs / name) if 'train/dis_loss' in x]
            for tag in ('train/dis_loss', 'sigma/score', 'perf/steps_per_s'):
                points = wait_for(
                    lambda run=run, tag=tag: scalar_points(url, run, tag),
                    lambda points: len(points) == NUM_STEPS,
                )
                assert points == [(x['step'], pytest.approx(x[tag], rel=1e-6)) for x in lines]

            pictures = ask(url, 'plugin/images/images', run=run, tag='samples', sample=0)
            assert [p['step'] for p in pictures] == list(range(0, NUM_STEPS + 1, SAMPLE_EVERY))
            served = ask_bytes(url, f'plugin/images/individualImage?{pictures[-1]["query"]}')
            assert served == (two_runs / name / 'samples' / f'{NUM_STEPS:08d}.png').read_bytes()

            tags = ask(url, 'plugin/histograms/tags')[run]
            assert {'gen/project/kernel', 'dis/conv1/kernel', 'dis/score/bias'} <= set(tags)
            histogram = ask(url, 'plugin/histograms/histograms', run=run, tag='dis/conv1/kernel')
            assert [step for _, step, _ in histogram] == [30, 60]
            kernel = state(two_runs / name)[1]['dis/params/conv1/kernel']
            buckets = np.array(histogram[-1][2])
            assert buckets[:, 2].sum() == kernel.size
            np.testing.assert_allclose(
                [buckets[0, 0], buckets[-1, 1]], [kernel.min(), kernel.max()], rtol=1e-6
            )

            (text,) = ask(url, 'plugin/text/text', run=run, tag='config')
            assert '&quot;n_dis&quot;: 1' in text['text'] or '"n_dis": 1' in text['text']

        rows = hparams_rows(url)
        assert sorted(rows) == runs
        assert [rows[run]['seed'] for run in runs] == [0, 1]
        for run, name in zip(runs, ('first', 'second'), strict=True):
            assert rows[run]['model.gen_width'] == 4
            assert 'loss' not in rows[run]  # as in configs/base.py
            assert rows[run]['eval/digits/train-all-200/precision'] == pytest.approx(
                scores(two_runs / name)['scores']['precision'], rel=1e-6
            )
