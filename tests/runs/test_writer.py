"""Tests of snjax.runs.writer; the last ones ask a real TensorBoard over HTTP."""

import io
import json
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from helpers.tensorboard_server import ask, ask_bytes, hparams_rows, scalar_points, serve, wait_for
from snjax.runs import event_file
from snjax.runs.writer import Writer

GRID = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def read_lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def points(workdir, name):
    return [(line['step'], line[name]) for line in read_lines(workdir) if name in line]


def event_points(workdir, tag):
    """(step, value) of a scalar as TensorBoard's own reader returns them, damaged files included."""
    accumulator = EventAccumulator(str(workdir), size_guidance={'tensors': 0})
    accumulator.Reload()
    return [(point.step, point.value) for point in accumulator.Scalars(tag)]


def event_files(workdir):
    return sorted(workdir.glob('*tfevents*'))


def test_a_line_holds_step_time_and_values(tmp_path):
    before = time.time()
    with Writer(tmp_path / 'run') as writer:
        writer.scalars(np.int32(20), {'train/gen_loss': np.float32(0.5), 'train/sigma': 3})
        # On disk already: a run that is killed has closed nothing.
        (line,) = read_lines(tmp_path / 'run')
        assert event_points(tmp_path / 'run', 'train/sigma') == [(20, 3.0)]
    assert before <= line.pop('wall_time') <= time.time()
    assert line == {'step': 20, 'train/gen_loss': 0.5, 'train/sigma': 3.0}


def test_non_finite_values_stay_valid_json(tmp_path):
    with Writer(tmp_path) as writer:
        writer.scalars(1, {'a': np.nan, 'b': np.inf, 'c': -np.inf})

    def refuse(constant):
        raise AssertionError(f'{constant} is not JSON')

    line = json.loads((tmp_path / 'metrics.jsonl').read_text(), parse_constant=refuse)
    assert (line['a'], line['b'], line['c']) == ('NaN', 'Infinity', '-Infinity')
    assert np.isnan(float(line['a'])) and float(line['c']) == -np.inf
    assert np.isnan(event_points(tmp_path, 'a')[0][1])
    assert event_points(tmp_path, 'b') == [(1, np.inf)]


def test_resume_cuts_what_came_after_the_start_step(tmp_path):
    with Writer(tmp_path) as writer:
        for step in (0, 100, 200, 300, 400):
            writer.scalars(step, {'loss': step})
    metrics = tmp_path / 'metrics.jsonl'
    kept = b''.join(metrics.read_bytes().splitlines(keepends=True)[:3])
    with open(metrics, 'ab') as file:
        file.write(b'{"step": 100, "wall_t')  # half a line, as after kill -9
    with open(event_files(tmp_path)[-1], 'ab') as file:
        file.write(struct.pack('<Q', 50) + b'half')

    with Writer(tmp_path, start_step=200) as writer:
        assert metrics.read_bytes() == kept
        assert event_points(tmp_path, 'loss') == [(0, 0), (100, 100), (200, 200)]
        writer.scalars(200, {'loss': -1, 'late': 5})  # a replay, with one name that is new
        for step in (300, 400):
            writer.scalars(step, {'loss': step + 0.5})

    expected = [(0, 0), (100, 100), (200, 200), (300, 300.5), (400, 400.5)]
    assert points(tmp_path, 'loss') == event_points(tmp_path, 'loss') == expected
    assert points(tmp_path, 'late') == event_points(tmp_path, 'late') == [(200, 5)]
    assert metrics.read_bytes().startswith(kept)
    assert not list(tmp_path.rglob('*.tmp'))


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    for loss in (1.0, 2.0):
        with Writer(tmp_path) as writer:
            writer.text('config', 'the config')
            writer.images(0, 'samples', GRID)
            for step in (0, 10):
                writer.scalars(step, {'loss': loss})
    assert points(tmp_path, 'loss') == event_points(tmp_path, 'loss') == [(0, 1.0), (10, 2.0)]


