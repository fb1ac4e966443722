"""`--mode=sample` and the latent tools behind it, on an unconditional and on a conditional run of
launch.py.
"""

import dataclasses
import functools
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

import snjax
from configs.modes import sample as sample_options
from experiments.modes import sample, sample_walks
from experiments.modes.sample_glo import GLO_ONLY
from helpers.launching import NUM_STEPS
from snjax.generate.load import load
from snjax.generate.neighbours import nearest
from snjax.metrics import power_spectrum
from snjax.runs import images

CONDITIONAL_STEPS = 20
ROWS, FRAMES, NEIGHBOURS = 2, 4, 3
NUM = ROWS * FRAMES  # the same shape nearly everywhere: compiling is what costs
SMALL = {'num': NUM, 'rows': ROWS, 'frames': FRAMES, 'neighbours': NEIGHBOURS}
ANIMATIONS = ('gif', 'webp')
# Every load of a checkpoint makes a module of its own, whose programs are compiled anew.
load_once = functools.cache(load)


@pytest.fixture(scope='module')
def unconditional(finished_run, tmp_path_factory):
    return finished_run.copy(tmp_path_factory.mktemp('unconditional') / 'run')


@pytest.fixture(scope='module')
def conditional(launcher, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('conditional') / 'run'
    launcher.train(
        workdir,
        '--config.method=cgan',
        '--config.model.head=projection',
        '--config.model.num_classes=10',
        f'--config.num_steps={CONDITIONAL_STEPS}',
        f'--config.checkpoint.every={CONDITIONAL_STEPS}',
        '--config.optimizer.lr=0.02',
        f'--config.eval.every={CONDITIONAL_STEPS}',
    )
    return workdir


def test_a_conditional_run_is_scored_inside_its_classes(conditional):
    """200 fakes, 20 of each class, by a network that has hardly learnt what a class is."""
    rows = json.loads((conditional / 'scores.json').read_text())['rows']
    (row,) = [row for row in rows if row['manifest']['extractor'] == 'digits']
    values = row['scores']
    assert row['manifest']['classes'] == 'in turn'
    assert 0 <= values['accuracy'] < 0.9
    assert values['intra_frechet_distance'] > 5
    # Real digits of a class: as test_evaluate measures them beside themselves.
    assert 0 < values['real_class_ms_ssim'] < 0.9
    assert values['real_class_feature_distance'] > 1
    assert {'class_ms_ssim', 'class_feature_distance'} < set(values)


@pytest.fixture(params=['unconditional', 'conditional'])
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='module')
def trained(conditional):
    """The conditional run with random tables, so that its classes differ by much."""
    loaded, rng = load_once(conditional), np.random.default_rng(0)

    def shuffled(path, leaf):
        is_table = path[-1].key in ('gamma', 'beta') and leaf.shape[0] == 10 and leaf.ndim == 2
        return rng.normal(size=leaf.shape).astype(np.float32) if is_table else np.asarray(leaf)

    raw = jax.tree_util.tree_map_with_path(shuffled, dict(loaded.raw))
    return dataclasses.replace(loaded, raw=raw, ema=None)


@pytest.fixture
def write(monkeypatch, capsys):
    """Runs `run_sample` with some options changed; returns the paths that it prints."""
    monkeypatch.setattr(sample, 'load', load_once)

    def run(workdir, **changes):
        options = sample_options.get_config()
        options.update({**SMALL, **changes})
        sample.run_sample(options, workdir)
        printed = capsys.readouterr().out.splitlines()
        paths = [workdir / 'generated' / line.rpartition('/')[2] for line in printed]
        assert all(path.exists() for path in paths), printed
        return paths

    return run


def has_classes(workdir):
    return bool(load_once(workdir).num_classes)


def arrays(path):
    with np.load(path) as loaded:
        return dict(loaded)


