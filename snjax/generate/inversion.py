"""Encoding images and solving inverse problems: find the z whose image has given measurements.

For each image, by gradient descent on z from several starts,

    loss(A(g(z)), y) + prior_weight * energy(z)

with a generator g, an operator A and measurements y, as Bora et al. 2017 (arXiv:1703.08203, eq. 3
and section 3) and their code (github.com/AshishBora/csgm) do with Adam and random restarts. There
are two differences. The loss is a mean over the measured values and the energy a mean over the
entries of z, where theirs are sums, so that weights mean the same for any number of either. And the
rate falls to 0 along half a cosine: Adam's steps do not shrink with the gradient, so at a constant
rate z would end up wandering around the minimum by about the rate.

For Gaussian noise of deviation s on m measured values, 'l2' with prior_weight = 2 s^2 dim_z / m
finds the most probable z. After every step z is projected back into the support of the prior, as
Lipton and Tripathi 2017 (arXiv:1702.04782) clip.

Nothing mixes images (generators use running batch statistics), so the result for an image does not
depend on the others, nor its first starts on the number of starts. Runs on one device.
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
from snjax.generate.descent import Descent, Problem
from snjax.generate.measurements import Operator
from snjax.latents import sampling
from snjax.objectives import reconstruction


class Prior(NamedTuple):
    """A prior distribution of z.

    Attributes:
        start: key and ids (n,) to starts of the descent, (n, d); each from the key of its id.
        energy: z (n, d) to minus its log density up to a constant, divided by d, (n,).
        project: z (n, d) to the nearest z in the support.
    """

    start: Callable[[Key[Array, ''], Int[Array, ' n']], Float[Array, 'n d']]
    energy: Callable[[Float[Array, 'n d']], Float[Array, ' n']]
    project: Callable[[Float[Array, 'n d']], Float[Array, 'n d']]


def normal_prior(dim_z: int) -> Prior:
    """N(0, I): the energy is |z|^2 / (2 d), and the support is everything."""
    return Prior(
        start=lambda rng, ids: sampling.latents(rng, ids, dim_z, 'normal'),
        energy=lambda z: jnp.mean(z**2, axis=1) / 2,
        project=lambda z: z,
    )


def uniform_prior(dim_z: int) -> Prior:
    """U(-1, 1): the energy is 0, and the support is the cube."""
    return Prior(
        start=lambda rng, ids: sampling.latents(rng, ids, dim_z, 'uniform'),
        energy=lambda z: jnp.zeros(len(z)),
        project=lambda z: jnp.clip(z, -1, 1),
    )


PRIORS: dict[str, Callable[[int], Prior]] = {'normal': normal_prior, 'uniform': uniform_prior}


def l2(made: Float[Array, 'n *shape'], real: Float[Array, 'n *shape']) -> Float[Array, ' n']:
    """Mean squared difference over the measured values of each image."""
    return jnp.mean((made - real) ** 2, axis=tuple(range(1, made.ndim)))


def l1(made: Float[Array, 'n *shape'], real: Float[Array, 'n *shape']) -> Float[Array, ' n']:
    """Mean absolute difference over the measured values of each image."""
    return jnp.mean(jnp.abs(made - real), axis=tuple(range(1, made.ndim)))


Loss = Callable[[Array, Array], Array]
# GLO's losses of whole images, for operators that keep every pixel in its place.
PYRAMID_LOSSES: dict[str, Loss] = {'lap1': reconstruction.lap1, 'l2_lap1': reconstruction.l2_lap1}
LOSSES: dict[str, Loss] = {'l2': l2, 'l1': l1, **PYRAMID_LOSSES}


class Inversion(NamedTuple):
    """Result of an inversion, for each image.

    Attributes:
        z: the best z over all steps of all starts.
        images: g(z), in [-1, 1].
        objective: the objective at z.
        restart: the start that led to z.
        objectives: the best objective of each start.
    """

    z: Float[np.ndarray, 'n d']
    images: Float[np.ndarray, 'n h w c']
    objective: Float[np.ndarray, ' n']
    restart: Int[np.ndarray, ' n']
    objectives: Float[np.ndarray, 'n r']


def generator(trained: Any, weights: str = 'auto') -> Partial:
    """The generator of a loaded run (`snjax.load`) for `invert`, with its variables as leaves."""
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
    labels: Int[np.ndarray, 'n r'] | Float[np.ndarray, 'n r k'] | None = None,
    batch_size: int = 64,
    say: Callable[[str], None] = lambda line: None,
) -> Inversion:
    """Finds, for each measurement, a z whose image has the same measurement.

    Args:
        generate: z (b, d), and labels (b,) if there are any, to images (b, h, w, c), without mixing
            them. The leaves of a `jax.tree_util.Partial` (the variables in `generator`) become
            arguments of the compiled program, instead of constants in it.
        measured: y, from `operator.degrade`.
        operator: A.
        prior: of z.
        rng: key of the starts.
        loss: a name in `LOSSES`, or a function of generated and real measurements (b, ...) to
            values (b,).
        num_restarts: starts per image, r.
        num_steps: steps of Adam per start.
        lr: Adam's rate at the first step; 0.1 is the rate in the code of Bora et al. for a DCGAN.
        prior_weight: weight of the energy.
        labels: class of each start of each image, for a conditional generator, or its numbers.
        batch_size: number of z per call of the generator; each start of each image is one.
        say: prints a line of progress.

    Raises:
        ValueError: no measurements, an impossible number, or an unknown loss.
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
    run = Descent(objective, optimizer, prior.project, num_steps)
    images = np.repeat(np.arange(num), num_restarts)
    z, flat = (
        np.asarray(starts).reshape(rows, -1),
        None if labels is None else labels.reshape(rows, *labels.shape[2:]),
    )
    # Put on the device once, because the weights of a loaded run lie on the host.
    made_by, taken_by = jax.device_put((_as_partial(generate), _as_partial(operator.apply)))
    parts = []
    for begin in range(0, rows, size):
        # Repeating the last row keeps the shape, so that one program serves; extras are cut.
        ids = np.minimum(np.arange(begin, begin + size), rows - 1)
        classes = None if flat is None else jnp.asarray(flat[ids])
        problem = Problem(made_by, taken_by, jnp.asarray(measured[images[ids]]), classes)
        parts.append(jax.tree.map(np.asarray, run(problem, jnp.asarray(z[ids]))))
        say(f'{min(begin + size, rows)} of {rows} starts')
    z, made, objective = (np.concatenate(x)[:rows] for x in zip(*parts, strict=True))
    return _best_starts(z, made, objective, num)