def test_resume_without_anything_to_cut_touches_no_old_byte(tmp_path):
    with Writer(tmp_path) as writer:
        writer.scalars(5, {'loss': 1.0})
    old = {path: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.rglob('*.*l*')}
    (events,) = event_files(tmp_path)
    old[events] = (events.read_bytes(), events.stat().st_ino)
    with Writer(tmp_path, start_step=5):
        pass
    assert old == {path: (path.read_bytes(), path.stat().st_ino) for path in old}
    assert tmp_path / 'metrics.jsonl' in old
    assert event_files(tmp_path) == [events]


def test_damaged_lines_go_wherever_they_stand(tmp_path):
    lines = [
        b'{"step": 1, "a": 1.0}\n',
        b'\0\0\n',
        b'[]\n',
        b'{"a": 1}\n',
        b'{"step": 2, "a": 3}\n',
    ]
    (tmp_path / 'metrics.jsonl').write_bytes(b''.join(lines))
    Writer(tmp_path, start_step=9).close()
    assert (tmp_path / 'metrics.jsonl').read_bytes() == lines[0] + lines[4]


def test_event_files_sort_in_the_order_of_their_making(tmp_path):
    later = tmp_path / f'events.out.tfevents.{int(time.time()) + 5000}.elsewhere'
    later.touch()  # made by a machine whose clock is ahead
    for step in range(3):
        with Writer(tmp_path, start_step=step) as writer:
            writer.scalars(step + 1, {'loss': step})
    assert event_files(tmp_path)[0] == later
    assert event_points(tmp_path, 'loss') == [(1, 0), (2, 1), (3, 2)]


def test_a_killed_process_loses_nothing_it_wrote(tmp_path):
    program = """
        import sys
        from snjax.runs.writer import Writer
        writer = Writer(sys.argv[1])
        for step in range(10, 10**9, 10):
            writer.scalars(step, {'loss': step})
            print(step, flush=True)
    """
    command = [sys.executable, '-c', textwrap.dedent(program), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= 500:
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with Writer(tmp_path, start_step=450) as writer:
        writer.scalars(460, {'loss': 0})
    expected = [(step, step) for step in range(10, 460, 10)] + [(460, 0)]
    assert points(tmp_path, 'loss') == event_points(tmp_path, 'loss') == expected


@pytest.mark.parametrize('resumed_lr', [1.0, 2.0])
def test_a_run_has_one_config_in_hparams_and_it_is_the_last(tmp_path, resumed_lr):
    with Writer(tmp_path) as writer:
        writer.hparams({'optimizer': {'lr': 1.0}, 'layers': (1, 2), 'path': None}, {})
        writer.scalars(10, {'loss': 1.0})
    config = {'optimizer': {'lr': resumed_lr}, 'layers': (1, 2), 'path': None}
    with Writer(tmp_path, start_step=10) as writer:
        for score in (3.0, 4.0):
            writer.hparams(config, {'fid': score})
            writer.scalars(20, {'loss': 2.0})
    hparams = [
        parse_session_start_info_plugin_data(value.metadata.plugin_data.content).hparams
        for path in event_files(tmp_path)
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.tag == '_hparams_/session_start_info'
    ]
    assert len(hparams) == 1
    assert hparams[0]['optimizer.lr'].number_value == resumed_lr
    assert hparams[0]['layers'].string_value == '(1, 2)'
    assert hparams[0]['path'].string_value == 'None'
    assert event_points(tmp_path, 'fid') == [(10, 3.0), (20, 4.0)]
    assert event_points(tmp_path, 'loss') == [(10, 1.0), (20, 2.0)]


def test_disabled_writer_touches_no_file(tmp_path):
    with Writer(tmp_path / 'run', enabled=False) as writer:
        writer.scalars(1, {'loss': 1.0})
        writer.images(1, 'samples', GRID)
        writer.histograms(1, {'weights': np.ones(3)})
        writer.text('config', 'text')
        writer.hparams({'lr': 1.0}, {'score': 1.0})
        writer.flush()
    writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda w: w.scalars(-1, {'a': 1.0}), 'step -1 is negative'),
        (lambda w: w.scalars(1, {'step': 1.0}), "'step' has a name that metrics.jsonl uses"),
        (lambda w: w.images(1, 'a', GRID[..., :2]), r'\(6, 8, 2\)'),
        (lambda w: w.images(1, 'a', GRID / 255), 'float64; uint8 is needed'),
        (lambda w: w.histograms(1, {'loss': np.ones(3)}), "'loss' holds scalars here, not histog"),
        (lambda w: w.text('loss', 'text'), "'loss' holds scalars here, not text"),
        (lambda w: w.hparams({'lr': 2.0}, {}), 'another config'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_wrong_calls_are_refused_and_write_nothing(tmp_path, call, message):
    with Writer(tmp_path) as writer:
        writer.scalars(0, {'loss': 1.0})
        writer.hparams({'lr': 1.0}, {})
        old = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
        with pytest.raises(ValueError, match=message):
            call(writer)
        assert old == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    with pytest.raises(ValueError, match='negative'):
        Writer(tmp_path, start_step=-1)
    with pytest.raises(TypeError):
        Writer(tmp_path, start_step=1.5)


def test_neither_tensorflow_nor_torch_is_imported(tmp_path):
    """Python finds both packages, and importing either ends the process."""
    for name in ('tensorflow', 'torch'):
        (tmp_path / f'{name}.py').write_text(f'raise SystemExit("{name} was imported")')
    program = """
        import sys
        import numpy as np
        from snjax.runs.writer import Writer
        with Writer(sys.argv[1]) as writer:
            writer.scalars(1, {'loss': 1.0})
            writer.images(1, 'samples', np.zeros((4, 4, 3), np.uint8))
            writer.histograms(1, {'weights': np.ones(3)})
            writer.text('config', 'text')
            writer.hparams({'lr': 1.0}, {'score': 1.0})
        print(sorted({'jax', 'tensorflow', 'torch'} & set(sys.modules)))
        import jax
        print(jax._src.xla_bridge.backends_are_initialized())
    """
    library = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(program), str(tmp_path / 'run')],
        env={'PYTHONPATH': f'{tmp_path}:{library}', 'PATH': ''},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["['jax']", 'False']


