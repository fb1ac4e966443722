"""One run: a `Gan` trained on fresh points of a set, all its updates in one compiled call."""

import functools
import time
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.toy_mixtures.methods import METHODS, make_gan
from benchmarks.toy_mixtures.results import Results
from benchmarks.toy_mixtures.sets import SETS
from experiments.gan import Gan
from snjax import parallel
from snjax.data.sampler import example_keys
from snjax.latents.sampling import seed_key

NUM_SAMPLES = 10_000


def run(results: Results, method: str, sets: Iterable[str], seeds: Iterable[int]) -> None:
    """Trains, scores and prints a method on every set and seed that `results` does not have yet."""
    program = None
    for toy_set in sets:
        for seed in seeds:
            if results.has(method, toy_set, seed):
                continue
            if program is None:
                program = Program(make_gan(METHODS[method], results.num_steps), results.num_steps)
            began = time.perf_counter()
            points = program(toy_set, seed)
            row = {'method': method, 'set': toy_set, 'seed': seed, **SETS[toy_set].score(points)}
            row['is_finite'] = bool(np.isfinite(points).all())
            row['seconds'] = round(time.perf_counter() - began, 1)
            results.write(row, points)
            print(
                f'{method} {toy_set} seed {seed}: {row["modes"]} of {row["num_modes"]} modes, '
                f'{100 * row["good"]:.1f} % good{"" if row["is_finite"] else ", diverged"}, '
                f'{row["seconds"]} s',
                flush=True,
            )


class Program:
    """`num_steps` updates of `gan` as one compiled program that serves every set and every seed.

    Args:
        gan: of images (1, 1, 2).
        num_steps: generator updates.
    """

    def __init__(self, gan: Gan, num_steps: int):
        self._gan, self._num_steps = gan, num_steps
        keys = jax.random.key(0), jax.random.key(0)
        state = jax.eval_shape(gan.init, keys[0])
        self._init = _quickly_compiled(gan.init, keys[0])
        self._sample = _quickly_compiled(
            functools.partial(gan.sample, num=NUM_SAMPLES), state, keys[1]
        )
        self._train = None

    def __call__(self, toy_set: str, seed: int) -> np.ndarray:
        """Points (NUM_SAMPLES, 2) of the trained generator; not finite if the run diverged."""
        state = parallel.replicate(self._init(seed_key(seed, 'init')))
        data: Any = {role: jax.random.key_data(seed_key(seed, role)) for role in ('data', 'train')}
        data = parallel.replicate({**data, 'set': np.int32(list(SETS).index(toy_set))})
        if self._train is None:
            self._train = parallel.DataParallel(self._steps).compile(state, data)
        state, _ = self._train(state, data)
        points = self._sample(parallel.first_replica(state), seed_key(seed, 'sample'))
        return np.asarray(points)[:, 0, 0]

    def _steps(self, state: Any, data: dict[str, jax.Array]):
        data_rng, train_rng = (jax.random.wrap_key_data(data[k]) for k in ('data', 'train'))
        gan, ids = self._gan, parallel.example_ids(self._gan.batch_size)

        def draw(key):
            return lax.switch(data['set'], [toy_set.draw for toy_set in SETS.values()], key)

        def batch(number):
            keys = example_keys(jax.random.fold_in(data_rng, number), ids)
            return jax.vmap(draw)(keys)[:, None, None]

        def step(state, _):
            numbers = state.step * gan.batches_per_step + jnp.arange(gan.batches_per_step)
            return gan.train_step(state, {'image': jax.vmap(batch)(numbers)}, train_rng)

        # A rolled loop: on a CPU it is slow only for convolutions.
        state, metrics = lax.scan(step, state, None, self._num_steps)
        return state, jax.tree.map(jnp.mean, metrics)


def _quickly_compiled(function, *args):
    """A program compiled quickly, as by `parallel.run_once`, because it runs seldom."""
    options: Any = (
        {'xla_backend_optimization_level': '0'} if jax.default_backend() == 'cpu' else None
    )
    return jax.jit(function).lower(*args).compile(compiler_options=options)