def test_directions_pass_through_z_and_truncation_narrows_it(unconditional, write):
    found = arrays(write(unconditional, what='directions', format='npz', frames=3, extent=2.0)[0])
    loaded = load_once(unconditional)
    start = loaded.latents(1)[0]
    np.testing.assert_array_equal(found['z'][:, 1], np.broadcast_to(start, (ROWS, len(start))))
    np.testing.assert_allclose(found['z'][:, 2] - start, 2 * found['directions'], atol=1e-5)
    np.testing.assert_array_equal(
        found['images'][0, 1], loaded.pixels(loaded.generate(start[None]))[0]
    )

    found = arrays(write(unconditional, what='truncation', format='npz', extent=1.0)[0])
    np.testing.assert_allclose(found['bounds'], [1, 0.75, 0.5, 0.25])
    largest = np.abs(found['z']).max((0, 2))
    assert (largest <= found['bounds']).all() and (largest > 0.8 * found['bounds']).all()
    np.testing.assert_array_equal(np.sign(found['z'][:, 0]), np.sign(found['z'][:, -1]))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'what': 'directions', 'rows': 1000},
            r'sample\.rows is 1000: 1000 directions of a first layer',
        ),
        ({'what': 'samples', 'extent': 1.0}, r'sample\.extent is 1\.0, which sample\.what=samples'),
        ({'what': 'truncation', 'truncation': 1.0}, r'--sample\.extent for the largest'),
    ],
)
def test_what_does_not_go_with_a_walk_is_refused(unconditional, write, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        write(unconditional, **changes)
    assert '\n' not in str(error.value)


def test_spectra_are_those_of_the_samples_and_of_as_many_real_digits(conditional, write):
    npz, record = write(conditional, what='spectrum', format='npz', label=3)
    found, about = arrays(npz), json.loads(record.read_text())
    loaded = load_once(conditional)
    fake = power_spectrum.of_images(loaded.pixels(loaded.sample(NUM, labels=3)))
    np.testing.assert_allclose(found['fake_mean'], fake.mean)
    image_set = loaded.training_set()
    threes = image_set.images[np.flatnonzero(image_set.labels == 3)]
    # Of 8 drawn from 183: within five standard errors of the mean of all.
    of_class = power_spectrum.of_images(threes)
    error = np.abs(found['real_mean'] - of_class.mean)
    assert (error < 5 * of_class.std / NUM**0.5).all()
    assert (about['fakes'], about['reals'], about['set']) == (NUM, NUM, 'digits')
    assert about['distance_db'] > about['distance_db_of_halves_of_the_reals'] > 0
    (figure, _) = write(conditional, what='spectrum')
    assert figure.suffix == '.png' and np.asarray(Image.open(figure)).std() > 5


# ---- every kind in every format


@pytest.mark.parametrize(
    'what', [w for w, forms in sample.FORMATS.items() if w not in GLO_ONLY and 'images' in forms]
)
def test_arrays_files_and_grid_are_the_same_images(run, write, what):
    if what == 'morph' and not has_classes(run):
        with pytest.raises(ValueError, match=r'sample\.what is morph, but the model of .* has no'):
            write(run, what=what)
        return
    (npz, *_), (folder, *_), (grid, *_) = (
        write(run, what=what, format=form) for form in ('npz', 'images', 'grid')
    )
    assert all(path.name.startswith(f'{what}_step') for path in (npz, folder, grid))
    pixels = arrays(npz)['images']
    per_row = {'samples': (NUM,), 'neighbours': (ROWS, 1 + NEIGHBOURS)}.get(what, (ROWS, FRAMES))
    assert pixels.shape == (*per_row, 16, 16, 1) and pixels.dtype == np.uint8
    flat = pixels.reshape(-1, 16, 16, 1)
    files = sorted(folder.iterdir())
    assert len(files) == len(flat)
    for array, file in zip(flat, files, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), array[..., 0])
    columns = {'samples': 10 if has_classes(run) else 3}.get(what, per_row[-1])
    expected = images.grid(flat, columns=columns)[..., 0]
    np.testing.assert_array_equal(np.asarray(Image.open(grid)), expected)


