"""GLO against its paper: what a step changes, along which gradient, and that runs resume bit for
bit.
"""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.modes import invert as invert_options
from configs.modes import sample as sample_options
from experiments import build, glo
from experiments.modes import invert, sample
from helpers import contract, launching, tiny_gan, tiny_glo
from helpers.filling import filled_state
from helpers.tiny_glo import DIM_Z, image_loss, make_glo
from snjax import parallel
from snjax.objectives.reconstruction import Pyramid, l2, lap1
from snjax.training.optimizers import linear_decay

NUM, INDEX = 11, np.array([7, 0, 3, 10, 4, 5])
CONFIGS = [
    ('glo_digits', ''),
    ('glo_cifar', ''),
    ('glo_cifar', '512'),
    ('glo_celeba', '128'),
    ('glo_faces', 'photos'),
]
TINY = (
    f'--config={launching.ROOT}/configs/glo_digits.py',
    '--config.model.gen_width=4',
    '--config.batch_size=8',
    '--config.num_steps=40',
    '--config.checkpoint.every=10',
    '--config.log.every=1',
    '--config.sampling.every=20',
    '--config.sampling.num=16',
    '--config.eval.num_samples=200',
)


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (NUM, *tiny_gan.IMAGE), np.uint8)


def stepped(method, images, index=INDEX, state=None):
    """The state before a step on these rows, after it, and the step's scalars."""
    before = filled_state(method) if state is None else state
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    data = parallel.replicate(tiny_glo.batch(images, index))
    run = parallel.DataParallel(
        lambda state, batch: method.train_step(state, batch, jax.random.key(0)), method.state_axes
    )
    state = parallel.shard(before, method.state_axes)
    after, metrics = run.compile(state, data, quickly=True)(state, data)
    after = parallel.gather(after, method.state_axes, shapes)
    return before, *jax.device_get(parallel.first_replica((after, metrics)))


@pytest.fixture(scope='module')
def plain(images):
    method = make_glo(images)
    return method, *stepped(method, images)


def mean_loss(method, params, z, state, images, index, loss):
    variables = {'params': params, **state.gen.model_state}
    with_axis = jax.vmap(  # the generator's batch norm asks for the devices' axis
        lambda z: method.gen.apply(variables, z, None, train=True, mutable=['batch_stats'])[0],
        axis_name=parallel.AXIS,
    )
    made = with_axis(z[None])[0]
    return jnp.mean(loss(made, tiny_glo.batch(images, index)['image'][0]))


def l2_lap1_by_hand(made, real):
    pyramid = Pyramid(num_levels=2)
    return l2(made, real) + lap1(made, real, pyramid)


# ---- a step


def test_rows_outside_the_batch_stay_bit_for_bit(plain):
    _, before, after, _ = plain
    others = np.setdiff1d(np.arange(NUM), INDEX)
    np.testing.assert_array_equal(before.table.z[others], after.table.z[others])
    assert np.all(np.any(before.table.z[INDEX] != after.table.z[INDEX], axis=1))


