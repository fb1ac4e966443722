"""The fakes of all D updates in one pass of the generator: the same step, for less."""

import jax
import numpy as np
import pytest

from configs import base
from experiments import settings
from helpers.tiny_gan import filled, images, make_gan, step_of

KEY = jax.random.key_data(jax.random.key(5))


@pytest.mark.parametrize('order', ['dis_first', 'gen_first'])
def test_fakes_at_once_are_the_same_step(order):
    """Images, running statistics and everything that follows from them, but for rounding."""
    states = []
    for fakes_at_once in (False, True):
        gan = make_gan(n_dis=3, update_order=order, ema_decay=0.5, fakes_at_once=fakes_at_once)
        step = step_of(gan)
        state, _ = step(filled(gan), images(3), KEY)
        states.append(step(state, images(3, seed=1), KEY))
    one, other = map(jax.tree_util.tree_leaves_with_path, states)
    for (path, a), (_, b) in zip(one, other, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6, err_msg=jax.tree_util.keystr(path))


def test_fakes_at_once_is_one_pass_of_the_generator():
    def generator_products(fakes_at_once):
        gan = make_gan(n_dis=3, fakes_at_once=fakes_at_once)
        jaxpr = compiled_jaxpr(gan)
        return sum(1 for eqn in equations(jaxpr) if is_product_of(eqn, 'Generator'))

    apart, together = generator_products(False), generator_products(True)
    assert together < apart


def compiled_jaxpr(gan):
    def step(state, image, key):
        return gan.train_step(state, {'image': image}, jax.random.wrap_key_data(key))

    mapped = jax.vmap(step, (None, 0, None), axis_name='batch', axis_size=1)
    return jax.make_jaxpr(mapped)(filled(gan), images(3)[None], KEY).jaxpr


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            if hasattr(value, 'jaxpr'):
                yield from equations(value.jaxpr)


def is_product_of(eqn, module):
    is_product = eqn.primitive.name in ('dot_general', 'conv_general_dilated')
    return is_product and f'{module}' in str(eqn.source_info.name_stack)


def test_fakes_at_once_refuses_singular_vectors_that_move_from_pass_to_pass(own_errors):
    config = base.get_config()
    config.fakes_at_once = True
    config.model.spectral_updates = 'per_forward'
    settings.players(config)
    config.model.gen_normalization = 'spectral'
    with pytest.raises(ValueError, match='fakes_at_once'):
        settings.players(config)
