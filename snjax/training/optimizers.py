"""Optimizers by name, and the learning-rate schedule."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

# (beta1, beta2, eps) -> gradients to updates that are not yet scaled by the learning rate.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    'adam': optax.scale_by_adam,
    'rmsprop': lambda beta1, beta2, eps: optax.scale_by_rms(beta2, eps),
    'sgd': lambda beta1, beta2, eps: optax.identity(),
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