def test_theta_and_the_rows_descend_the_mean_loss_of_the_batch(plain, images):
    """lr 0.5 and 5 along the gradient of one objective at the old theta and z; rows then projected."""
    method, before, after, metrics = plain
    objective = functools.partial(
        mean_loss, method, state=before, images=images, index=INDEX, loss=l2_lap1_by_hand
    )
    value, (params_grad, z_grad) = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))(
        before.gen.params, before.table.z[INDEX]
    )
    np.testing.assert_allclose(metrics['rec_loss'], value, rtol=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, before.gen.params, params_grad)
    for a, b in zip(jax.tree.leaves(after.gen.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    moved = before.table.z[INDEX] - 5.0 * np.asarray(z_grad)
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(
        after.table.z[INDEX], moved / np.maximum(norms, 1), rtol=1e-4, atol=1e-6
    )
    assert after.step == 1
    assert metrics['z_lr'] == 5.0 and metrics['lr'] == 0.5


def test_the_z_gradient_is_a_finite_difference_of_the_loss(plain, images):
    method, before, after, _ = plain
    objective = jax.jit(
        functools.partial(
            mean_loss, method, state=before, images=images, index=INDEX, loss=l2_lap1_by_hand
        )
    )
    z = before.table.z[INDEX].astype(np.float32)
    step, found = 3e-3, np.zeros(DIM_Z)
    for i in range(DIM_Z):
        shift = np.zeros_like(z)
        shift[2, i] = step
        up, down = (objective(before.gen.params, z + sign * shift) for sign in (1, -1))
        found[i] = (float(up) - float(down)) / (2 * step)
    moved = (z[2] - after.table.z[INDEX[2]]) / 5.0  # a row inside the ball is not projected
    assert np.linalg.norm(after.table.z[INDEX[2]]) < 0.999
    np.testing.assert_allclose(moved, found, rtol=0.05, atol=1e-4)


def test_rows_stay_in_the_unit_ball_however_large_the_steps(images):
    method = make_glo(images, z_learning_rate=linear_decay(1e4, 0, 0))
    _, after, _ = stepped(method, images)
    norms = np.linalg.norm(after.table.z[INDEX], axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


def test_theta_and_z_may_have_losses_of_their_own(images):
    """z moves as if its loss were the only one, theta as if its were."""
    kinds = {'gen_loss': image_loss('lap1'), 'z_loss': image_loss('l2')}
    _, both, metrics = stepped(make_glo(images, **kinds), images)
    _, by_lap1, lap1_metrics = stepped(
        make_glo(images, **dict.fromkeys(kinds, kinds['gen_loss'])), images
    )
    _, by_l2, l2_metrics = stepped(
        make_glo(images, **dict.fromkeys(kinds, kinds['z_loss'])), images
    )
    for a, b in zip(
        jax.tree.leaves(both.gen.params), jax.tree.leaves(by_lap1.gen.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(both.table.z, by_l2.table.z, rtol=1e-5, atol=1e-7)
    assert not np.allclose(by_lap1.table.z, by_l2.table.z, atol=1e-4)
    np.testing.assert_allclose(
        [metrics['rec_loss'], metrics['z_loss']],
        [lap1_metrics['rec_loss'], l2_metrics['rec_loss']],
        rtol=1e-5,
    )


def test_adam_of_the_table_keeps_moments_and_counts_of_rows(images):
    """Rows in the batch have had one more update, the others' state stays bit for bit."""
    method = make_glo(images, z_optimizer=optax.scale_by_adam(0.5, 0.9))
    before, after, _ = stepped(method, images)
    others = np.setdiff1d(np.arange(NUM), INDEX)
    old, new = before.table.opt_state, after.table.opt_state
    np.testing.assert_array_equal(new.count[INDEX], old.count[INDEX] + 1)
    for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        assert len(a) == NUM
        np.testing.assert_array_equal(a[others], b[others])
    assert np.all(new.mu[INDEX] != old.mu[INDEX])


def test_the_loss_falls_when_steps_repeat(images):
    method = make_glo(images)
    state, losses = None, []
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    data = parallel.replicate(tiny_glo.batch(images, INDEX))
    run = parallel.DataParallel(
        lambda state, batch: method.train_step(state, batch, jax.random.key(0)), method.state_axes
    )
    state = parallel.shard(filled_state(method), method.state_axes)
    program = run.compile(state, data, quickly=True)
    for _ in range(60):
        state, metrics = program(state, data)
        losses.append(float(parallel.first_replica(metrics)['rec_loss']))
    assert losses[-1] < 0.8 * losses[0]
    assert parallel.gather(state, method.state_axes, shapes).table.z.shape == (NUM, DIM_Z)


# ---- configs


@pytest.mark.parametrize(('name', 'argument'), CONFIGS)
def test_configs_fit_their_method(name, argument):
    config = contract.load(name, argument).lock()
    size, channels = config.data.image_size, config.data.channels
    method = build.method(config).with_images(np.zeros((1000, size, size, channels), np.uint8))
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert state.table.z.shape == (1000, config.model.dim_z)
    assert isinstance(method, glo.Glo)


@pytest.mark.parametrize(
    ('changes', 'accepted'),
    [
        ({'glo.loss': 'l3'}, 'l2_lap1'),
        ({'glo.z_loss': 'l3'}, 'l2_lap1'),
        ({'glo.initial': 'zeros'}, 'scaled_normal'),
        ({'glo.weighting': 'x'}, 'level_means'),
        ({'glo.pyramid': 'x'}, 'binomial'),
        ({'glo.z_optimizer': 'x'}, 'sgd'),
        ({'glo.z_lr': 0.0}, 'a number above 0'),
        ({'glo.levels': 6}, '0 up to 5'),
        ({'data.flip': True}, 'data.flip=false'),
        ({'model.num_classes': 10}, 'prior=class'),
        ({'optimizer.ema_decay': 0.9}, 'leave all at 0'),
        ({'optimizer.beta1': 1.0}, 'below 1'),
    ],
)
def test_impossible_values_are_one_line(changes, accepted):
    config = contract.load('glo_cifar', '')
    with config.unlocked():
        for key, value in changes.items():
            config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError, match=accepted) as error:
        build.method(config)
    assert '\n' not in str(error.value) and next(iter(changes)) in str(error.value)


def test_more_components_than_images_are_refused():
    config = contract.load('glo_cifar', '')
    config.glo.initial = 'pca'
    with pytest.raises(ValueError, match='dim_z=50'):
        build.method(config).with_images(np.zeros((50, 32, 32, 3), np.uint8))


def test_labels_are_refused(images):
    method = make_glo(images)
    with pytest.raises(ValueError, match='unconditional'):
        method.sample(filled_state(method), jax.random.key(0), 2, jnp.zeros(2, jnp.int32))


# ---- runs of launch.py


@pytest.fixture(scope='module')
def run(launcher, tmp_path_factory):
    workdir = tmp_path_factory.mktemp('glo') / 'run'
    outcome = launcher.run(*TINY, f'--workdir={workdir}')
    assert outcome.code == 0, outcome.stderr
    return workdir


def test_a_shorter_run_goes_on_bit_for_bit(run, launcher, tmp_path):
    """The table and its generator, what was logged, the pictures and the scores.

    The run as it was at step 20, as far as a start looks at it: what came later is repeated.
    """
    workdir = tmp_path / 'run'
    shutil.copytree(run, workdir)
    for step in (30, 40):
        shutil.rmtree(workdir / 'checkpoints' / str(step))
    (workdir / 'samples' / '00000040.png').unlink()
    (workdir / 'scores.json').unlink()
    outcome = launcher.run(*TINY, f'--workdir={workdir}')
    assert outcome.code == 0, outcome.stderr
    assert 'resuming from step 20' in outcome.stdout
    steps = [launching.state(w) for w in (run, workdir)]
    assert steps[0][0] == steps[1][0] == 40
    for name, leaf in steps[0][1].items():
        assert leaf.tobytes() == steps[1][1][name].tobytes(), name
    assert steps[0][1]['table/z'].shape == (1797, 32)
    logged = [[launching.reproducible(x) for x in launching.metrics(w)] for w in (run, workdir)]
    trained = [[x for x in lines if 'train/rec_loss' in x] for lines in logged]
    assert trained[0] == trained[1]
    name = 'samples/00000040.png'
    assert (run / name).read_bytes() == (workdir / name).read_bytes()
    assert launching.scores(workdir) == launching.scores(run)


def test_other_modes_and_their_files(run):
    """Every kind of picture, by the method's own functions: a process each would take minutes."""
    options = sample_options.get_config()
    for what, changes in {
        'samples': {'prior': 'class', 'label': 3},
        'interpolation': {'images': '3,17', 'format': 'npz'},
        'reconstruction': {'images': '1,2,3', 'others': str(run)},
        'arithmetic': {'images': '1,11-0+3', 'format': 'npz'},
        'latent_neighbours': {'images': '5,6'},
        'spectrum': {'prior': 'class', 'label': 3},
    }.items():
        options.update({'what': what, 'num': 8, 'rows': 2, 'frames': 4, **changes})
        sample.run_sample(options, run)
        options.update({k: '' for k in changes if k in ('images', 'others')})
        options.update({'format': 'grid', 'prior': 'full', 'label': -1})
    made = {path.name for path in (run / 'generated').iterdir()}
    with np.load(next((run / 'generated').glob('interpolation*.npz'))) as ways:
        assert ways['images'].shape == (1, 4, 16, 16, 1)
        table = launching.state(run)[1]['table/z']
        np.testing.assert_allclose(ways['z'][0, [0, -1]], table[[3, 17]], rtol=1e-6, atol=1e-7)
    with np.load(next((run / 'generated').glob('arithmetic*.npz'))) as sums:
        expected = table[[1, 11]].mean(0) - table[0] + table[3]
        expected /= max(1, np.linalg.norm(expected))
        np.testing.assert_allclose(sums['z'][-1], expected, rtol=1e-5, atol=1e-6)
    record = json.loads(next((run / 'generated').glob('latent_neighbours*.json')).read_text())
    assert [row[0] for row in record['index']] == [5, 6]
    np.testing.assert_allclose([row[0] for row in record['distances']], 0, atol=1e-6)
    spectrum = json.loads(next((run / 'generated').glob('spectrum*_class3_8.json')).read_text())
    assert (spectrum['fakes'], spectrum['reals']) == (8, 8) and spectrum['distance_db'] > 0
    assert len(made) == 8


def test_inversion_starts_from_the_table_and_finds_its_images(run):
    """Encoding by Lap1: every image comes nearer than one step from its starts does."""
    options, shown = invert_options.get_config(), sample_options.get_config()
    found = []
    for steps in (1, 30):
        options.update(num=4, restarts=2, steps=steps, loss='l2_lap1')
        invert.run_invert(options, run)
        with np.load(next((run / 'inverted').glob('identity*.npz'))) as arrays:
            found.append((arrays['objective'], arrays['z']))
    (few, _), (many, z) = found
    assert np.all(many < few) and many.mean() < 0.9 * few.mean()
    assert z.shape == (4, 32) and np.linalg.norm(z, axis=1).max() <= 1 + 1e-6
    path = next((run / 'inverted').glob('identity*.npz'))
    shown.update(what='interpolation', latents=str(path), frames=3, format='npz')
    sample.run_sample(shown, run)
    with np.load(next((run / 'generated').glob('interpolation*encoded*.npz'))) as ways:
        np.testing.assert_allclose(ways['z'][:, [0, -1]].reshape(4, 32), z, rtol=1e-6, atol=1e-7)
    shown.latents = str(run / 'config.json.npz')
    with pytest.raises(ValueError, match='no such file'):
        sample.run_sample(shown, run)
    options.update(operator='superresolve', loss='lap1')
    with pytest.raises(ValueError, match='whole images'):
        invert.run_invert(options, run)


@pytest.mark.parametrize(
    ('changes', 'accepted'),
    [
        ({'what': 'morph'}, 'prior=class'),
        ({'label': 3}, 'prior=class'),
        ({'weights': 'ema'}, 'auto'),
        ({'prior': 'uniform'}, 'full, diagonal, mixture, class'),
        ({'what': 'interpolation', 'images': '1,2,3'}, 'multiple of the 2'),
        ({'what': 'reconstruction', 'images': '1797'}, '0 to 1796'),
        ({'what': 'arithmetic', 'images': '1,2'}, 'signs between'),
        ({'what': 'latent_neighbours', 'images': 'a'}, 'commas'),
        ({'prior': 'class', 'label': 10}, '0 to 9'),
    ],
)
def test_impossible_pictures_are_one_line(run, changes, accepted):
    options = sample_options.get_config()
    options.update(changes)
    with pytest.raises(ValueError, match=accepted) as error:
        sample.run_sample(options, run)
    assert '\n' not in str(error.value)