# What TensorBoard serves. One server of each loader reads all runs of this module.


@pytest.fixture(scope='module')
def logdir(tmp_path_factory):
    """Runs `a` and `b`, of different methods; `b` was killed at step 400 and resumed from 200."""
    logdir = tmp_path_factory.mktemp('runs')
    write_run(logdir / 'a', 'hinge', {'n_dis': 5, 'flip': True}).close()
    killed = write_run(logdir / 'b', 'glo', {'dim_z': 8})
    with open(event_files(logdir / 'b')[-1], 'ab') as file:
        file.write(b'half a record')
    resumed = write_run(logdir / 'b', 'glo', {'dim_z': 8}, start_step=200)
    resumed.hparams({'loss': 'glo', 'model': {'dim_z': 8}}, {'fid': 12.5})
    resumed.close()
    killed.close()
    return logdir


def write_run(workdir, loss, model, *, start_step=0):
    writer = Writer(workdir, start_step=start_step)
    writer.hparams({'loss': loss, 'model': model}, {})
    writer.text('config', f'# The config of **{loss}**')
    for step in range(start_step, 401, 100):
        writer.scalars(step, {'train/loss': step + 0.25 * bool(start_step)})
        writer.images(step, 'samples', np.roll(GRID, start_step // 100, axis=0))
        writer.images(step, 'grey', GRID[..., :1])
        weights = np.concatenate([np.linspace(-1, 1, 640), [np.nan, np.inf]])
        writer.histograms(step, {'weights': weights, 'constant': np.full((2, 3), 7.0)})
    return writer


@pytest.fixture(scope='module', params=['fast loader', 'slow loader'])
def server(request, logdir):
    flags = ['--load_fast=true'] if request.param == 'fast loader' else ['--load_fast=false']
    with serve(logdir, *flags) as base_url:
        runs = {'a', 'b'}
        # The last tag of the last file has come: everything before it has.
        wait_for(
            lambda: ask(base_url, 'plugin/scalars/tags'),
            lambda tags: runs <= set(tags) and 'fid' in tags['b'],
        )
        yield base_url


RESUMED_STEPS = [0, 100, 200, 300, 400]
KINDS = ('scalars', 'images', 'histograms', 'text')


def test_tensorboard_serves_scalars_once(server):
    for run, offset in (('a', 0), ('b', 0.25)):
        expected = [(s, s + offset * (s > 200)) for s in RESUMED_STEPS]
        points = wait_for(
            lambda run=run: scalar_points(server, f'{run}', 'train/loss'),
            lambda points, expected=expected: points == expected,
        )
        assert points == expected


def test_tensorboard_serves_images_once(server):
    entries = ask(server, 'plugin/images/images', run='b', tag='samples', sample=0)
    assert [entry['step'] for entry in entries] == RESUMED_STEPS
    for entry in entries:
        png = ask_bytes(server, f'plugin/images/individualImage?{entry["query"]}')
        rolled = np.roll(GRID, 2 * (entry['step'] > 200), axis=0)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), rolled)
    entries = ask(server, 'plugin/images/images', run='a', tag='grey', sample=0)
    png = ask_bytes(server, f'plugin/images/individualImage?{entries[-1]["query"]}')
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), GRID[..., 0])