def test_interpolation_between_encoded_images(run, write, tmp_path):
    """Row i goes through the file's z, in its order; files without them are refused in one line."""
    dim_z = load_once(run).config['model']['dim_z']
    z = np.random.default_rng(0).normal(size=(2 * ROWS + 1, dim_z)).astype(np.float32)
    np.savez(tmp_path / 'encoded.npz', z=z)
    (path,) = write(run, what='interpolation', format='npz', latents=str(tmp_path / 'encoded.npz'))
    ends = arrays(path)['z'][:, [0, -1]]
    np.testing.assert_allclose(ends.reshape(2 * ROWS, dim_z), z[:-1], rtol=1e-5, atol=1e-6)
    np.savez(tmp_path / 'short.npz', z=z[:, 1:])
    np.savez(tmp_path / 'other.npz', images=z)
    for name in ('short', 'other', 'absent'):
        file = str(tmp_path / f'{name}.npz')
        with pytest.raises(ValueError, match=rf'^sample\.latents is .*{name}\.npz.*[^\n]*$'):
            write(run, what='interpolation', latents=file)
    with pytest.raises(ValueError, match='use interpolation'):
        write(run, what='samples', latents=str(tmp_path / 'encoded.npz'))


@pytest.mark.parametrize('form', ANIMATIONS)
@pytest.mark.parametrize('what', ['interpolation', 'morph'])
def test_animations_are_loops_of_grids(conditional, write, what, form):
    (path,) = write(conditional, what=what, format=form, points=3, fps=20.0)
    assert path.name.endswith(f'_slerp3_2x4.{form}')
    classes = range(10) if what == 'morph' else None
    ways = load_once(conditional).interpolate(ROWS, FRAMES, points=3, classes=classes, closed=True)
    with Image.open(path) as movie:
        assert movie.n_frames == FRAMES and movie.info['loop'] == 0
        for t in range(FRAMES):
            movie.seek(t)
            movie.load()
            assert movie.info['duration'] == 50
            frame = np.asarray(movie.convert('L'))
            expected = images.grid(images.to_uint8(ways.images[:, t]))[..., 0]
            np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize('form', ANIMATIONS)
def test_an_unconditional_interpolation_moves(unconditional, write, form):
    (path,) = write(unconditional, what='interpolation', format=form)
    with Image.open(path) as movie:
        assert movie.size == (2 * 16 + 2, 16)
        assert 2 <= movie.n_frames <= FRAMES  # GIF shows equal frames as one


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('samples_step20_seed0_auto_class3_8.png', {'label': 3}),
        (
            'interpolation_step20_seed1_auto_lerp2_2x4.webp',
            {'what': 'interpolation', 'format': 'webp', 'path': 'lerp', 'seed': 1},
        ),
        (
            'neighbours_step20_seed0_auto_trunc0.5_2x3.png',
            {'what': 'neighbours', 'truncation': 0.5},
        ),
    ],
)
def test_a_file_is_named_after_what_was_asked_for(conditional, write, name, changes):
    paths = write(conditional, **changes)
    expected = [name] + ([name.replace('.png', '.json')] if 'neighbours' in name else [])
    assert [path.name for path in paths] == expected


def test_the_launcher_reads_the_options(launcher, conditional):
    """The real program; what it refuses besides is in `test_impossible_values_are_named`."""
    asked = {'what': 'morph', 'format': 'gif', 'label': 1, 'label_to': 7, 'weights': 'raw'}
    flags = [f'--sample.{key}={value}' for key, value in {**SMALL, **asked}.items()]
    outcome = launcher.run('--mode=sample', f'--workdir={conditional}', *flags)
    assert outcome.code == 0, outcome.stderr
    path = conditional / 'generated' / 'morph_step20_seed0_raw_class1to7_2x4.gif'
    assert f' at {path}\n' in outcome.stdout and path.is_file()
    refused = launcher.run('--mode=sample', f'--workdir={conditional}', '--sample.format=webp')
    assert refused.code == 2
    assert refused.error_line() == (
        "launch.py: sample.format is 'webp': accepted are grid, images, npz for sample.what=samples"
    )


