"""Tests of configs/: each loads, says what it reproduces, and holds the published values (sources
in its docstring).
"""

import importlib
import importlib.util
import inspect
import math
import re

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import (
    base,
    biggan_cifar,
    biggan_imagenet,
    cgan_anime,
    cgan_cifar,
    from_workdir,
    glo_celeba,
    glo_cifar,
    glo_faces,
    r3gan_cifar,
    r3gan_folder,
    r3gan_imagenet,
    sngan_cifar,
    sngan_cifar_cnn,
    sngan_folder,
    sngan_paper,
    wgan_gp_cifar,
)
from configs.modes import evaluate as evaluate_options
from configs.modes import invert as invert_options
from configs.modes import sample as sample_options
from experiments import build
from experiments.modes import evaluate, invert, sample, train
from helpers.launching import NUM_STEPS, ROOT, assert_same_run
from snjax import from_config

NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
GLO = [name for name in NAMES if name.startswith('glo_')]
RUNS = [
    name
    for name in NAMES
    if name not in ('base', 'from_workdir')
    and 'def get_config(' in (ROOT / 'configs' / f'{name}.py').read_text()
]
# Every form of argument that a config documents.
ARGUMENTS = {
    'sngan_cifar': [(), ('50k',), ('100k',), ('mimicry',), ('collections',), ('laptop',)],
    'cgan_cifar': [(), ('100k',), ('mimicry',)],
    'sngan_cifar_cnn': [
        (),
        *((setting,) for setting in 'ABCDEF'),
        ('C,code',),
        ('C,code,non_saturating',),
    ],
    'sngan_folder': [('photos',), ('photos,32',), ('photos,128',), ('photos,32,laptop',)],
    'wgan_gp_cifar': [(), ('resnet',), ('resnet,256',), ('cnn',), ('sngan_cnn',)],
    'sngan_paper': [
        (),
        *(
            (f'{method},{setting},{image_set}',)
            for method, setting in zip(sngan_paper.METHODS, 'ABCDEFABC', strict=True)
            for image_set in sngan_paper.SETS
        ),
    ],
    'cgan_anime': [('faces',), ('faces,32',)],
    'r3gan_cifar': [(), ('unconditional',), ('laptop',), ('resnet',)],
    'r3gan_imagenet': [(), ('32',), ('64',)],
    'r3gan_folder': [('photos',), ('photos,256',), ('photos,32,laptop',)],
    'glo_cifar': [(), ('512',)],
    'biggan_cifar': [(), ('shared',), ('laptop',)],
    'biggan_imagenet': [(), ('64',), ('256',), ('128,code',), ('256,deep',)],
    'glo_celeba': [(), ('128',)],
    'glo_faces': [('faces',), ('faces,128',)],
}
CASES = [(name, args) for name in RUNS for args in ARGUMENTS.get(name, [()])]


