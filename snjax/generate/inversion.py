"""Encoding and inverse problems: the z of a generator g whose image, measured by an operator A, is what was measured.

For each image, by gradient descent on z from several starts,

    loss(A(g(z)), y) + prior_weight * energy(z)

as Bora et al. 2017 (arXiv:1703.08203, eq. 3 and section 3) and their code (github.com/AshishBora/csgm) do with Adam and
random restarts. We depart from it in two points: the loss is a mean over the measured values and the energy a mean over
z's entries where theirs are sums, so that weights mean the same for any number of either; and the rate falls to 0 along
half a cosine. Adam's steps do not shrink as the gradient does, so at a constant rate z ends wandering around the
minimum by about the rate.

For Gaussian noise of deviation s on m measured values, 'l2' with prior_weight = 2 s^2 dim_z / m finds the most probable
z. What leaves the prior's support is projected back after every step, as Lipton and Tripathi 2017 (arXiv:1702.04782)
clip.

Nothing mixes images (generators take their running batch statistics), so an image's result does not depend on the
others, nor its first starts on how many follow. Runs on one device.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key

from snjax import parallel
from snjax.generate.measurements import Operator
from snjax.latents import sampling
from snjax.objectives import reconstruction


class Prior(NamedTuple):
    """What is known of z.

    Attributes:
        start: key and ids (n,) to where the descent starts, (n, d); each example from its id's own key.
        energy: z (n, d) to minus its log density up to a constant, divided by d, (n,).
        project: z (n, d) to the nearest in the prior's support.
    """

    start: Callable[[Key[Array, ''], Int[Array, ' n']], Float[Array, 'n d']]
    energy: Callable[[Float[Array, 'n d']], Float[Array, ' n']]
    project: Callable[[Float[Array, 'n d']], Float[Array, 'n d']]


def normal_prior(dim_z: int) -> Prior:
    """N(0, I): the energy is |z|^2 / (2 d), and every z is possible."""
    return Prior(
        start=lambda rng, ids: sampling.latents(rng, ids, dim_z, 'normal'),
        energy=lambda z: jnp.mean(z**2, axis=1) / 2,
        project=lambda z: z,
    )


def uniform_prior(dim_z: int) -> Prior:
    """U(-1, 1): every z in the cube is as good as another, and none is possible outside."""
    return Prior(
        start=lambda rng, ids: sampling.latents(rng, ids, dim_z, 'uniform'),
        energy=lambda z: jnp.zeros(len(z)),
        project=lambda z: jnp.clip(z, -1, 1),
    )


PRIORS: dict[str, Callable[[int], Prior]] = {'normal': normal_prior, 'uniform': uniform_prior}


def l2(made: Float[Array, 'n *shape'], real: Float[Array, 'n *shape']) -> Float[Array, ' n']:
    """Mean squared difference of each image's measured values."""
    return jnp.mean((made - real) ** 2, axis=tuple(range(1, made.ndim)))


def l1(made: Float[Array, 'n *shape'], real: Float[Array, 'n *shape']) -> Float[Array, ' n']:
    """Mean absolute difference of each image's measured values."""
    return jnp.mean(jnp.abs(made - real), axis=tuple(range(1, made.ndim)))


Loss = Callable[[Array, Array], Array]
# GLO's, of whole images: for operators that leave every pixel where it is.
PYRAMID_LOSSES: dict[str, Loss] = {'lap1': reconstruction.lap1, 'l2_lap1': reconstruction.l2_lap1}
LOSSES: dict[str, Loss] = {'l2': l2, 'l1': l1, **PYRAMID_LOSSES}


class Inversion(NamedTuple):
    """What was found for each image.

    Attributes:
        z: the best of all steps of all starts.
        images: g(z), in [-1, 1].
        objective: its value there.
        restart: the start that led there.
        objectives: the best value from each start.
    """

    z: Float[np.ndarray, 'n d']
    images: Float[np.ndarray, 'n h w c']
    objective: Float[np.ndarray, ' n']
    restart: Int[np.ndarray, ' n']
    objectives: Float[np.ndarray, 'n r']