# ---- what the keys do


def test_one_class_and_all_in_turn(conditional, write):
    loaded = load_once(conditional)
    everything = arrays(write(conditional, format='npz')[0])
    threes = arrays(write(conditional, format='npz', label=3)[0])
    np.testing.assert_array_equal(everything['labels'], np.arange(NUM))
    np.testing.assert_array_equal(threes['labels'], np.full(NUM, 3))
    for made, labels in ((everything, np.arange(NUM)), (threes, 3)):
        expected = images.to_uint8(loaded.sample(NUM, labels=labels))
        np.testing.assert_array_equal(made['images'], expected)
    same = np.all(everything['images'] == threes['images'], axis=(1, 2, 3))
    np.testing.assert_array_equal(same, np.arange(NUM) == 3)


def test_truncation_reaches_every_kind_and_its_file(conditional, write):
    names = set()
    for bound in (0.25, 0.5):
        (npz,) = write(
            conditional, what='interpolation', format='npz', truncation=bound, path='lerp'
        )
        assert 0.8 * bound < np.abs(arrays(npz)['z']).max() <= bound
        names.add(npz.name)
    assert len(names) == 2
    for what in ('samples', 'morph', 'neighbours'):
        cut, whole = (
            arrays(write(conditional, what=what, format='npz', truncation=t)[0])['images']
            for t in (0.25, 0.0)
        )
        assert not np.array_equal(cut, whole)


def test_a_morph_keeps_z_and_may_move_it(conditional, write):
    ends = {'what': 'morph', 'format': 'npz', 'label': 2, 'label_to': 5}
    still, moving = (arrays(write(conditional, **ends, points=points)[0]) for points in (0, 2))
    np.testing.assert_array_equal(still['z'], np.repeat(still['z'][:, :1], FRAMES, axis=1))
    assert np.all(np.diff(moving['z'], axis=1) != 0)
    for made in (still, moving):
        np.testing.assert_array_equal(made['label_weights'][:, 0], np.eye(10)[[2, 2]])
        np.testing.assert_array_equal(made['label_weights'][:, -1], np.eye(10)[[5, 5]])


def test_neighbours_are_training_images_with_their_distances(conditional, write):
    npz, record = write(conditional, what='neighbours', format='npz', label=4)
    made, about = arrays(npz), json.loads(record.read_text())
    image_set = load_once(conditional).training_set()
    drawn, shown = made['images'][:, 0], made['images'][:, 1:]
    expected = nearest(drawn, image_set.images, NEIGHBOURS)
    np.testing.assert_array_equal(made['index'], expected.index)
    np.testing.assert_array_equal(shown, image_set.images[expected.index])
    squared = np.sum((np.float64(shown) - drawn[:, None]) ** 2, axis=(2, 3, 4))
    np.testing.assert_allclose(made['distance'], np.sqrt(squared), rtol=1e-12)
    assert about['set'] == 'digits' and about['sha256'] == image_set.sha256
    assert (about['step'], about['seed'], about['weights']) == (CONDITIONAL_STEPS, 0, 'ema')
    for row, entry in enumerate(about['samples']):
        assert entry['label'] == 4
        for k, neighbour in enumerate(entry['neighbours']):
            index = expected.index[row, k]
            name = image_set.class_names[image_set.labels[index]]
            assert neighbour == {
                'index': index,
                'distance': expected.distance[row, k],
                'class': name,
            }


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'what': 'sample'}, 'did you mean --sample.what=samples?'),
        ({'format': 'gird'}, 'did you mean --sample.format=grid?'),
        ({'format': 'gif'}, "sample.format is 'gif': accepted are grid, images, npz for"),
        ({'what': 'neighbours', 'format': 'webp'}, "sample.format is 'webp'"),
        ({'path': 'arc'}, "sample.path is 'arc': accepted are slerp, lerp"),
        ({'rows': 0}, 'sample.rows is 0'),
        ({'frames': -1}, 'sample.frames is -1'),
        ({'what': 'interpolation', 'points': 1}, 'sample.points is 1'),
        ({'points': -2}, 'sample.points is -2'),
        ({'fps': 0.0}, 'sample.fps is 0'),
        ({'neighbours': 0}, 'sample.neighbours is 0'),
        ({'what': 'neighbours', 'neighbours': 1798}, 'neighbours is 1798: 1 to 1797'),
        ({'label': 10}, 'sample.label is 10: the model of'),
        ({'label': -2}, 'sample.label is -2: a whole number from -1'),
        ({'what': 'morph', 'label': 1, 'label_to': 11}, 'sample.label_to is 11'),
        ({'what': 'morph', 'label': 1}, 'a morph needs both'),
        ({'what': 'morph', 'label_to': 1}, 'a morph needs both'),
    ],
)
def test_impossible_values_are_named(conditional, write, change, message):
    before = set((conditional / 'generated').rglob('*'))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        write(conditional, **change)
    assert '\n' not in str(error.value)
    assert set((conditional / 'generated').rglob('*')) == before


