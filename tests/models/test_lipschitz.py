"""The product bound of a discriminator: by hand, and against slopes that were measured."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.models import BATCH_NORM, PLAIN, SPECTRAL, make_discriminator
from snjax.models.lipschitz import product_bound
from snjax.objectives.lower_bounds import largest_ratios
from snjax.spectral.watch import watch

SIZE = 16
NORMS = {'conv1': 2.0, 'conv2': 3.0, 'score': 5.0, 'embed': 7.0, 'classify': 100.0}


def network(**options):
    return make_discriminator(
        **{'architecture': 'sngan_cnn', 'image_size': SIZE, 'dis_width': 2, **options}
    )


def test_a_chain_multiplies_and_a_class_adds_its_row():
    assert product_bound(network(), NORMS) == 2 * 3 * 5
    assert product_bound(network(dis_lipschitz=0.5), NORMS) == 15
    projection = network(num_classes=3, head='projection')
    assert product_bound(projection, NORMS) == 2 * 3 * (5 + 7)
    assert product_bound(network(num_classes=3, head='acgan'), NORMS) == 30


def test_branches_add_and_a_sum_over_pixels_stretches():
    norms = {'block1/conv1': 2.0, 'block1/conv2': 3.0, 'block1/shortcut': 0.5}
    norms |= {'block2/conv1': 2.0, 'block2/conv2': 2.0, 'block2/shortcut': 1.0}
    norms |= {'block3/norm1': 4.0, 'block3/conv1': 1.0, 'block3/conv2': 1.0, 'score': 3.0}
    options = {'architecture': 'resnet', 'layers': PLAIN}
    chain = 6.5 * 5 * (4 + 1) * 3
    assert product_bound(network(**options), norms) == pytest.approx(chain * 4)
    mean = network(**options, variant='wgan_gp')
    assert product_bound(mean, norms) == pytest.approx(chain / 4)
    assert product_bound(network(**options, attention=8), norms) == math.inf
    stem = {name: n for name, n in norms.items() if not name.startswith('block1')} | {'stem': 2.0}
    assert product_bound(network(**options, first_stride2=True), stem) == pytest.approx(
        2 * 5 * 5 * 3 * 4
    )


@pytest.mark.parametrize(
    ('architecture', 'layers'),
    [('wgan_gp_cnn', BATCH_NORM), ('resnet', SPECTRAL)],
    ids=['batch norm', 'resnet'],
)
def test_no_ratio_exceeds_the_bound(architecture, layers):
    dis = network(architecture=architecture, layers=layers)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(-1, 1, (3, SIZE, SIZE, 1)), jnp.float32)
    shapes = jax.eval_shape(lambda: dis.init(jax.random.key(0), images, train=False))
    variables = jax.tree.map(
        lambda s: jnp.asarray(rng.uniform(0.2, 1, s.shape), jnp.float32), shapes
    )

    @jax.jit
    def measure(variables):
        found = watch(dis, variables, images[:1], train=False)
        norms = {name: layer.operator for name, layer in found.items()}
        score = lambda x: dis.apply(variables, x, train=False)  # noqa: E731
        slopes = jax.grad(lambda x: jnp.sum(score(x)))(images)
        ratios = [largest_ratios(score, images, slopes, n_steps=n) for n in (0, 8)]
        return product_bound(dis, norms), *ratios

    bound, slopes, climbed = (np.asarray(x) for x in measure(variables))
    assert np.all(slopes > 0) and np.all(climbed >= slopes)
    assert np.max(climbed) <= bound
    # Positive weights and bright images: every layer stretches the same direction.
    assert bound < 1000 * np.max(climbed)
