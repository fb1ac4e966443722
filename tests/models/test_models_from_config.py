"""Networks of a config: their layers, configs of older runs, and names that are not accepted."""

import pytest

from configs import base
from experiments.settings import keys
from snjax import from_config, models
from snjax.nn import weight_norm
from snjax.spectral import SNConv

SPECTRAL_OPTIONS = {
    'n_power_iterations': 3,
    'n_warmup_iterations': 15,
    'sn_operator': 'bidirectional',
    'sn_scale': True,
    'lipschitz': 2.0,
}


def config(**model):
    """The default config as a dict, small, with changes to its group `model`."""
    made = base.get_config().to_dict()
    made['data']['image_size'] = 16
    made['model'] |= {'gen_width': 4, 'dis_width': 4, **model}
    return made


@pytest.mark.parametrize(
    ('name', 'layers'),
    [
        ('none', models.PLAIN),
        ('weight', models.WEIGHT_NORM),
        ('layer', models.LAYER_NORM),
        ('batch', models.BATCH_NORM),
    ],
)
def test_a_discriminator_has_the_layers_that_its_config_names(name, layers):
    assert from_config.discriminator(config(normalization=name)).layers == layers


def test_spectral_options_of_a_config_reach_the_layers():
    dis = from_config.discriminator(config(**SPECTRAL_OPTIONS, dis_lipschitz=5.0))
    assert dis.lipschitz == 5.0
    conv = dis.layers.conv(4, 3)
    assert (conv.n_power_iterations, conv.n_warmup_iterations) == (3, 15)
    assert (conv.operator, conv.learnable_scale, conv.lipschitz) == ('bidirectional', True, 2.0)
    # Undivided weights are not multiplied either.
    conv = from_config.discriminator(
        config(normalization='tracked', **SPECTRAL_OPTIONS)
    ).layers.conv(4, 3)
    assert not conv.divide
    assert (conv.n_power_iterations, conv.n_warmup_iterations) == (3, 15)
    assert (conv.operator, conv.learnable_scale, conv.lipschitz) == ('bidirectional', False, 1.0)
    # The generator has the paper's operator and no factors, whatever the discriminator has.
    conv = from_config.generator(
        config(gen_normalization='spectral', **SPECTRAL_OPTIONS)
    ).layers.conv(4, 3)
    assert isinstance(conv, SNConv)
    assert (conv.n_power_iterations, conv.n_warmup_iterations) == (3, 15)
    assert (conv.operator, conv.learnable_scale, conv.lipschitz) == ('reshaped', False, 1.0)


def test_layers_that_are_passed_win_over_those_that_the_config_names():
    dis = from_config.discriminator(config(), layers=models.WEIGHT_NORM)
    assert dis.layers.conv is weight_norm.WNConv
    gen = from_config.generator(config(), layers=models.SPECTRAL)
    assert gen.layers == models.SPECTRAL


def test_an_orthogonal_start_is_of_whatever_layers_there_are():
    dis = from_config.discriminator(config(dis_init='orthogonal'), layers=models.WEIGHT_NORM)
    init = dis.layers.conv(4, 3, kernel_init=None).kernel_init
    assert init is not None and isinstance(dis.layers.dense(4), weight_norm.WNDense)


@pytest.mark.parametrize(('old', 'new'), models.RENAMED.items())
def test_a_generator_of_an_older_run_is_found_by_the_old_name_of_its_architecture(old, new):
    before = config(architecture=old)
    del before['model']['remat']
    gen = from_config.generator(before)
    assert type(gen) is type(from_config.generator(config(architecture=new)))
    with pytest.raises(ValueError, match=f'called {new!r} now .*architecture={new}'):
        from_config.discriminator(before)


def test_old_names_are_the_same_for_configs_and_for_the_library():
    assert keys.RENAMED_VALUES['model.architecture'] == models.RENAMED


@pytest.mark.parametrize(
    ('player', 'model', 'message'),
    [
        (
            'dis',
            {'normalization': 'spectrall'},
            "normalization is 'spectrall'.*nearest is 'spectral'",
        ),
        ('dis', {'normalization': 'lyer'}, "nearest is 'layer'"),
        ('gen', {'gen_normalization': 'spectrl'}, "'none', 'spectral'; the nearest is 'spec"),
        ('dis', {'dis_init': 'orthogonl'}, "dis_init is 'orthogonl'.*nearest is 'orthogonal'"),
        ('dis', {'sn_operator': 'conv'}, "sn_operator is 'conv'.*nearest is 'convo"),
        ('dis', {'n_power_iterations': 0}, 'n_power_iterations is 0'),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(own_errors, player, model, message):
    make = {'gen': from_config.generator, 'dis': from_config.discriminator}[player]
    with pytest.raises(ValueError, match=message) as error:
        make(config(**model))
    assert '\n' not in str(error.value)
    assert '--config.model.' in str(error.value)


def test_an_absent_key_keeps_its_default():
    model = {'architecture': 'sngan_cnn', 'gen_width': 4, 'dis_width': 4}
    bare = {'model': model, 'data': {'name': 'digits', 'image_size': 16}}
    gen, dis = from_config.generator(bare), from_config.discriminator(bare)
    whole = config(architecture='sngan_cnn')
    for made, of_all_keys in (
        (gen, from_config.generator(whole)),
        (dis, from_config.discriminator(whole)),
    ):
        assert {k: v for k, v in vars(made).items() if k not in ('layers', '_id')} == {
            k: v for k, v in vars(of_all_keys).items() if k not in ('layers', '_id')
        }
    assert gen.layers == models.PLAIN
    assert isinstance(dis.layers.conv(4, 3), SNConv)
    assert from_config.shared_generator(bare) is from_config.shared_generator(bare)
    assert from_config.generator_inputs(bare) == from_config.GeneratorInputs(128, 'normal', 0)
    assert from_config.generator_inputs(bare) == from_config.generator_inputs(config())
    images = from_config.image_set({'data': {'name': 'digits', 'image_size': 8}}, channels=1)
    assert images.images.shape[1:] == (8, 8, 1) and images.split == 'train'