def test_tensorboard_serves_histograms_once(server):
    found = ask(server, 'plugin/histograms/histograms', run='b', tag='weights')
    assert [step for _, step, _ in found] == RESUMED_STEPS
    buckets = np.array(found[-1][2])
    # 640 evenly spread finite values in 64 buckets; NaN and infinity are left out.
    np.testing.assert_allclose(buckets[:, 0], np.linspace(-1, 1, 65)[:-1], atol=1e-6)
    np.testing.assert_allclose(buckets[:, 1], np.linspace(-1, 1, 65)[1:], atol=1e-6)
    np.testing.assert_allclose(buckets[:, 2], 10, atol=1)
    assert buckets[:, 2].sum() == 640
    found = ask(server, 'plugin/histograms/histograms', run='a', tag='constant')
    assert found[0][2] == [[7.0, 7.0, 6.0]]


def test_tensorboard_serves_text_once(server):
    for run, loss in (('a', 'hinge'), ('b', 'glo')):
        (text,) = ask(server, 'plugin/text/text', run=f'{run}', tag='config')
        assert text['step'] == 0
        assert f'<strong>{loss}</strong>' in text['text']


def test_tensorboard_has_one_run_per_workdir(server, logdir):
    expected = {'a', 'b'}
    assert {run for run in ask(server, 'runs') if not run.startswith('live')} == expected
    for kind in KINDS:
        found = ask(server, f'plugin/{kind}/tags')
        assert {run for run in found if not run.startswith('live')} == expected, kind


def test_tensorboard_serves_hparams_of_two_runs(server):
    rows = hparams_rows(server)
    assert rows['a'] == {
        'loss': 'hinge',
        'model.n_dis': 5.0,
        'model.flip': True,
        'train/loss': 400.0,
    }
    assert rows['b'] == {
        'loss': 'glo',
        'model.dim_z': 8.0,
        'train/loss': 400.25,
        'fid': 12.5,
    }


