"""The comparison of the papers' methods on the CNN: settings A to F, and sizes of networks."""

import math

import jax
import pytest

from configs import sngan_cifar_cnn, sngan_paper
from experiments import build
from helpers.named_configs import flat, load, values


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
