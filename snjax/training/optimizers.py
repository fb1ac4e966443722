"""Optimizers by name, and schedules of the generator updates done."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Transformation = optax.GradientTransformation
Schedule = Callable[[jax.Array], jax.Array]  # of the generator updates done


def scale_by_chainer_adam(beta1: float, beta2: float, eps: float) -> Transformation:
    """Adam with epsilon where Chainer and TensorFlow put it; the state is `optax.scale_by_adam`'s.

    The form at the end of section 2 of Kingma and Ba 2015 (arXiv:1412.6980): the update of step t
    is sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps). In their Algorithm 1, which optax and
    PyTorch follow, that epsilon would be eps / sqrt(1 - beta2^t): larger at the start, by a factor
    of 32 for beta2 = .999.
    """

    def correction(beta, t):  # 1 - beta^t, exact in float32 for a beta near 1, too
        return -jnp.expm1(t * (math.log(beta) if beta else -math.inf))

    def update(updates, state, params=None):
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(updates, state.mu, beta1, 1)
        nu = optax.tree.update_moment_per_elem_norm(updates, state.nu, beta2, 2)
        t = count.astype(jnp.float32)
        scale = jnp.sqrt(correction(beta2, t)) / correction(beta1, t)
        moved = jax.tree.map(lambda m, v: scale * (m / (jnp.sqrt(v) + eps)), mu, nu)
        return moved, optax.ScaleByAdamState(count, mu, nu)

    return Transformation(optax.scale_by_adam(beta1, beta2, eps).init, update)


def scale_by_scheduled_adam(beta1: float, beta2: Schedule, eps: float) -> Transformation:
    """Adam whose beta2 follows a schedule; the state is `optax.scale_by_adam`'s.

    As PyTorch when its beta2 is changed between updates: the mean of the squared gradients moves by
    the present beta2, and is corrected by its power. `update` takes the keyword `step`.
    """

    def update(updates, state, params=None, *, step, **_):
        return optax.scale_by_adam(beta1, beta2(step), eps).update(updates, state, params)

    # The step is a keyword that optax's type of `update` does not name.
    with_step: Any = update
    return optax.GradientTransformationExtraArgs(optax.scale_by_adam(beta1).init, with_step)


# Where epsilon stands: in Algorithm 1 of Kingma and Ba, or in Chainer's form.
EPS_FORMS: dict[str, Callable[[float, float, float], Transformation]] = {
    'adam': optax.scale_by_adam,
    'chainer': scale_by_chainer_adam,
}
# (beta1, beta2, eps, form of eps) -> gradients to updates not yet scaled by the learning rate.
OPTIMIZERS: dict[str, Callable[[float, float, float, str], Transformation]] = {
    'adam': lambda beta1, beta2, eps, form: EPS_FORMS[form](beta1, beta2, eps),
    'rmsprop': lambda beta1, beta2, eps, form: optax.scale_by_rms(beta2, eps),
    'sgd': lambda beta1, beta2, eps, form: optax.identity(),
}


def linear_decay(lr: float, decay_start: int, decay_end: int) -> Schedule:
    """Constant learning rate until `decay_start`, then linear decay to 0 at `decay_end`.

    Both are in generator updates; 0 and 0 give a constant rate. (`optax.linear_schedule` computes
    1 - done / length where this computes left / length: it rounds differently, and older runs would
    not resume bit for bit.)
    """

    def rate(step):
        if not decay_end:
            return jnp.full((), lr, jnp.float32)
        left = (decay_end - step) / max(1, decay_end - decay_start)
        return lr * jnp.clip(left, 0.0, 1.0).astype(jnp.float32)

    return rate


def burn_in(start: float, end: float, steps: float | int) -> Schedule:
    """From `start` to `end` along half a cosine in `steps` updates, then `end` (R3GAN)."""

    def value(step):
        share = jnp.sin(jnp.pi / 2 * jnp.clip(step / steps, 0.0, 1.0)) ** 2
        return (start + share * (end - start)).astype(jnp.float32)

    return value


def rising_half_life(decay: float, steps: float | int) -> Schedule:
    """Decay of a moving average whose half-life grows from 0 as `burn_in` does, to that of
    `decay`.

    A half-life of a share c of the last one has the decay `decay` ** (1 / c).
    """
    share = burn_in(0.0, 1.0, steps)
    return lambda step: jnp.exp(math.log(decay) / share(step))


def from_update(start: int, value: float) -> Schedule:
    """0 before that many updates, counted from 1, then the value.

    As decay of a moving average: what is averaged itself until then (BigGAN, LeCam).
    """
    return lambda step: jnp.where(step + 1 < start, 0.0, value)


def at(value: float | Schedule, step: jax.Array) -> float | jax.Array:
    """The value of a number or a schedule."""
    return value(step) if callable(value) else value
