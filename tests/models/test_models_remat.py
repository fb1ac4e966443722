"""Recomputing blocks in the backward pass changes the memory and nothing else."""

import jax
import numpy as np
import pytest

from helpers.networks import (
    DIM_Z,
    drawn,
    images,
    jit,
    normal,
    shapes,
    small_discriminator,
    small_generator,
)
from snjax import models
from snjax.parallel import cost


@pytest.mark.parametrize('layers', ['SPECTRAL', pytest.param('LAYER_NORM', marks=pytest.mark.slow)])
def test_remat_changes_the_memory_alone(layers):
    """Variables and gradients of both players are the same with less memory."""

    def players(remat):
        gen = small_generator(architecture='resnet', remat=remat)
        dis = small_discriminator(
            architecture='resnet', remat=remat, layers=getattr(models, layers), dis_width=8
        )
        return gen, dis

    z = normal(4, DIM_Z)
    gen, dis = players(False)
    variables = drawn(shapes(gen, z), neutral=False)
    judge = drawn(shapes(dis, images(4, 16, 16, 3)), neutral=False)

    def gradients(remat):
        gen, dis = players(remat)

        def loss(gen_params, dis_params):
            fake, _ = gen.apply(
                {**variables, 'params': gen_params}, z, train=True, mutable=['batch_stats']
            )
            return dis.apply({**judge, 'params': dis_params}, fake, train=True).sum()

        return jax.grad(loss, argnums=(0, 1))

    params = variables['params'], judge['params']
    for a, b, x in zip(players(False), players(True), (z, images(4, 16, 16, 3)), strict=True):
        assert shapes(a, x) == shapes(b, x)
    # Traced once, for the numbers and for the memory.
    traces = [jit(gradients(remat)).trace(*params) for remat in (False, True)]
    plain, saving = (traced.lower().compile()(*params) for traced in traces)
    for p, q in zip(jax.tree.leaves(plain), jax.tree.leaves(saving), strict=True):
        np.testing.assert_allclose(q, p, rtol=1e-4, atol=1e-5 * float(np.abs(p).max() + 1e-9))
    kept = [cost.temporary_bytes(traced.jaxpr.jaxpr) for traced in traces]
    assert kept[1] < 0.8 * kept[0]


def test_remat_is_for_the_resnets_alone(own_errors):
    with pytest.raises(ValueError, match=r'--config\.model\.remat'):
        small_generator(architecture='sngan_cnn', remat=True)
