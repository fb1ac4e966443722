"""Tests of configs/: each loads, fits its method, says what it reproduces and which arguments it
takes.
"""

import importlib
import inspect
import re

import jax
import jax.numpy as jnp
import pytest

from configs import (
    base,
    biggan_cifar,
    biggan_imagenet,
    cgan_anime,
    cgan_cifar,
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
from experiments import build
from helpers.launching import ROOT
from helpers.named_configs import flat, load
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
    'acgan_cifar': [(), ('contragan',), ('reacgan',)],
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
    'cgan_conditions': [('faces',), ('faces,32,laptop',)],
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
    """The folder of the docstrings' commands: `cgan_anime` counts its classes, `cgan_conditions` its
    numbers."""
    for name in ('faces/anna/1.png', 'faces/anna/2.png', 'faces/bert/1.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = 'file,age,smiles\nanna/1.png,.2,1\nanna/2.png,.3,0\nbert/1.png,-.7,0\n'
    (tmp_path / 'faces/conditions.csv').write_text(table)
    monkeypatch.chdir(tmp_path)


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
        ('cgan_conditions', ['no row']),
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
        (sngan_paper.get_config, 'sngan,A,lsun', 'cifar, stl, fashion'),
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