def test_running_tensorboard_forgets_what_a_resume_cuts(server, logdir):
    """The server has read the killed run's points before the resumed run writes other values."""
    name = f'live{server.rsplit(":", 1)[1]}'
    run = f'{name}'

    def served_after(writer, steps, value):
        for step in steps:
            writer.scalars(step, {'loss': value})
        last = steps[-1]
        return wait_for(
            lambda: scalar_points(server, run, 'loss'),
            lambda points: points[-1:] == [(last, value)],
        )

    with Writer(logdir / name) as writer:
        writer.hparams({'lr': 1.0}, {})
        assert served_after(writer, [100, 200, 300], 1.0) == [(s, 1.0) for s in (100, 200, 300)]
    with Writer(logdir / name, start_step=100) as writer:
        writer.hparams({'lr': 2.0}, {})  # a key that may change between resumes
        expected = [(100, 1.0), (150, 2.0), (200, 2.0), (300, 2.0)]
        assert served_after(writer, [150, 200, 300], 2.0) == expected
    with Writer(logdir / name, start_step=150) as writer:
        expected = [*expected[:2], (200, 3.0), (300, 3.0)]
        assert served_after(writer, [200, 300], 3.0) == expected


def test_a_flipped_bit_costs_one_record_and_everything_removed_is_said_and_kept(tmp_path):
    with Writer(tmp_path) as writer:
        for step in range(6):
            writer.scalars(step, {'loss': step})
    (events,) = event_files(tmp_path)
    pieces = [piece for piece, _ in event_file.read_pieces(events)]
    assert len(pieces) == 8
    damaged = [bytearray(piece) for piece in pieces]
    damaged[3][0] ^= 1  # the length of the event of step 1
    damaged[5][14] ^= 1  # the event of step 3
    events.write_bytes(b''.join(damaged) + b'\x07\0\0')  # and the first bytes of another
    metrics = tmp_path / 'metrics.jsonl'
    lines = metrics.read_bytes().splitlines(keepends=True)
    bad = [b'\0\0\0\0\n', b'{"step": 1, "loss": 1e400}\n', b'{"step": 1e400}\n']
    metrics.write_bytes(b''.join([*lines[:2], *bad, *lines[2:]]))

    said = []
    Writer(tmp_path, start_step=4, say=said.append).close()
    aside = tmp_path / 'cut' / '4-0'
    assert said == [
        'removed from the logs: 1 line and 1 TensorBoard record after step 4; 3 lines and '
        f'3 places in event files damaged; kept in {aside}'
    ]
    assert metrics.read_bytes() == b''.join(lines[:5])
    assert [step for step, _ in event_points(tmp_path, 'loss')] == [0, 2, 4]
    assert (aside / 'metrics.jsonl').read_bytes() == b''.join([lines[5], *bad])
    removed = [damaged[3], damaged[5], damaged[7], b'\x07\0\0']
    assert (aside / 'events-0.records').read_bytes() == b''.join(removed)
    Writer(tmp_path, start_step=4, say=said.append).close()
    assert len(said) == 1


def test_the_newest_ten_of_what_resumes_removed_are_kept(tmp_path):
    for _ in range(12):
        with Writer(tmp_path, say=lambda line: None) as writer:
            writer.scalars(1, {'loss': 1.0})
    assert len(list((tmp_path / 'cut').iterdir())) == 10


def test_a_start_that_has_nothing_to_do_leaves_no_event_file(tmp_path):
    with Writer(tmp_path) as writer:
        writer.text('config', 'a')
        writer.hparams({'seed': 0}, {})
        writer.scalars(5, {'loss': 1.0})
    before = event_files(tmp_path)
    assert len(before) == 1
    with Writer(tmp_path, start_step=5) as writer:
        writer.text('config', 'a', 5)
        writer.hparams({'seed': 0}, {})
        writer.scalars(5, {'loss': 1.0})
        writer.flush()
    assert event_files(tmp_path) == before
    with Writer(tmp_path, start_step=5) as writer:
        writer.text('config', 'b', 5)
    assert len(event_files(tmp_path)) == 2


def test_event_files_of_an_older_workdir_stay_together(tmp_path):
    (tmp_path / 'tensorboard').mkdir()
    with Writer(tmp_path) as writer:
        writer.scalars(1, {'loss': 1.0})
    assert not event_files(tmp_path) and len(event_files(tmp_path / 'tensorboard')) == 1