def loss_of(name: str) -> Loss:
    """The loss by name.

    Raises:
        ValueError: an unknown name.
    """
    if name not in LOSSES:
        raise ValueError(f'loss is {name!r}: accepted are {", ".join(LOSSES)}, as --invert.loss=l2')
    return LOSSES[name]


def check_numbers(
    num_restarts: int, num_steps: int, lr: float, prior_weight: float, batch_size: int
) -> None:
    """Raises a ValueError of one line for a number outside its range."""
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
            f'prior_weight is {prior_weight}: 0 or a positive number is needed '
            '(--invert.prior_weight)'
        )


def _as_partial(function) -> Partial:
    """`function` as a pytree; it has leaves only if it already is a Partial."""
    return function if isinstance(function, Partial) else Partial(function)


def _starts(prior, num, num_restarts, rng):
    """z (num, num_restarts, d); the first starts of an image are the same for any number."""
    ids = jnp.arange(num)
    one = jax.vmap(lambda r: prior.start(jax.random.fold_in(rng, r), ids), out_axes=1)
    return one(jnp.arange(num_restarts))


def _objective(loss, prior, prior_weight, problem: Problem, z):
    """The objective of each image (b,), and the images."""
    labels = () if problem.labels is None else (problem.labels,)
    made = problem.generate(z, *labels)
    value = loss(problem.apply(made), problem.measured) + prior_weight * prior.energy(z)
    return value, made


def _best_starts(z, images, objective, num: int) -> Inversion:
    """The best start of each of `num` images; the starts of an image are consecutive rows."""
    objectives = objective.reshape(num, -1)
    restart = np.argmin(np.nan_to_num(objectives, nan=np.inf), axis=1)
    pick = np.arange(num) * objectives.shape[1] + restart
    made = images[pick].astype(np.float32)
    return Inversion(z[pick], made, objective[pick], restart, objectives)