@pytest.fixture(autouse=True)
def faces(tmp_path, monkeypatch):
    """The folder of the docstrings' commands: `cgan_anime` counts its classes."""
    for name in ('faces/anna/1.png', 'faces/anna/2.png', 'faces/bert/1.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


def load(name, *args):
    return importlib.import_module(f'configs.{name}').get_config(*args)


def flat(config, prefix=''):
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'


def test_the_named_configs_are_there():
    expected = {'sngan_digits', 'sngan_cifar', 'sngan_cifar_cnn', 'sngan_stl', 'sngan_imagenet'}
    assert expected | {'sngan_folder'} <= set(RUNS)
    assert set(ARGUMENTS) <= set(RUNS)


@pytest.mark.parametrize(('name', 'args'), CASES)
def test_loads_and_fits_its_method(name, args):
    config = load(name, *args)
    assert set(flat(config)) == set(flat(base.get_config()))  # no key that nothing reads
    built = build.method(config.lock())
    if name not in GLO:
        assert built.batches_per_step == config.n_dis + built.loss.relativistic
    assert built.batch_size == config.batch_size


@pytest.mark.parametrize('name', RUNS)
def test_a_finished_run_is_loaded_with_the_generator_that_was_trained(name):
    """A run is loaded by its config alone: whatever `make` chooses for G has to be fixed in it."""
    config = load(name, *ARGUMENTS.get(name, [()])[0])
    trained = build.method(config.lock()).gen.clone(batch_norm_axis=None)
    loaded = from_config.generator(config.to_dict())
    if trained == loaded:  # saves tracing both
        return
    # Layer classes with arguments, such as SAGAN's, are equal to themselves alone.
    z = jnp.zeros((2, config.model.dim_z))
    labels = jnp.zeros(2, jnp.int32) if config.model.num_classes else None

    def variables(gen):
        return jax.eval_shape(lambda: gen.init(jax.random.key(0), z, labels, train=False))

    assert variables(trained) == variables(loaded)


@pytest.mark.parametrize('steps_per_call', [1, 50])
@pytest.mark.parametrize(('name', 'args'), CASES)
def test_intervals_fit_one_update_a_call_and_many(name, args, steps_per_call):
    config = load(name, *args)
    if config.steps_per_call:
        assert config.steps_per_call == 1  # a config for the CPU
    config.steps_per_call = steps_per_call
    if name.endswith('_digits'):
        # Its steps are short and few: some intervals are shorter than 50.
        config.steps_per_call = min(steps_per_call, 20)
    options = build.options(config)
    assert options.steps_per_call == config.steps_per_call
    assert options.checkpoint_every and options.sample_every


@pytest.mark.parametrize('name', RUNS)
def test_a_run_ends_with_its_schedule(name):
    config = load(name, *ARGUMENTS.get(name, [()])[0])
    assert config.optimizer.decay_end in (0, config.num_steps)
    assert config.checkpoint.keep_every % config.checkpoint.every == 0
    assert config.num_steps % config.checkpoint.every == 0


@pytest.mark.parametrize('name', RUNS)
def test_docstring_names_a_command_that_works(name):
    doc = inspect.getdoc(importlib.import_module(f'configs.{name}'))
    commands = re.findall(r'python launch\.py --config=(\S+)(.*)', doc)
    assert commands
    for config, rest in commands:
        path, _, argument = config.partition(':')
        assert path == f'configs/{name}.py'
        load(name, *filter(None, [argument]))
        for flag in rest.split('#')[0].split():
            assert re.match(r'--(workdir|config\.[\w.]+)=', flag), flag


@pytest.mark.parametrize(
    ('name', 'row'),
    [
        ('sngan_cifar', ['table 2', '8.22', '21.7', 'B.2', 'table 4']),
        ('sngan_cifar_cnn', ['tables 1 to 3', '7.58', '25.5', '7.42', '29.3']),
        ('sngan_stl', ['table 2', '9.10', '40.1', 'table 5']),
        ('sngan_imagenet', ['table 6', '13.05', '65.74', 'sn_projection.yml']),
        ('sngan_digits', ['no row']),
        ('sngan_folder', ['no row']),
        ('wgan_gp_cifar', ['7.86', '22.29', 'gan_cifar_resnet.py', 'B.2']),
        ('sngan_paper', ['table 2', '6.41 / 42.6', '7.40 / 29.0', '8.56 / 46.7', '7.58 / 25.5']),
        ('dcgan_cifar', ['6.7', '34.3', 'chainer-gan-lib']),
        ('lsgan_cifar', ['6.55', '40.22', 'eq. 9']),
        ('wgan_cifar', ['6.62', '40.03', 'Algorithm 1']),
        ('dragan_cifar', ['7.1', '31.5', 'chainer-gan-lib']),
        ('cgan_cifar', ['8.62', '17.5', '10.84', 'sn_cifar10_conditional.yml']),
        ('cgan_imagenet', ['29.7', '103.1', '27.62', 'sn_projection.yml']),
        ('cgan_flowers', ['no row', '8,189']),
        ('cgan_anime', ['no row']),
        ('acgan_cifar', ['8.42', 'table 3', 'gan_cifar_resnet.py']),
        ('sagan_cifar', ['8.64', '10.35']),
        ('sagan_imagenet', ['52.52', '18.65', '83.7']),
        ('r3gan_cifar', ['1.96', '2501.05441', 'no row']),
        ('r3gan_imagenet', ['1.27', '2.09']),
        ('r3gan_folder', ['1.95', '2.75']),
        ('glo_digits', ['1707.05776']),
        ('biggan_cifar', ['9.22', '14.73', '1809.11096', 'launch_cifar_ema.sh']),
        ('biggan_imagenet', ['8.7', '98.8', '142.3', '5.7', '124.5', '171.4', '97.35']),
        ('glo_cifar', ['no row', '1707.05776', 'minimal_glo']),
        ('glo_celeba', ['figures 1 to 5', 'no row', '162,770']),
        ('glo_faces', ['no row']),
    ],
)
def test_docstring_names_the_published_row(name, row):
    doc = inspect.getdoc(importlib.import_module(f'configs.{name}'))
    assert [part for part in row if part not in doc] == []


# ---- published values


def values(config, keys):
    return {
        key: config[key] if '.' not in key else config[key.split('.')[0]][key.split('.')[1]]
        for key in keys
    }


# Appendix B.2 and the official configs/sn_cifar10_unconditional.yml: ResNet runs have these in
# common.
RESNET = {
    'method': 'sngan',
    'loss': 'hinge',
    'n_dis': 5,
    'batch_size': 64,
    'gen_batch_size': 128,
    'update_order': 'gen_first',
    'optimizer.name': 'adam',
    'optimizer.lr': 2e-4,
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.9,
    'optimizer.eps': 1e-8,
    'optimizer.ema_decay': 0.0,
    'model.architecture': 'resnet',
    'model.dim_z': 128,
    'model.latent': 'normal',
    'model.dtype': 'float32',
    'model.n_power_iterations': 1,
    'data.dequantize': True,
    'data.flip': False,
}
BIGGAN = {
    'method': 'biggan',
    'loss': 'hinge',
    'update_order': 'dis_first',
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.999,
    'optimizer.ema_decay': 0.9999,
    'model.architecture': 'biggan',
    'model.gen_normalization': 'spectral',
    'model.head': 'projection',
    'data.dequantize': False,
    'data.flip': False,
}


def biggan(batch, parts, n_dis, lr, dis_lr, eps, ema_start):
    return {
        'batch_size': batch,
        'gen_batch_size': batch,
        'accumulate': parts,
        'n_dis': n_dis,
        'optimizer.lr': lr,
        'optimizer.dis_lr': dis_lr,
        'optimizer.eps': eps,
        'optimizer.ema_start': ema_start,
    }


PUBLISHED = [
    (
        'sngan_cifar',
        (),
        {
            'num_steps': 50_000,
            'optimizer.decay_start': 0,
            'optimizer.decay_end': 50_000,
            'model.gen_width': 256,
            'model.dis_width': 128,
            'data.name': 'cifar10',
            'data.split': 'train',
            'data.image_size': 32,
        },
    ),
    (
        'sngan_cifar',
        ('100k',),
        {'num_steps': 100_000, 'optimizer.decay_start': 0, 'optimizer.decay_end': 100_000},
    ),
    (
        'sngan_stl',
        (),
        {
            'num_steps': 100_000,
            'model.gen_width': 64,
            'model.dis_width': 64,
            'data.name': 'stl10',
            'data.split': 'unlabelled',
            'data.image_size': 48,
        },
    ),
    (
        'sngan_imagenet',
        (),
        {
            'num_steps': 450_000,
            'optimizer.decay_start': 400_000,
            'optimizer.decay_end': 450_000,
            'model.gen_width': 64,
            'model.dis_width': 64,
            'data.name': 'imagenet2012',
            'data.image_size': 128,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'args', 'expected'), PUBLISHED)
def test_resnet_runs_have_the_published_values(name, args, expected):
    expected = RESNET | expected
    assert values(load(name, *args), expected) == expected


# What the runs of R3GAN's authors have in common.
R3GAN = {
    'method': 'r3gan',
    'loss': 'relativistic_pairing',
    'update_order': 'dis_first',
    'n_dis': 1,
    'model.fake_classes': 'real',
    'penalty.through_augment': True,
    'model.architecture': 'r3gan',
    'model.dim_z': 64,
    'model.dtype': 'bfloat16',
    'optimizer.lr': 2e-4,
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.9,
    'optimizer.eps': 1e-8,
    'burn_in.lr': 5e-5,
    'burn_in.beta2': 0.99,
    'burn_in.ema': True,
    'burn_in.augment': True,
    'data.flip': True,
    'data.dequantize': False,
}


def r3gan(batch, *, gamma, chance, ema, images):
    return {
        'batch_size': batch,
        'gen_batch_size': batch,
        'penalty.r1': gamma,
        'penalty.r2': gamma,
        'burn_in.gamma': pytest.approx(gamma / 10),
        'burn_in.steps': images / batch,
        'optimizer.ema_decay': pytest.approx(0.5 ** (batch / ema), abs=1e-12),
        'data.augment_chance': chance,
    }


# What a config changes of its source's values: recipes of the official codes and papers named in
# the docstrings.
OTHERS = [
    (
        'wgan_gp_cifar',
        ('resnet',),
        {
            'method': 'wgan_gp',
            'loss': 'wasserstein',
            'penalty.gradient': 10.0,
            'update_order': 'dis_first',
            'n_dis': 5,
            'num_steps': 100_000,
            'gen_batch_size': 128,
            'optimizer.lr': 2e-4,
            'optimizer.beta1': 0.0,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 100_000,
            'model.variant': 'wgan_gp',
            'model.normalization': 'none',
            'model.gen_width': 128,
            'model.dis_width': 128,
            'data.dequantize': True,
        },
    ),
    ('wgan_gp_cifar', ('resnet,256',), {'model.gen_width': 256, 'model.dis_width': 128}),
    (
        'wgan_gp_cifar',
        ('cnn',),
        {
            'num_steps': 200_000,
            'gen_batch_size': 64,
            'optimizer.lr': 1e-4,
            'optimizer.beta1': 0.5,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 0,
            'model.architecture': 'wgan_gp_cnn',
            'model.gen_width': 128,
        },
    ),
    (
        'wgan_cifar',
        (),
        {'optimizer.name': 'rmsprop', 'optimizer.lr': 5e-5, 'clip': 0.01, 'n_dis': 5},
    ),
    (
        'dcgan_cifar',
        (),
        {
            'loss': 'non_saturating',
            'n_dis': 1,
            'optimizer.lr': 2e-4,
            'optimizer.beta1': 0.5,
            'optimizer.beta2': 0.999,
            'model.variant': 'code',
            'model.latent': 'uniform',
            'model.normalization': 'batch',
        },
    ),
    ('lsgan_cifar', (), {'loss': 'least_squares', 'model.normalization': 'batch'}),
    ('dragan_cifar', (), {'loss': 'non_saturating', 'penalty.dragan': 10.0}),
    ('cgan_cifar', (), RESNET | {'method': 'cgan', 'num_steps': 50_000, 'model.num_classes': 10}),
    (
        'cgan_imagenet',
        (),
        RESNET
        | {
            'method': 'cgan',
            'num_steps': 450_000,
            'optimizer.decay_start': 400_000,
            'model.num_classes': 1000,
        },
    ),
    (
        'cgan_flowers',
        (),
        {'num_steps': 50_000, 'model.num_classes': 102, 'model.first_stride2': True},
    ),
    ('acgan_cifar', (), {'model.head': 'acgan', 'acgan.dis_weight': 1.0, 'acgan.gen_weight': 0.1}),
    (
        'sagan_imagenet',
        (),
        {
            'n_dis': 1,
            'batch_size': 256,
            'gen_batch_size': 256,
            'num_steps': 1_000_000,
            'optimizer.lr': 1e-4,
            'optimizer.dis_lr': 4e-4,
            'optimizer.beta1': 0.0,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 0,
            'model.attention': 32,
            'model.gen_normalization': 'spectral',
        },
    ),
    (
        'r3gan_cifar',
        ('resnet',),
        {
            'loss': 'relativistic_pairing',
            'model.normalization': 'none',
            'model.architecture': 'resnet',
            'penalty.through_augment': False,
            'burn_in.steps': 0,
        },
    ),
    # The presets of R3GAN's train.py; its ends are in images.
    ('r3gan_cifar', (), R3GAN | r3gan(512, gamma=0.05, chance=0.55, ema=5e6, images=2e7)),
    (
        'r3gan_imagenet',
        ('32',),
        R3GAN | r3gan(4096, gamma=0.5, chance=0.5, ema=5e7, images=2e8) | {'model.gen_width': 1536},
    ),
    ('r3gan_imagenet', ('64',), r3gan(4096, gamma=1, chance=0.4, ema=5e7, images=2e8)),
    ('r3gan_folder', ('ffhq,64',), r3gan(256, gamma=2, chance=0.3, ema=5e5, images=2e7)),
    ('r3gan_folder', ('ffhq,256',), r3gan(256, gamma=150, chance=0.3, ema=5e5, images=2e7)),
    # The authors' launch_cifar_ema.sh and launch_BigGAN_bs256x8.sh, and the paper's appendix C.
    ('biggan_cifar', (), BIGGAN | biggan(50, 1, 4, 2e-4, 0.0, 1e-8, 1000) | {'num_steps': 125_000}),
    (
        'biggan_imagenet',
        ('128',),
        BIGGAN
        | biggan(2048, 8, 2, 5e-5, 2e-4, 1e-8, 0)
        | {'penalty.gen_orthogonal': 1e-4, 'model.dim_z': 120, 'model.attention': 64},
    ),
    ('biggan_imagenet', ('128,code',), BIGGAN | biggan(2048, 8, 1, 1e-4, 4e-4, 1e-6, 20_000)),
    ('biggan_imagenet', ('256',), {'model.dim_z': 140, 'model.gen_width': 96}),
    ('biggan_imagenet', ('256,deep',), biggan(2048, 8, 2, 2.5e-5, 2.5e-5, 1e-8, 0)),
]


@pytest.mark.parametrize(('name', 'args', 'expected'), OTHERS)
def test_other_runs_have_the_values_of_their_sources(name, args, expected):
    assert values(load(name, *args), expected) == expected


@pytest.mark.parametrize('image_set', ['cifar', 'stl'])
@pytest.mark.parametrize('setting', 'ABCDEF')
def test_the_papers_comparison_changes_the_discriminator_alone(setting, image_set):
    """Methods differ by what makes them and nothing else; settings are table 1's."""
    plain = sngan_cifar_cnn.get_config(setting)
    makes = {'method', 'loss', 'clip', 'model.normalization', 'model.dis_init'}
    makes |= {'penalty.gradient', 'penalty.orthonormal'}
    of_set = {'data.name', 'data.split', 'data.image_size'}
    same = set(flat(plain)) - makes - of_set
    for method_name in sngan_paper.METHODS:
        config = sngan_paper.get_config(f'{method_name},{setting},{image_set}')
        assert values(config, same) == values(plain, same)
        assert config.data.image_size == {'cifar': 32, 'stl': 48}[image_set]


def test_the_papers_methods_are_what_their_names_say():
    made = {m: sngan_paper.get_config(m) for m in sngan_paper.METHODS}
    assert made['weight_clipping'].clip == 0.01
    assert made['gan_gp'].penalty.gradient == made['wgan_gp'].penalty.gradient == 10
    assert made['orthonormal'].penalty.orthonormal > 0
    assert made['orthonormal'].model.dis_init == 'orthogonal'
    losses = {m: c.loss for m, c in made.items() if c.loss != 'non_saturating'}
    assert losses == {'wgan_gp': 'wasserstein', 'sngan_hinge': 'hinge'}
    kinds = {m: c.model.normalization for m, c in made.items() if c.model.normalization != 'none'}
    assert kinds == {
        'batch_norm': 'batch',
        'layer_norm': 'layer',
        'weight_norm': 'weight',
        'sngan': 'spectral',
        'sngan_hinge': 'spectral',
    }


# Table 1 of the paper: learning rate, beta1, beta2, n_dis.
@pytest.mark.parametrize(
    ('setting', 'lr', 'beta1', 'beta2', 'n_dis'),
    [
        ('A', 1e-4, 0.5, 0.9, 5),
        ('B', 1e-4, 0.5, 0.999, 1),
        ('C', 2e-4, 0.5, 0.999, 1),
        ('D', 1e-3, 0.5, 0.9, 5),
        ('E', 1e-3, 0.5, 0.999, 5),
        ('F', 1e-3, 0.9, 0.999, 5),
    ],
)
def test_settings_a_to_f(setting, lr, beta1, beta2, n_dis):
    config = sngan_cifar_cnn.get_config(setting)
    o = config.optimizer
    assert (o.name, o.lr, o.beta1, o.beta2, config.n_dis) == ('adam', lr, beta1, beta2, n_dis)
    expected = {
        'num_steps': 100_000,
        'batch_size': 64,
        'gen_batch_size': 64,
        'loss': 'hinge',
        'optimizer.decay_end': 0,
        'optimizer.ema_decay': 0.0,
        'model.architecture': 'sngan_cnn',
        'model.variant': 'paper',
        'model.latent': 'normal',
        'model.gen_width': 64,
        'model.dis_width': 64,
        'data.name': 'cifar10',
        'data.image_size': 32,
        'data.dequantize': False,
        'data.flip': False,
    }
    assert values(config, expected) == expected


def test_the_official_example_of_the_cnn():
    """chainer-gan-lib's command is setting C with its own network, uniform z, softplus losses and
    Chainer's Adam."""
    config = sngan_cifar_cnn.get_config('C,code,non_saturating')
    changed = {
        'model.variant': 'code',
        'model.latent': 'uniform',
        'loss': 'non_saturating',
        'optimizer.eps_form': 'chainer',
        'model.running_variance': 'unbiased',
    }
    assert values(config, changed) == changed
    plain = sngan_cifar_cnn.get_config('C')
    same = set(flat(plain)) - set(changed)
    assert values(config, same) == values(plain, same)


@pytest.mark.parametrize(
    ('name', 'args', 'gen', 'dis'),
    [
        ('sngan_cifar', (), 4_276_739, 1_053_824),
        ('sngan_stl', (), 4_878_083, 10_141_441),
        ('sngan_imagenet', (), 32_150_787, 29_017_857),  # "32.15M" and "29.0M" in the sheet
        ('sngan_cifar_cnn', ('C',), (3_812_355, 3_813_379), 2_935_873),
        ('sngan_cifar_cnn', ('C,code',), (3_813_379, 3_828_739), 5_860_865),
    ],
)
def test_networks_have_the_published_number_of_parameters(name, args, gen, dis):
    built = build.method(load(name, *args).lock())
    state = jax.eval_shape(built.init, jax.random.key(0))
    assert count(state.gen.params) in (gen if isinstance(gen, tuple) else (gen,))
    assert count(state.dis.params) == dis


def count(params):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


# ---- arguments


@pytest.mark.parametrize(
    ('get_config', 'argument', 'accepted'),
    [
        (sngan_cifar.get_config, '75k', '50k, 100k'),
        (sngan_cifar_cnn.get_config, 'Z', 'A, B, C, D, E, F'),
        (sngan_cifar_cnn.get_config, 'C,papr', 'paper, code'),
        (sngan_cifar_cnn.get_config, 'C,code,wassertein', 'hinge, non_saturating'),
        (sngan_cifar_cnn.get_config, 'C,code,hinge,more', 'SETTING,VARIANT,LOSS'),
        (sngan_cifar_cnn.get_config, '', 'A, B, C, D, E, F'),
        (wgan_gp_cifar.get_config, 'mlp', 'resnet, cnn'),
        (wgan_gp_cifar.get_config, 'resnet,wide', 'WIDTH'),
        (sngan_paper.get_config, 'batchnorm', 'batch_norm, layer_norm'),
        (sngan_paper.get_config, 'sngan,G', 'A, B, C, D, E, F'),
        (sngan_paper.get_config, 'sngan,A,lsun', 'cifar, stl'),
        (cgan_anime.get_config, 'nowhere', 'not a folder'),
        (cgan_anime.get_config, 'faces,big', 'cgan_anime.py:faces,big'),
        (cgan_anime.get_config, 'faces/anna', 'no classes'),
        (cgan_anime.get_config, '', 'needs a folder'),
        (sngan_folder.get_config, 'photos,big', 'size'),
        (r3gan_cifar.get_config, 'cond', 'published, unconditional, laptop, resnet'),
        (r3gan_imagenet.get_config, '128', '32 and 64'),
        (r3gan_folder.get_config, 'faces,48', '32, 64, 128, 256'),
        (r3gan_folder.get_config, 'faces,big', 'r3gan_folder.py:faces,big'),
        (glo_cifar.get_config, 'long', 'length of z'),
        (biggan_cifar.get_config, 'deep', 'published, shared, laptop'),
        (biggan_imagenet.get_config, '64,deep', 'SIZE,code, and 128,deep and 256,deep'),
        (glo_celeba.get_config, '96', '64 and 128'),
        (glo_faces.get_config, 'faces,big', 'glo_faces.py:faces,big'),
        (sngan_folder.get_config, 'photos,50', '32, 48, 64'),
    ],
)
def test_other_arguments_are_named(get_config, argument, accepted):
    def use():
        return build.method(get_config(argument).lock())

    with pytest.raises(ValueError, match=re.escape(accepted)) as error:
        use()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('argument', 'path', 'size'), [('a/b', 'a/b', 64), ('/x y,128', '/x y', 128)]
)
def test_folder_takes_path_and_size(argument, path, size):
    config = sngan_folder.get_config(argument)
    assert (config.data.name, config.data.path, config.data.image_size) == ('folder', path, size)


def test_a_laptop_has_the_same_budget_for_every_set():
    found = [sngan_cifar.get_config('laptop'), sngan_folder.get_config('photos,64,laptop')]
    assert [c.data.image_size for c in found] == [32, 64]
    assert sngan_folder.get_config('photos,laptop').data.image_size == 48
    assert sngan_folder.get_config('photos,32x48,laptop').model.gen_width == 32
    assert cgan_cifar.get_config('laptop').model.fake_classes == 'real'
    for c in found:
        assert (c.num_steps, c.batch_size, c.gen_batch_size, c.n_dis) == (12_000, 32, 32, 1)
        width = 32 if c.data.image_size == 32 else 16
        assert (c.model.gen_width, c.model.dis_width) == (width, width)
        assert (c.loss, c.optimizer.lr, c.optimizer.dis_lr) == ('relativistic_pairing', 4e-4, 8e-4)
        assert (c.optimizer.decay_start, c.optimizer.decay_end) == (6_000, c.num_steps)


def test_from_workdir_is_the_config_of_the_run(finished_run):
    config = from_workdir.get_config(str(finished_run.workdir))
    assert config.model.gen_width == 4
    assert config.optimizer.decay_end == load('sngan_digits').optimizer.decay_end
    assert set(flat(config)) == set(flat(base.get_config()))
    assert isinstance(config.optimizer.lr, float)


def test_from_workdir_without_a_run_says_so(tmp_path):
    with pytest.raises(ValueError, match=r'holds no run: there is no .*config\.json') as error:
        from_workdir.get_config(str(tmp_path))
    assert '\n' not in str(error.value)


# ---- no key is decoration


class Watched:
    """A config that notes the full names of the keys that are read."""

    def __init__(self, config, seen, prefix=''):
        self._config, self._seen, self._prefix = config, seen, prefix

    def __getattr__(self, name):
        value = getattr(self._config, name)
        if isinstance(value, ConfigDict):
            return Watched(value, self._seen, f'{self._prefix}{name}.')
        if not callable(value):
            self._seen.add(f'{self._prefix}{name}')
        return value

    __getitem__ = __getattr__

    def __contains__(self, name):
        return name in self._config

    def get(self, name, default=None):
        return self[name] if name in self else default


def test_every_key_is_read_and_a_finished_run_stays_as_it_is(finished_run, tmp_path, capsys):
    """Every key by training alone; the run is finished, so that nothing is left to compute."""
    workdir, seen = finished_run.copy(tmp_path / 'run'), set()
    config = from_workdir.get_config(str(workdir)).lock()
    train.run_train(Watched(config, seen), workdir)
    said = capsys.readouterr().out
    assert f'resuming from step {NUM_STEPS}\n' in said and 'compiled' not in said
    assert_same_run(workdir, finished_run.workdir)
    # Read from a plain dict above.
    train.load_data(Watched(config, seen), say=lambda line: None)
    train._origin(Watched(config, seen))
    for name in (
        'acgan_cifar',
        'r3gan_cifar',
        'biggan_cifar',
        'glo_digits',
    ):  # groups of other methods
        build.method(Watched(load(name), seen))
    assert set(flat(config)) - seen == set()


def test_every_option_of_a_mode_is_read(finished_run, tmp_path, monkeypatch):
    workdir, seen = finished_run.copy(tmp_path / 'run'), set()
    config = from_workdir.get_config(str(workdir)).lock()
    modes = {'sample': sample_options, 'invert': invert_options, 'evaluate': evaluate_options}
    options = {name: module.get_config() for name, module in modes.items()}
    options['invert'].update(num=1, restarts=1, steps=1)
    watched = {name: Watched(o, seen, f'{name}.') for name, o in options.items()}
    filled = evaluate._filled
    monkeypatch.setattr(evaluate, '_filled', lambda *a: Watched(filled(*a), seen, 'evaluate.'))
    sample.run_sample(watched['sample'], workdir)
    invert.run_invert(watched['invert'], workdir)
    evaluate.run_evaluate(options['evaluate'], config, workdir)
    expected = {f'{name}.{key}' for name, o in options.items() for key in o}
    assert expected - seen == {'sample.components'}  # of GLO: see test_sample