@pytest.mark.parametrize('key', ['label', 'label_to'])
def test_an_unconditional_model_has_no_classes(unconditional, write, key):
    with pytest.raises(ValueError, match=f'sample.{key} is 0, but .* has no classes: leave it'):
        write(unconditional, **{key: 0})


# ---- the same from Python: classes


def test_integers_and_weights_agree(trained):
    labels = np.array([7, 0, 9, 7, 1, 2, 3, 4])
    z = trained.latents(NUM)
    by_number = trained.generate(z, labels)
    np.testing.assert_array_equal(
        trained.generate(z, np.eye(10, dtype=np.float32)[labels]), by_number
    )
    np.testing.assert_array_equal(trained.sample(NUM, labels=labels), by_number)
    np.testing.assert_allclose(trained.generate(z, 7)[[0, 3]], by_number[[0, 3]], atol=1e-6)
    assert np.abs(trained.generate(z, 7)[1] - by_number[1]).max() > 0.1


def test_all_classes_in_turn_whatever_the_batches(trained):
    assert trained.num_classes == 10 and trained.class_names == tuple('0123456789')
    whole = trained.sample(12)
    np.testing.assert_allclose(trained.sample(12, labels=np.arange(12) % 10), whole, atol=1e-6)
    np.testing.assert_allclose(trained.sample(12, batch_size=5), whole, atol=1e-5)


def test_half_of_two_classes_is_the_mean_of_their_rows_in_the_tables(trained):
    """Weights mix the norms' parameters, not the images."""

    def with_mean(path, leaf):
        if path[-1].key not in ('gamma', 'beta') or leaf.shape[0] != 10:
            return leaf
        leaf = leaf.copy()
        leaf[3] = (leaf[1] + leaf[8]) / 2
        return leaf

    raw = jax.tree_util.tree_map_with_path(with_mean, trained.raw)
    changed, z = dataclasses.replace(trained, raw=raw), trained.latents(NUM)
    half = np.zeros((NUM, 10), np.float32)
    half[:, [1, 8]] = 0.5
    mixed = trained.generate(z, half)
    np.testing.assert_allclose(mixed, changed.generate(z, 3), atol=1e-5)
    mean = (trained.generate(z, 1) + trained.generate(z, 8)) / 2
    assert np.abs(mixed - mean).max() > 0.01


