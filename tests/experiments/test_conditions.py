"""Models that are conditioned on numbers: layers, a training step, and a run from table to score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import snjax
from configs import cgan_conditions, from_workdir, sngan_digits
from configs.modes import diagnose, invert, sample
from experiments import build
from experiments.modes.diagnose import run_diagnose
from experiments.modes.invert import run_invert
from experiments.modes.sample import run_sample
from experiments.modes.train import load_data, run_train
from experiments.settings import check_labels
from helpers import contract
from helpers.launching import scores
from snjax import parallel
from snjax.models import resnet
from snjax.nn.normalization import ConditionalBatchNorm
from snjax.training.adversarial import Batch
from snjax.training.conditioning import grid_columns, labels_in_turn, spread_rows


@pytest.fixture(scope='module', autouse=True)
def tiny_layout():
    resnet.LAYOUTS |= contract.TINY_LAYOUT
    yield
    for size in contract.TINY_LAYOUT:
        del resnet.LAYOUTS[size]


# ---- layers


def test_batch_norm_is_an_affine_map_of_the_numbers():
    layer = ConditionalBatchNorm(2, train=True, of_numbers=True)
    rng = np.random.default_rng(0)
    x, numbers = (rng.normal(size=size).astype(np.float32) for size in ((6, 3, 3, 4), (6, 2)))
    x, numbers = jnp.asarray(x), jnp.asarray(numbers)
    variables = layer.init(jax.random.key(0), x, numbers)
    assert {k: v.shape for k, v in variables['params'].items()} == {
        'gamma': (4,),
        'gamma_slopes': (2, 4),
        'beta': (4,),
        'beta_slopes': (2, 4),
    }
    apply = jax.jit(lambda v: layer.apply(v, x, numbers, mutable=['batch_stats'])[0])
    plain = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 2e-5)
    np.testing.assert_allclose(apply(variables), plain, atol=1e-5)  # at first whatever the numbers
    params = {
        k: rng.normal(size=v.shape).astype(np.float32) for k, v in variables['params'].items()
    }
    gamma, beta = (
        (params[k] + numbers @ params[f'{k}_slopes'])[:, None, None] for k in ('gamma', 'beta')
    )
    found = apply({**variables, 'params': params})
    np.testing.assert_allclose(found, plain * gamma + beta, atol=1e-5)


# ---- a method


@pytest.fixture(scope='module')
def gan(tiny_layout):
    return build.method(contract.small('cgan_conditions', 'faces,32'))


def test_both_players_learn_from_the_numbers_and_samples_follow_them(gan):
    numbers = np.stack([np.linspace(-1, 1, 40), np.arange(40) % 2], 1).astype(np.float32)
    gan = gan.with_images(None, numbers)
    assert gan.with_images(None) is gan  # with which JAX knows what it has traced
    state = contract.start(gan)
    step = jax.jit(jax.vmap(gan.train_step, in_axes=None, axis_name=parallel.AXIS, axis_size=1))
    after, _ = step(state, contract.batches(gan, 0), jax.random.key(1))
    after = jax.tree.map(lambda x: np.asarray(x[0]), after)
    norm = after.gen.params['block1']['norm1']
    assert norm['gamma_slopes'].shape[0] == 2
    assert np.any(norm['gamma_slopes'], axis=-1).all()  # which were 0
    embed = [x.dis.params['embed']['embedding'] for x in (state, after)]
    assert np.any(embed[0] != embed[1], axis=-1).all()

    sample = jax.jit(gan.sample, static_argnums=2)
    rng = np.random.default_rng(0)
    norm['gamma_slopes'] = rng.normal(size=norm['gamma_slopes'].shape).astype(np.float32)
    moved = after.replace(ema=None)
    given = np.float32([[0, 0], [0, 1]])
    images = np.asarray(sample(moved, jax.random.key(0), 2, given))
    again = np.asarray(sample(moved, jax.random.key(0), 2, given[:1].repeat(2, 0)))
    assert np.array_equal(images[0], again[0]) and not np.array_equal(images[1], again[1])
    # Without numbers, those of the set.
    expected = sample(moved, jax.random.key(0), 3, np.float32(gan.grid_rows[:3]))
    np.testing.assert_array_equal(sample(moved, jax.random.key(0), 3), expected)


def test_fakes_have_the_numbers_of_the_real_images_beside_them(gan):
    batch = contract.batches(gan, 0)
    real = Batch(batch['image'][0], batch['label'][0])
    keys = jax.random.split(jax.random.key(0))
    noise = gan._noise(jnp.arange(gan.batch_size), *keys, jnp.int32(0), real)
    np.testing.assert_array_equal(noise.label, real.label)


# ---- grids


def test_a_grid_of_one_number_has_ten_columns_from_smallest_to_largest():
    rows = spread_rows(np.float32([[0.2], [3.0], [-1.0]]))
    assert len(rows) == 100 and rows[:10] == rows[90:]
    np.testing.assert_allclose(np.ravel(rows[:10]), np.linspace(-1, 3, 10), atol=1e-6)


def test_a_number_or_a_few_classes_have_columns():
    columns = [grid_columns(*kind) for kind in ((0, 1), (10, 0), (0, 2), (0, 0), (1, 0), (200, 0))]
    assert columns == [10, 10, None, None, None, None]


def test_a_grid_of_several_numbers_has_rows_of_the_set():
    numbers = np.random.default_rng(0).normal(size=(250, 3)).astype(np.float32)
    rows = np.float32(spread_rows(numbers))
    np.testing.assert_array_equal(rows, numbers[(np.arange(100) * 2.5).astype(int)])


def test_numbers_are_asked_for_where_there_is_no_set():
    assert labels_in_turn(None, 3, 0) is None
    with pytest.raises(ValueError, match=r'numbers \(3, 2\) are needed'):
        labels_in_turn(None, 3, 0, 2)
    with pytest.raises(ValueError, match='unconditional generator'):
        labels_in_turn(jnp.zeros(3), 3, 0)


# ---- refusals


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('head', 'acgan', '--config.model.head=projection'),
        ('head', 'none', '--config.model.head=projection'),
        ('fake_classes', 'uniform', '--config.model.fake_classes=real'),
        ('conditioning_end', 100, 'only classes are brought in gradually'),
        ('num_classes', 10, 'classes or conditions; leave one of them at 0'),
    ],
)
def test_what_does_not_go_with_numbers_is_refused(key, value, message):
    config = contract.load('cgan_conditions', 'faces,32')
    config.model[key] = value
    with pytest.raises(ValueError, match=message) as error:
        check_labels.classes(config)
    assert '\n' not in str(error.value)


def test_a_table_that_no_model_takes_is_refused():
    for name in ('sngan_digits', 'glo_digits'):
        config = contract.load(name, '')
        config.data.conditions = 'angles.csv'
        with pytest.raises(ValueError, match=r"data\.conditions is 'angles\.csv', but"):
            build.method(config)


def test_a_table_of_another_name_needs_its_columns_counted_before_images_are_decoded(tmp_path):
    (tmp_path / 'angles.csv').write_text('file,sine,cosine\nbroken.png,0,1\n')
    (tmp_path / 'broken.png').write_bytes(b'')
    config = cgan_conditions.get_config(f'{tmp_path},32')
    with pytest.raises(ValueError, match='num_conditions is 1, but folder has no numbers'):
        load_data(config.to_dict(), print)
    config.data.conditions = 'angles.csv'
    with pytest.raises(ValueError, match=r'has 2 numbers per image \(sine, cosine\)'):
        load_data(config.to_dict(), print)
    config.model.num_conditions = 2
    with pytest.raises(ValueError, match='is broken'):
        load_data(config.to_dict(), print)


def test_the_config_counts_the_numbers_of_an_npz(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, images=np.zeros((3, 8, 8, 3), np.uint8), conditions=np.zeros((3, 2)))
    config = cgan_conditions.get_config(f'{path},32')
    assert (config.data.name, config.model.num_conditions) == ('npz', 2)
    assert load_data(config.to_dict(), print).conditions.shape == (3, 2)


# ---- a run

BACKGROUND = 40


def discs(num=3000, size=16):
    """Discs of colours between red and blue, and where between them each is: (images, -1 to 1)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    where = rng.uniform(-1, 1, num).astype(np.float32)
    radius, cx, cy = rng.uniform(3, 5, num), *rng.uniform(5.5, 9.5, (2, num))
    inside = radius[:, None, None] - np.hypot(x - cx[:, None, None], y - cy[:, None, None])
    inside = np.clip(inside + 0.5, 0, 1)[..., None]
    colour = np.stack([120 - 110 * where, np.full(num, 60), 120 + 110 * where], 1)
    return (inside * colour[:, None, None] + (1 - inside) * BACKGROUND).astype(np.uint8), where