class _Problem(NamedTuple):
    """What a batch's descent takes and does not change; a pytree, so that weights and matrices are no constants."""

    generate: Partial
    apply: Partial
    measured: Any
    labels: Any


class _State(NamedTuple):
    """A batch's descent: where it is, Adam's moments, and the best z so far with its objective."""

    z: Array
    adam: optax.OptState
    best_z: Array
    best: Array


def generator(trained: Any, weights: str = 'auto') -> Partial:
    """The generator of a loaded run (`snjax.load`) as `invert` takes it: its variables are leaves."""
    generate = functools.partial(sampling.generate, trained.gen)
    return Partial(generate, trained.variables(weights))


def invert(
    generate: Callable[..., Float[Array, 'n h w c']],
    measured: Float[Array | np.ndarray, 'n *shape'],
    operator: Operator,
    prior: Prior,
    *,
    rng: Key[Array, ''],
    loss: str | Loss = 'l2',
    num_restarts: int = 4,
    num_steps: int = 300,
    lr: float = 0.1,
    prior_weight: float = 1e-3,
    labels: Int[np.ndarray, 'n r'] | None = None,
    batch_size: int = 64,
    say: Callable[[str], None] = lambda line: None,
) -> Inversion:
    """Finds, for each measurement, a z whose image measures the same.

    Args:
        generate: z (b, d), and labels (b,) where there are any, to images (b, h, w, c), without mixing them. A
            `jax.tree_util.Partial` gets its leaves (as `generator` its variables) as arguments of the compiled program,
            instead of constants in it.
        measured: y, as `operator.degrade` gives it.
        operator: A.
        prior: of z.
        rng: key of the starts.
        loss: a name in `LOSSES`, or any function of made and real measurements (b, ...) to a value each (b,).
        num_restarts: starts of each image, r.
        num_steps: steps of Adam from each.
        lr: Adam's rate at the first step; 0.1 is what the code of Bora et al. takes for a DCGAN.
        prior_weight: of the energy.
        labels: the class that each start of each image is in, for a conditional generator.
        batch_size: z in one call of the generator; each start of each image is one.
        say: is told how far it is, in lines.

    Raises:
        ValueError: no measurements, numbers that make no descent, or an unknown loss.
    """
    check_numbers(num_restarts, num_steps, lr, prior_weight, batch_size)
    if not callable(loss):
        loss = loss_of(loss)
    measured, num = np.asarray(measured, np.float32), len(measured)
    if not num:
        raise ValueError('measured is empty: at least 1 image is needed')
    starts = parallel.run_once(functools.partial(_starts, prior, num, num_restarts), rng)
    rows = num * num_restarts
    size = min(batch_size, rows)
    optimizer = optax.adam(optax.cosine_decay_schedule(lr, num_steps))
    objective = functools.partial(_objective, loss, prior, prior_weight)
    run = _Runner(objective, optimizer, prior.project, num_steps)
    images = np.repeat(np.arange(num), num_restarts)
    z, told = np.asarray(starts).reshape(rows, -1), None if labels is None else labels.reshape(rows)
    # Put on the device once: the weights of a loaded run lie on the host.
    made_by, taken_by = jax.device_put((_leaves(generate), _leaves(operator.apply)))
    found = []
    for begin in range(0, rows, size):
        # Every batch has the same shape, so that one program serves; what is over is cut.
        ids = np.minimum(np.arange(begin, begin + size), rows - 1)
        classes = None if told is None else jnp.asarray(told[ids], jnp.int32)
        problem = _Problem(made_by, taken_by, jnp.asarray(measured[images[ids]]), classes)
        found.append(jax.tree.map(np.asarray, run(problem, jnp.asarray(z[ids]))))
        say(f'{min(begin + size, rows)} of {rows} starts')
    z, made, objective = (np.concatenate(x)[:rows] for x in zip(*found, strict=True))
    return _best_starts(z, made, objective, num)


