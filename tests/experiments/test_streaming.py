"""`data.stream`: when a set is streamed, what is said of it, and that a run is the same run either
way.
"""

import shutil

import numpy as np
import pytest

from configs import sngan_digits
from experiments import build
from experiments.modes import streaming
from helpers.launching import TINY, events, in_order, metrics, state
from snjax import parallel
from snjax.data import LazyImages

pytest.importorskip('grain', reason='Grain (extra stream) is not installed')

IMAGES = np.zeros((10, 4, 4, 1), np.uint8)  # 160 bytes


def chosen(images=IMAGES, **changes):
    """(whether it streams, what it says)."""
    config, said = sngan_digits.get_config(), []
    config.data.update(changes)
    plan = build.plan(config)
    found = streaming.choose_options(plan.stream, plan.options, images, said.append)
    assert found.workers == config.data.workers
    return found.stream, said


@pytest.mark.parametrize(('memory', 'streams'), [(320, False), (319, True)])
def test_auto_streams_what_takes_more_than_half_of_a_device(monkeypatch, memory, streams):
    monkeypatch.setattr(parallel, 'device_memory', lambda: memory)
    found, said = chosen()
    assert found == streams
    assert len(said) == streams and all('half of a device' in line for line in said)


def test_auto_keeps_the_digits_on_the_device():
    assert chosen() == (False, [])
    assert parallel.device_memory() > 1e8


def test_on_off_and_decode_are_followed_whatever_the_size(monkeypatch):
    assert chosen(stream='on')[0]
    (line,) = chosen(stream='decode', images=LazyImages((10, 4, 4, 1), lambda *_: None))[1]
    assert line == '0.00 GB of images are streamed, decoded as they are read'
    monkeypatch.setattr(parallel, 'device_memory', lambda: 1)
    assert chosen(stream='off') == (False, [])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'stream': 'yes'}, 'data.stream is .*accepted are auto, on, off, decode'),
        ({'stream': 'onn'}, r'did you mean --config\.data\.stream=on\?'),
    ],
)
def test_impossible_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        chosen(**changes)
    assert '\n' not in str(error.value)


def test_a_resident_run_may_go_on_streamed_and_ends_as_the_same(launcher, finished_run, tmp_path):
    """Bit for bit, with another number of workers than cores; and the wait for data is logged."""
    workdir = finished_run.copy(tmp_path / 'run')
    for step in (50, 60):
        shutil.rmtree(workdir / 'checkpoints' / str(step))
    outcome = launcher.train(workdir, '--config.data.stream=on', '--config.data.workers=3')
    assert 'resuming from step 40' in outcome.stdout
    assert 'GB of images are streamed, prepared' in outcome.stdout
    (step, leaves), (_, expected) = state(workdir), state(finished_run.workdir)
    assert step == 60 and leaves.keys() == expected.keys()
    for name, leaf in leaves.items():
        assert leaf.tobytes() == expected[name].tobytes(), name
    assert in_order(metrics(workdir)) == in_order(metrics(finished_run.workdir))
    shares = {
        line['step']: line['perf/data_wait']
        for line in metrics(workdir)
        if 'perf/data_wait' in line
    }
    assert list(shares) == list(range(41, 61))
    assert all(0 <= share <= 1 for share in shares.values())
    shown = {step: value for tag, step, value in events(workdir) if tag == 'perf/data_wait'}
    assert shown == pytest.approx(shares)


def test_without_grain_a_streamed_run_is_refused_before_it_begins(launcher, tmp_path):
    (tmp_path / 'grain.py').write_text('raise ImportError("it is not there")')
    flags = (*TINY, f'--workdir={tmp_path / "run"}', '--config.data.stream=on')
    outcome = launcher.run(*flags, PYTHONPATH=str(tmp_path))
    assert outcome.code == 2
    assert 'pip install grain' in outcome.error_line()
    assert not (tmp_path / 'run' / 'config.json').exists()
