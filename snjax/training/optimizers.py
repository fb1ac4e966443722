"""Optimizers by name, and the learning-rate schedule."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Transformation = optax.GradientTransformation


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


def linear_decay(lr: float, decay_start: int, decay_end: int) -> Callable[[jax.Array], jax.Array]:
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