def measured(images):
    """Where between red and blue the pixels are that are farthest from the background."""
    pixels = np.asarray(images, np.float64).reshape(len(images), -1, 3)
    rank = np.argsort(np.abs(pixels - BACKGROUND).sum(-1), axis=1)[:, -20:]
    disc = np.take_along_axis(pixels, rank[..., None], axis=1).mean(1)
    return (disc[:, 2] - disc[:, 0]) / 220


@pytest.mark.slow
def test_images_have_the_number_that_was_asked_for(tmp_path):
    """From an .npz to samples, a morph, scores, inversion and export."""
    images, where = discs()
    assert np.corrcoef(measured(images), where)[0, 1] > 0.99  # the measurement itself
    np.savez(tmp_path / 'discs.npz', images=images, conditions=where, condition_names=['colour'])
    workdir = tmp_path / 'run'
    c = sngan_digits.get_config()
    c.method, c.model.head, c.model.fake_classes = 'cgan', 'projection', 'real'
    c.model.num_conditions, c.gen_batch_size = 1, c.batch_size
    c.data.name, c.data.path, c.data.channels = 'npz', str(tmp_path / 'discs.npz'), 3
    c.num_steps, c.optimizer.ema_decay = 600, 0.98
    c.checkpoint.every = c.sampling.every = c.diagnostics.every = 300
    c.eval.extractor, c.eval.num_samples, c.eval.every = 'patches', 500, 0
    run_train(c.lock(), workdir)

    run = snjax.load(workdir)
    asked = np.random.default_rng(1).uniform(-1, 1, (500, 1))
    made = run.pixels(run.sample(500, labels=asked))
    correlation = np.corrcoef(measured(made), asked[:, 0])[0, 1]
    assert correlation >= 0.9, correlation
    # By default a grid has ten columns from the smallest number to the largest.
    grid = measured(run.pixels(run.sample(100))).reshape(10, 10).mean(0)
    assert np.corrcoef(grid, np.arange(10))[0, 1] > 0.9
    assert scores(workdir, 'train/all/500')['scores']['swd'] > 0

    for changes in (
        {'num': 20, 'condition': '0.5'},
        {'what': 'morph', 'condition': '-1', 'condition_to': '1', 'rows': 2},
        {'what': 'interpolation', 'rows': 2},
        {'what': 'neighbours', 'rows': 2, 'neighbours': 2},
    ):
        options = sample.get_config()
        options.update(changes)
        run_sample(options.lock(), workdir)
    names = {path.stem.split('_seed0_auto_')[1] for path in (workdir / 'generated').glob('*.png')}
    assert {'condition0.5_20', 'condition-1to1_2x10', 'slerp2_2x10'} <= names
    options = sample.get_config()
    options.condition = '0.5,1'
    with pytest.raises(ValueError, match=r'takes 1 number, as --sample\.condition=0\.5'):
        run_sample(options.lock(), workdir)
    with pytest.raises(ValueError, match='labels are none: this generator takes 1 finite number'):
        run.invert(made[:1] / 127.5 - 1)
    options = invert.get_config()
    options.update({'num': 2, 'steps': 2, 'restarts': 1})
    run_invert(options.lock(), workdir)
    options = diagnose.get_config()
    options.update({'num': 4, 'starts': 2, 'ascent_steps': 2})
    run_diagnose(options.lock(), from_workdir.get_config(str(workdir)), workdir)

    again = snjax.load(run.export(tmp_path / 'gen.safetensors'))
    np.testing.assert_array_equal(
        again.sample(2, labels=[0.3]), run.sample(2, labels=np.float32([[0.3], [0.3]]))
    )
    with pytest.raises(ValueError, match='takes 1 finite number per image'):
        again.sample(2)
