"""Gradient descent on a batch of latents, compiled once for all batches of an inversion."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array

from snjax import parallel


class Problem(NamedTuple):
    """Inputs of a batch's descent, constant over its steps.

    A pytree, so that weights and matrices are arguments of the program instead of constants in it.

    Attributes:
        generate: z (b, d), and labels (b,) if there are any, to images.
        apply: images to measurements.
        measured: the measurements, (b, ...).
        labels: classes (b,), or None.
    """

    generate: Partial
    apply: Partial
    measured: Any
    labels: Any


class State(NamedTuple):
    """State of a descent: z, the optimizer's state, and the best z so far with its objective."""

    z: Array
    adam: optax.OptState
    best_z: Array
    best: Array


class Descent:
    """Descends one batch per call, with two programs that are compiled for the first batch.

    Args:
        objective: (problem, z) to the objective of each image (b,) and the images.
        optimizer: of z.
        project: applied to z after every step.
        num_steps: steps per batch.
    """

    def __init__(
        self,
        objective: Callable[[Problem, Array], tuple[Array, Array]],
        optimizer: optax.GradientTransformation,
        project: Callable[[Array], Array],
        num_steps: int,
    ):
        self._objective, self._optimizer, self._project = objective, optimizer, project
        per_call = math.gcd(num_steps, parallel.default_steps_per_call())
        self._num_calls, self._per_call = num_steps // per_call, per_call
        self._programs = None

    def __call__(self, problem: Problem, z: Array) -> tuple[Array, Array, Array]:
        """The best z, their images and their objectives."""
        state = State(z, self._optimizer.init(z), z, jnp.full(len(z), jnp.inf))
        if self._programs is None:
            self._programs = (
                parallel.compile(jax.jit(self._steps).lower(problem, state)),
                parallel.compile(jax.jit(self._finish).lower(problem, state), quickly=True),
            )
        steps, finish = self._programs
        for _ in range(self._num_calls):
            state = steps(problem, state)
        return finish(problem, state)

    def _steps(self, problem, state):
        def step(state, _):
            return self._step(problem, state), None

        return parallel.scan_or_unroll(step, state, None, self._per_call)[0]

    def _step(self, problem, state):
        def total(z):
            # Each objective depends on its own z only, so the gradient of the sum has them all.
            values, _ = self._objective(problem, z)
            return values.sum(), values

        gradient, values = jax.grad(total, has_aux=True)(state.z)
        is_better = values < state.best
        updates, adam = self._optimizer.update(gradient, state.adam)
        moved: Any = optax.apply_updates(state.z, updates)
        return State(
            z=self._project(moved),
            adam=adam,
            best_z=jnp.where(is_better[:, None], state.z, state.best_z),
            best=jnp.where(is_better, values, state.best),
        )

    def _finish(self, problem, state):
        """Compares the best z with the last one, which no step evaluated, and generates images."""

        def twice(tree):
            return jax.tree.map(lambda x: jnp.concatenate([x, x]), tree)

        doubled = problem._replace(measured=twice(problem.measured), labels=twice(problem.labels))
        z = jnp.concatenate([state.best_z, state.z])
        values, images = self._objective(doubled, z)
        is_last = values[len(state.z) :] < values[: len(state.z)]
        pick = jnp.arange(len(state.z)) + len(state.z) * is_last
        return z[pick], images[pick], values[pick]
