"""Costs read off a jaxpr: counted by hand, and memory against XLA's own analysis."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from snjax import parallel
from snjax.nn import layers
from snjax.parallel import cost


def jaxpr_of(function, *shapes):
    return jax.make_jaxpr(function)(*(jnp.zeros(shape) for shape in shapes)).jaxpr


def test_matrix_products():
    assert cost.flops(jaxpr_of(jnp.dot, (3, 5), (5, 7))) == 2 * 3 * 5 * 7
    batched = jaxpr_of(lambda a, b: jnp.einsum('bij,bjk->bik', a, b), (2, 3, 5), (2, 5, 7))
    assert cost.flops(batched) == 2 * 2 * 3 * 5 * 7


def conv(x, kernel, strides=(1, 1), groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        feature_group_count=groups,
    )


@pytest.mark.parametrize('strides', [(1, 1), (2, 2)])
def test_convolution_and_both_its_gradients_cost_the_same(strides):
    once = 2 * 4 * (8 // strides[0]) ** 2 * 3 * 3 * 5 * 6

    def loss(x, kernel):
        return conv(x, kernel, strides).sum()

    shapes = (4, 8, 8, 5), (3, 3, 5, 6)
    assert cost.flops(jaxpr_of(loss, *shapes)) == once
    # Zeros between the pixels of a strided convolution's gradient are not work.
    both, kernel = (jax.value_and_grad(loss, argnums=a) for a in ((0, 1), 1))
    assert cost.flops(jaxpr_of(both, *shapes)) == 3 * once
    assert cost.flops(jaxpr_of(kernel, *shapes)) == 2 * once


def test_groups_see_their_own_channels():
    jaxpr = jaxpr_of(lambda x, k: conv(x, k, groups=2), (1, 4, 4, 6), (3, 3, 3, 8))
    assert cost.flops(jaxpr) == 2 * 4 * 4 * 3 * 3 * 3 * 8


def test_transposed_convolution_counts_the_inputs_pixels():
    def transposed(x, kernel):
        return lax.conv_transpose(x, kernel, (2, 2), 'SAME')

    assert cost.flops(jaxpr_of(transposed, (1, 4, 4, 3), (4, 4, 3, 8))) == 2 * 4 * 4 * 16 * 3 * 8


def test_loops_count_by_their_length_and_a_branch_by_the_dearest():
    def loop(a):
        return lax.scan(lambda c, _: (c @ a, None), a, None, 7)[0]

    assert cost.flops(jaxpr_of(loop, (4, 4))) == 7 * 2 * 4**3

    def branch(a):
        return lax.cond(a[0, 0] > 0, lambda a: a @ a, lambda a: a @ (a @ a), a)

    assert cost.flops(jaxpr_of(branch, (4, 4))) == 2 * 2 * 4**3


class Net(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.relu(layers.Conv(self.width, 3, name='first')(x))
        return layers.Dense(2, name='last')(x.mean((1, 2)))


def test_layers_go_by_their_path_with_their_gradients():
    net, x = Net(), jnp.zeros((2, 8, 8, 3))
    variables = net.init(jax.random.key(0), x)

    def loss(variables):
        return jax.jit(net.apply)(variables, x).sum()

    found = cost.flops_by_layer(jax.make_jaxpr(jax.value_and_grad(loss))(variables).jaxpr)
    first, last = 2 * 2 * 64 * 27 * 8, 2 * 2 * 8 * 2
    # The image has no gradient.
    assert found == {'Net/first': 2 * first, 'Net/last': 3 * last}


def test_bytes_of_arrays_and_shapes():
    tree = {'a': jnp.zeros((3, 4)), 'b': jax.ShapeDtypeStruct((5,), jnp.bfloat16)}
    assert cost.bytes_of(tree) == 48 + 10


def test_a_chain_of_products_needs_two_at_a_time():
    def chain(a, b):
        for _ in range(5):
            a = jnp.dot(a, b)
        return a

    size = 4 * 16 * 16
    # The last is the program's result.
    assert cost.temporary_bytes(jaxpr_of(chain, (16, 16), (16, 16))) == 2 * size


def test_elementwise_work_takes_no_memory_of_its_own():
    def function(a):
        return jnp.sum(jnp.exp(a * 2 + 1), axis=0) @ jnp.ones((16, 4))

    # The sum, which the product reads; the ones, which it reads too.
    assert cost.temporary_bytes(jaxpr_of(function, (64, 16))) == 4 * (16 + 16 * 4)


def test_what_the_backward_pass_needs_stays():
    def loss(params, x):
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return x.sum()

    depth, shape = 6, (256, 64)
    grad = jax.make_jaxpr(jax.grad(loss))([jnp.zeros((64, 64))] * depth, jnp.zeros(shape)).jaxpr
    one = 4 * np.prod(shape)
    assert depth * one <= cost.temporary_bytes(grad) <= (2 * depth + 2) * one


def test_a_barrier_is_free_but_what_it_waits_for_is_in_memory():
    def means(weights, parts, wait):
        total = weights * 0
        for part in parts:
            total, part = wait((total, part))
            total = total + jnp.tanh(part @ weights) @ weights
        return total @ weights

    def measure(wait, num):
        arguments = jnp.zeros((64, 64)), jnp.zeros((num, 64, 64))
        return cost.temporary_bytes(
            jax.make_jaxpr(lambda w, p: means(w, p, wait))(*arguments).jaxpr
        )

    one = 4 * 64 * 64
    # Without it, all terms of the sum may have to last until the sum is made.
    assert measure(lambda x: x, 8) >= 8 * one
    assert measure(lax.optimization_barrier, 8) == measure(lax.optimization_barrier, 4) <= 5 * one


def test_rematerialization_shows():
    def block(x, kernel):
        for _ in range(4):
            x = jnp.tanh(x @ kernel)
        return x

    def loss(kernel, x, wrap):
        for _ in range(4):
            x = wrap(block)(x, kernel)
        return x.sum()

    def measure(wrap):
        args = jnp.zeros((32, 32)), jnp.zeros((512, 32))
        return cost.temporary_bytes(
            jax.make_jaxpr(jax.grad(lambda k, x: loss(k, x, wrap)))(*args).jaxpr
        )

    assert measure(jax.checkpoint) < 0.6 * measure(lambda f: f)


@pytest.mark.parametrize('batch_size', [16, 64])
def test_memory_of_a_gradient_is_near_what_xla_takes(batch_size):
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(4):
                x = nn.relu(layers.Conv(32, 3, name=f'conv{i}')(x))
            return x.mean()

    net, x = Deep(), jnp.zeros((batch_size, 16, 16, 32))
    variables = net.init(jax.random.key(0), x)
    grad = jax.grad(net.apply)
    estimate = cost.temporary_bytes(jax.make_jaxpr(grad)(variables, x).jaxpr)
    compiled = parallel.compile(jax.jit(grad).lower(variables, x))
    assert 0.5 < estimate / compiled.memory_analysis().temp_size_in_bytes < 2


def test_a_program_without_products_costs_nothing():
    assert cost.flops(jaxpr_of(lambda x: x + 1, (3,))) == 0.0


def test_what_nothing_depends_on_is_not_counted():
    def function(a):
        unused = a @ a
        return a + 1, jax.jit(lambda b: (b @ b, b.sum()))(a)[1], unused[:0]

    jaxpr = jax.make_jaxpr(lambda a: function(a)[:2])(jnp.zeros((64, 64))).jaxpr
    assert cost.flops(jaxpr) == 0
    assert cost.temporary_bytes(jaxpr) == 0


def exchanges_of(function, *shapes):
    arguments = [jnp.zeros(shape) for shape in shapes]
    return cost.exchanges(jax.make_jaxpr(function, axis_env=[('batch', 4)])(*arguments).jaxpr)


def test_exchanges_wait_for_those_that_they_need():
    def step(a, b):
        first = lax.pmean({'a': a, 'b': b}, 'batch')
        alone = lax.psum(a * 2, 'batch')
        after = jax.jit(lambda x: lax.psum(x.sum(), 'batch'))(first['a'])
        return after + alone.sum() + lax.pmean(after * first['b'], 'batch').sum()

    found = exchanges_of(step, (3, 5), (7,))
    assert sorted((e.turn, e.num_bytes) for e in found) == [
        (0, 28),
        (0, 60),
        (0, 60),
        (1, 4),
        (2, 28),
    ]


def test_exchanges_in_a_loop_come_one_after_the_other():
    def loop(a):
        return lax.scan(lambda c, _: (lax.psum(c, 'batch'), None), a, None, 3)[0]

    assert exchanges_of(loop, (2,)) == [cost.Exchange(8, turn) for turn in range(3)]
    assert exchanges_of(lambda a: (lax.psum(a, 'batch'), a)[1], (2,)) == []  # nobody needs it