def loss_of(name: str) -> Loss:
    """The loss of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in LOSSES:
        raise ValueError(f'loss is {name!r}: accepted are {", ".join(LOSSES)}, as --invert.loss=l2')
    return LOSSES[name]


def check_numbers(
    num_restarts: int, num_steps: int, lr: float, prior_weight: float, batch_size: int
) -> None:
    """Raises a ValueError of one line for numbers that make no descent."""
    whole = {'restarts': num_restarts, 'steps': num_steps, 'batch_size': batch_size}
    for name, value in whole.items():
        if value < 1:
            raise ValueError(
                f'{name} is {value}: a whole number from 1 is needed (--invert.{name})'
            )
    if not 0 < lr < math.inf:
        raise ValueError(f'lr is {lr}: a positive number is needed (--invert.lr)')
    if not 0 <= prior_weight < math.inf:
        raise ValueError(
            f'prior_weight is {prior_weight}: 0 or a positive number is needed (--invert.prior_weight)'
        )


def _leaves(function) -> Partial:
    """`function` as a pytree: its own leaves if it is a Partial, none otherwise."""
    return function if isinstance(function, Partial) else Partial(function)


def _starts(prior, num, num_restarts, rng):
    """z (num, num_restarts, d): the first starts of an image are the same however many there are."""
    ids = jnp.arange(num)
    one = jax.vmap(lambda r: prior.start(jax.random.fold_in(rng, r), ids), out_axes=1)
    return one(jnp.arange(num_restarts))


def _objective(loss, prior, prior_weight, problem: _Problem, z):
    """Each image's objective (b,) and the images."""
    told = () if problem.labels is None else (problem.labels,)
    made = problem.generate(z, *told)
    value = loss(problem.apply(made), problem.measured) + prior_weight * prior.energy(z)
    return value, made


class _Runner:
    """Descends a batch: two programs, compiled for the first batch and used for all."""

    def __init__(self, objective, optimizer, project, num_steps: int):
        self._objective, self._optimizer, self._project = objective, optimizer, project
        per_call = math.gcd(num_steps, parallel.default_steps_per_call())
        self._num_calls, self._per_call = num_steps // per_call, per_call
        self._programs = None

    def __call__(self, problem: _Problem, z: Array) -> tuple[Array, Array, Array]:
        """The best z, the images and the objectives."""
        state = _State(z, self._optimizer.init(z), z, jnp.full(len(z), jnp.inf))
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
            # An image's objective depends on its own z alone: the sum's gradient is each one's.
            values, _ = self._objective(problem, z)
            return values.sum(), values

        gradient, values = jax.grad(total, has_aux=True)(state.z)
        is_better = values < state.best
        updates, adam = self._optimizer.update(gradient, state.adam)
        return _State(
            z=self._project(optax.apply_updates(state.z, updates)),
            adam=adam,
            best_z=jnp.where(is_better[:, None], state.z, state.best_z),
            best=jnp.where(is_better, values, state.best),
        )

    def _finish(self, problem, state):
        """Looks at the last z as well, which no step has, and makes the images."""

        def twice(tree):
            return jax.tree.map(lambda x: jnp.concatenate([x, x]), tree)

        doubled = problem._replace(measured=twice(problem.measured), labels=twice(problem.labels))
        z = jnp.concatenate([state.best_z, state.z])
        values, images = self._objective(doubled, z)
        is_last = values[len(state.z) :] < values[: len(state.z)]
        pick = jnp.arange(len(state.z)) + len(state.z) * is_last
        return z[pick], images[pick], values[pick]


def _best_starts(z, images, objective, num: int) -> Inversion:
    """The best start of each of `num` images, from rows in which an image's starts follow one another."""
    objectives = objective.reshape(num, -1)
    restart = np.argmin(np.nan_to_num(objectives, nan=np.inf), axis=1)
    pick = np.arange(num) * objectives.shape[1] + restart
    made = images[pick].astype(np.float32)
    return Inversion(z[pick], made, objective[pick], restart, objectives)