def test_a_morph_ends_in_its_classes(trained):
    ways = trained.interpolate(2, 4, points=1, classes=(6, 2))
    z = trained.latents(2)
    # The same program and batch for both, so that nothing but the labels could differ.
    labels = np.repeat([6, 2], 2)
    z = np.concatenate([z, z])
    expected = trained.generate(np.concatenate([z, z]), np.concatenate([labels, labels]))[:4]
    np.testing.assert_allclose(ways.images[:, 0], expected[:2], atol=1e-6)
    np.testing.assert_allclose(ways.images[:, -1], expected[2:], atol=1e-6)
    assert np.abs(ways.images[:, 1] - ways.images[:, 2]).max() > 0.01


def test_interpolations_are_made_of_what_they_report(trained):
    for classes in (None, 4, (1, 2, 3)):
        ways = trained.interpolate(2, 4, points=3, classes=classes, closed=True, seed=5)
        flat = (x.reshape(8, -1) for x in (ways.z, ways.labels))
        np.testing.assert_array_equal(ways.images.reshape(8, 16, 16, 1), trained.generate(*flat))
        drawn = trained.latents(6, seed=5)
        np.testing.assert_array_equal(ways.z[:, 0], drawn[[0, 3]])
    in_turn = trained.interpolate(2, 4).labels
    np.testing.assert_array_equal(in_turn, np.eye(10)[np.repeat([[0], [1]], 4, axis=1)])


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (10, 'label 10: the classes are 0 to 9'),
        (np.array([0, 1, -1, 3]), 'label -1: the classes are 0 to 9'),
        (np.arange(3), r'labels are int64 \(3,\): accepted are one class, classes \(4,\) and'),
        (np.zeros((4, 9), np.float32), r'labels are float32 \(4, 9\)'),
        (0.5, r'labels are float64 \(\)'),
    ],
)
def test_impossible_labels_are_named(trained, labels, message):
    with pytest.raises(ValueError, match=message):
        trained.sample(4, labels=labels)


def test_labels_of_an_unconditional_run_are_refused(unconditional):
    plain = load_once(unconditional)
    assert plain.num_classes == 0 and plain.class_names == () and plain.step == NUM_STEPS
    for labels in (0, np.zeros(2, np.int32)):
        with pytest.raises(ValueError, match='unconditional generator'):
            plain.sample(2, labels=labels)
    assert plain.interpolate(2, 4).labels is None


def test_uniform_latents_are_walked_to_the_end_of_their_range(unconditional):
    plain = load_once(unconditional)
    model = {**plain.config['model'], 'latent': 'uniform'}
    uniform = dataclasses.replace(plain, config={**plain.config, 'model': model})
    options = sample_options.get_config()
    options.update({'rows': 2, 'frames': 2})
    assert sample_walks.truncation(options, uniform).arrays['bounds'][0] == 1
    for extent, length in ((0.0, 2), (3.0, 6 / 3**0.5)):  # 3 standard deviations to both sides
        options.extent = extent
        z = sample_walks.directions(options, uniform).arrays['z']
        np.testing.assert_allclose(np.linalg.norm(z[:, 1] - z[:, 0], axis=1), length, rtol=1e-5)


def test_uniform_latents_go_in_line(unconditional):
    plain = load_once(unconditional)
    model = {**plain.config['model'], 'latent': 'uniform'}
    uniform = dataclasses.replace(plain, config={**plain.config, 'model': model})
    with pytest.raises(ValueError, match=r'leaves the cube .*--sample\.path=lerp'):
        uniform.interpolate(2, 4)
    assert np.abs(uniform.interpolate(2, 4, how='lerp').z).max() <= 1
    still = uniform.interpolate(2, 4, points=1).z  # and where z stays, there is no way to refuse
    np.testing.assert_array_equal(still[:, 0], uniform.latents(2))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((np.zeros((2, 7), np.float32),), 'z has 7 entries: this generator takes 8'),
        ((np.zeros((0, 8), np.float32),), 'num 0'),
    ],
)
def test_impossible_latents_are_named(unconditional, arguments, message):
    with pytest.raises(ValueError, match=message):
        snjax.load(unconditional).generate(*arguments)
