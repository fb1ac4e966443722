"""Networks for rectangles and for 512 px, by shapes alone, and their values at the least size."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.models import PLAIN, SPECTRAL, make_discriminator, make_generator
from snjax.models.lipschitz import product_bound

PAIRS = ('resnet', 'sngan_cnn', 'wgan_gp_cnn', 'r3gan')


def shapes_of(architecture, size, channels=3):
    """(parameters of G, of D) as shapes; D is None where there is none."""
    gen = make_generator(architecture=architecture, image_size=size, gen_width=8, channels=channels)
    init = functools.partial(gen.init_with_output, train=False)
    images, gen_variables = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 4)))
    height, width = (size, size) if isinstance(size, int) else size
    assert images.shape == (2, height, width, channels)
    if architecture not in PAIRS:
        return gen_variables['params'], None
    dis = make_discriminator(architecture=architecture, image_size=size, dis_width=8)
    init = functools.partial(dis.init_with_output, train=False)
    logits, dis_variables = jax.eval_shape(init, jax.random.key(0), images)
    assert logits.shape == (2,)
    return gen_variables['params'], dis_variables['params']


@pytest.mark.parametrize(
    ('architecture', 'size'),
    [
        ('resnet', (20, 16)),
        ('resnet', (48, 64)),
        ('sngan_cnn', (16, 24)),
        ('wgan_gp_cnn', (24, 16)),
        ('r3gan', (8, 10)),
        ('radford', (12, 8)),
    ],
)
def test_a_rectangle_has_the_layers_of_its_smaller_side(architecture, size):
    found, squares = (shapes_of(architecture, s, channels=4) for s in (size, min(size)))
    for mine, other in zip(found, squares, strict=True):
        assert jax.tree.structure(mine) == jax.tree.structure(other)
    area = math.prod(size) / min(size) ** 2
    project = found[0].get('project', {}).get('kernel', found[0].get('basis'))
    square = squares[0].get('project', {}).get('kernel', squares[0].get('basis'))
    assert math.prod(project.shape) == area * math.prod(square.shape)


@pytest.mark.parametrize('architecture', ['resnet', pytest.param('r3gan', marks=pytest.mark.slow)])
def test_512_px(architecture):
    shapes_of(architecture, 512)


@pytest.mark.parametrize(
    ('architecture', 'size', 'message'),
    [
        ('resnet', (48, 72), r'image_size is 48x72: .*multiples of 16.* 72 are 64 and 80'),
        ('resnet', (40, 64), r'as the smaller side; the nearest are 32 and 48'),
        ('sngan_cnn', (16, 20), r'image_size is 16x20: .* 16 and 24'),
        ('r3gan', (48, 64), r'image_size is 48x64: .*powers of 2.* 32 and 64'),
        ('radford', (64, 72), r'multiples of 16 .* 64 and 80'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_a_size_that_does_not_divide_is_refused(architecture, size, message):
    with pytest.raises(ValueError, match=message) as error:
        make_generator(architecture=architecture, image_size=size, gen_width=8)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('size', 'accepted'), [((64, 48), (16, 32, 64)), ((48, 64), (12, 24, 48))])
def test_attention_is_named_by_its_height(size, accepted):
    make = functools.partial(make_generator, architecture='resnet', gen_width=8, image_size=size)
    for height in accepted:
        assert make(attention=height).attention == height
    with pytest.raises(ValueError, match='feature maps of height'):
        make(attention=5)


def test_pairs_of_equal_sides_make_the_square_network():
    make = functools.partial(make_generator, architecture='resnet', gen_width=8)
    assert make(image_size=(32, 32)) == make(image_size=[32, 32]) == make(image_size=32)


def test_a_turned_discriminator_gives_the_scores_of_turned_images():
    """Kernels turned by 90 degrees see turned images as the others see the images."""
    images = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
    make = functools.partial(make_discriminator, architecture='resnet', dis_width=4, layers=PLAIN)
    wide, high = make(image_size=(16, 24)), make(image_size=(24, 16))
    apply = {dis: jax.jit(functools.partial(dis.apply, train=False)) for dis in (wide, high)}
    variables = jax.jit(functools.partial(wide.init, train=False))(jax.random.key(0), images)
    turned = jax.tree.map(lambda x: x.swapaxes(0, 1) if x.ndim == 4 else x, variables)
    np.testing.assert_allclose(
        apply[high](turned, images.swapaxes(1, 2)),
        apply[wide](variables, images),
        rtol=1e-4,
    )


def test_the_bound_counts_the_pixels_of_the_last_map():
    norms = {'score': 1.0} | {f'block{i}/conv1': 0.0 for i in range(1, 6)}
    norms |= {f'block{i}/conv2': 0.0 for i in range(1, 6)}
    dis = make_discriminator(
        architecture='resnet', image_size=(48, 64), dis_width=8, layers=SPECTRAL
    )
    assert product_bound(dis, norms) == pytest.approx(math.sqrt(3 * 4))  # the shortcuts are 1
