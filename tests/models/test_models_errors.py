"""Errors of `make_generator` and `make_discriminator`: one line that names the key."""

import inspect

import jax.numpy as jnp
import pytest

from helpers.networks import shapes, small_discriminator, small_generator
from snjax import models
from snjax.models import sngan_cnn


@pytest.mark.parametrize(
    ('make', 'kwargs', 'message'),
    [
        ('gen', {'architecture': 'resnt'}, r"architecture is 'resnt'.*nearest is 'resnet'"),
        ('dis', {'architecture': 'sngan_cn'}, r"nearest is 'sngan_cnn'"),
        ('gen', {'architecture': 'resnet', 'variant': 'cod'}, r"variant is 'cod'.*'paper', 'code'"),
        ('dis', {'architecture': 'sngan_cnn', 'variant': 'papr'}, r"nearest is 'paper'"),
        ('gen', {'architecture': 'resnet', 'dtype': 'float16'}, r"dtype is 'float16'.*'bfloat16'"),
        ('gen', {'architecture': 'resnet', 'image_size': 40}, r'is 40: .*nearest are 32 and 48'),
        ('dis', {'architecture': 'resnet', 'image_size': 8}, r'is 8: .*nearest are 16 and 32'),
        ('dis', {'architecture': 'resnet', 'image_size': 1024}, r'nearest are 256 and 512'),
        ('gen', {'architecture': 'sngan_cnn', 'image_size': 28}, r'is 28: .*nearest are 24 and 32'),
        ('dis', {'architecture': 'sngan_cnn', 'image_size': 8}, r'is 8: .*nearest are 16 and 24'),
        ('gen', {'architecture': 'resnet', 'gen_width': 0}, r'gen_width is 0'),
        ('gen', {'architecture': 'resnet', 'channels': 0}, r'channels is 0'),
        ('dis', {'architecture': 'resnet', 'dis_width': 1.5}, r'dis_width is 1.5'),
        ('gen', {'architecture': 'standard'}, r"'standard', which is called 'sngan_cnn' now"),
        ('dis', {'architecture': 'dcgan'}, r"'dcgan', which is called 'wgan_gp_cnn' now"),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(own_errors, make, kwargs, message):
    with pytest.raises(ValueError, match=message) as error:
        {'gen': small_generator, 'dis': small_discriminator}[make](**kwargs)
    assert '\n' not in str(error.value)
    assert '--config.' in str(error.value)


def test_direct_construction_names_the_variants():
    with pytest.raises(ValueError, match=r"variant is 'table3'.*'paper', 'code'"):
        sngan_cnn.SNGANCNNGenerator(image_size=32, variant='table3')


@pytest.mark.parametrize('architecture', ['resnet', 'sngan_cnn'])
def test_discriminator_refuses_images_of_another_size(architecture):
    dis = small_discriminator(architecture=architecture)
    with pytest.raises(ValueError, match=r'image_size 16 was given images \(2, 32, 32, 3\)'):
        shapes(dis, jnp.zeros((2, 32, 32, 3)))


def test_unknown_arguments_are_not_swallowed():
    for make in (models.make_generator, models.make_discriminator):
        kinds = {p.kind for p in inspect.signature(make).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}
