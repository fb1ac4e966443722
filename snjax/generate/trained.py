"""A finished or running workdir as something to sample from: `snjax.load('runs/digits').sample(64)`."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from snjax import from_config
from snjax.latents import sampling
from snjax.latents.interpolation import Interpolation, class_path, path
from snjax.latents.sampling import Labels, check_labels
from snjax.runs.checkpoint import load_tree
from snjax.runs.resume import read_config, runs_in

if TYPE_CHECKING:
    from snjax.data import ImageSet

WEIGHTS = ('auto', 'ema', 'raw')


@dataclasses.dataclass(frozen=True)
class TrainedGenerator:
    """A generator from a checkpoint.

    Attributes:
        config: the run's config, as in its `config.json`.
        step: generator updates done at the checkpoint.
        gen: the flax module, for `gen.apply(variables, z, train=False)`.
        raw: its variables as trained: `params` and `batch_stats`.
        ema: their moving average, or None where the run kept none.
    """

    config: Mapping[str, Any]
    step: int
    gen: nn.Module
    raw: Mapping[str, Any]
    ema: Mapping[str, Any] | None

    def variables(self, weights: str = 'auto') -> Mapping[str, Any]:
        """The generator's variables: 'ema', 'raw', or 'auto' for the EMA where there is one.

        Raises:
            ValueError: 'ema' was asked of a run without one, or the name is another.
        """
        if weights not in WEIGHTS:
            raise ValueError(f'weights {weights!r}: accepted are {", ".join(WEIGHTS)}')
        if weights == 'ema' and self.ema is None:
            raise ValueError(
                'weights ema: this run kept no moving average (optimizer.ema_decay is 0); use raw or auto'
            )
        return self.raw if weights == 'raw' or self.ema is None else self.ema

    def kept(self, weights: str) -> str:
        """Which variables `weights` means here: 'ema' or 'raw'."""
        return 'raw' if self.variables(weights) is self.raw else 'ema'

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters that `sample` uses unless told otherwise."""
        return self.variables()['params']

    @property
    def num_classes(self) -> int:
        """Classes that the generator is told of; 0 for an unconditional one."""
        return self.config['model']['num_classes']

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' numbers: a workdir keeps no names. `training_set().class_names` are the set's."""
        return tuple(str(i) for i in range(self.num_classes))

    def latents(
        self, num: int, *, seed: int = 0, truncation: float | None = None
    ) -> Float[np.ndarray, 'n d']:
        """`num` latents; the first n of a seed are the same whatever `num` is.

        Args:
            num: how many.
            seed: of the draw.
            truncation: see `snjax.latents.sampling.latents`.
        """
        if num < 1:
            raise ValueError(f'num {num}: at least 1 image is needed')
        model, key = self.config['model'], sampling.seed_key(seed, 'sample')
        ids = jnp.arange(num)
        return np.asarray(_latents(key, ids, model['dim_z'], model['latent'], truncation))

    def generate(
        self,
        z: Float[Array | np.ndarray, 'n d'],
        labels: Labels | None = None,
        *,
        weights: str = 'auto',
        batch_size: int = 250,
    ) -> Float[np.ndarray, 'n h w c']:
        """Images in [-1, 1] of the latents `z`, with the running batch statistics.

        Args:
            z: latents.
            labels: of a conditional generator: one class for all, classes (n,), or float weights (n, num_classes) that
                mix classes (they need not be positive nor sum to 1); None for all classes in turn.
            weights: see `variables`.
            batch_size: images a call of the generator.
        """
        z, dim_z = np.asarray(z, np.float32), self.config['model']['dim_z']
        if len(z) < 1 or batch_size < 1:
            raise ValueError(f'num {len(z)}, batch_size {batch_size}: at least 1 image is needed')
        if z.shape[1] != dim_z:
            raise ValueError(f'z has {z.shape[1]} entries: this generator takes {dim_z}')
        inputs = z, check_labels(labels, len(z), self.num_classes)
        variables = self.variables(weights)
        size = min(batch_size, len(z))
        made = []
        for start in range(0, len(z), size):
            # Every call has the same shape, so that one program serves; what is over is cut.
            ids = np.minimum(np.arange(start, start + size), len(z) - 1)
            batch = jax.tree.map(lambda x, ids=ids: x[ids], inputs)
            made.append(np.asarray(_generate(self.gen, variables, *batch)))
        return np.concatenate(made)[: len(z)]

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        labels: Labels | None = None,
        weights: str = 'auto',
        truncation: float | None = None,
        batch_size: int = 250,
    ) -> Float[np.ndarray, 'n h w c']:
        """`num` images in [-1, 1]: `generate` of `latents`.

        The first n images of a seed are the same z (and class) whatever `num` and `batch_size` are.

        Args:
            num: how many.
            seed: of z.
            labels: see `generate`; None for all classes in turn where there are any.
            weights: see `variables`.
            truncation: see `snjax.latents.sampling.latents`.
            batch_size: images a call of the generator.
        """
        if num < 1 or batch_size < 1:
            raise ValueError(f'num {num}, batch_size {batch_size}: at least 1 image is needed')
        z = self.latents(num, seed=seed, truncation=truncation)
        return self.generate(z, labels, weights=weights, batch_size=batch_size)

    def interpolate(
        self,
        num: int,
        frames: int,
        *,
        points: int = 2,
        classes: int | Sequence[int] | None = None,
        how: str = 'slerp',
        closed: bool = False,
        seed: int = 0,
        weights: str = 'auto',
        truncation: float | None = None,
        batch_size: int = 250,
    ) -> Interpolation:
        """`num` ways through latents, through classes, or through both at once.

        Args:
            num: rows, each with latents of its own: row i goes through those numbered i points to (i+1) points - 1.
            frames: images of a row.
            points: latents that a row goes through; with 1 they stay, and the classes alone change.
            classes: of a conditional generator: a class for all; several to morph from one into the next, by weights
                that mix two at a time; None for one class a row, all classes in turn.
            how: 'slerp' or 'lerp' between latents. Classes are mixed in line.
            closed: come back to the start, as an endless animation wants it (`snjax.latents.interpolation.path`).
            seed, weights, truncation, batch_size: see `sample`.

        Raises:
            ValueError: for numbers below 1, classes that there are none of, or slerp between uniform latents.
        """
        if num < 1 or points < 1:
            raise ValueError(f'num {num}, points {points}: at least 1 row and 1 point are needed')
        drawn = self.latents(num * points, seed=seed, truncation=truncation)
        corners = drawn.reshape(num, points, -1)
        return self.between(
            corners,
            frames,
            classes=classes,
            how=how,
            closed=closed,
            weights=weights,
            batch_size=batch_size,
        )

    def between(
        self,
        corners: Float[Array | np.ndarray, 'n k d'],
        frames: int,
        *,
        classes: int | Sequence[int] | None = None,
        how: str = 'slerp',
        closed: bool = False,
        weights: str = 'auto',
        batch_size: int = 250,
    ) -> Interpolation:
        """`interpolate` through latents of one's own, k a row: of encoded images, say (`snjax.generate.inversion`)."""
        if (
            how == 'slerp'
            and np.shape(corners)[1] > 1
            and self.config['model']['latent'] == 'uniform'
        ):
            raise ValueError(
                'path slerp leaves the cube that uniform latents fill: use lerp (--sample.path=lerp)'
            )
        num = len(corners)
        z = path(np.asarray(corners).swapaxes(0, 1), frames, how=how, closed=closed).swapaxes(0, 1)
        labels = class_path(classes, num, frames, self.num_classes, closed=closed)
        told = None if labels is None else labels.reshape(num * frames, -1)
        flat = z.reshape(num * frames, -1)
        images = self.generate(flat, told, weights=weights, batch_size=batch_size)
        return Interpolation(images.reshape(num, frames, *images.shape[1:]), z, labels)

    def training_set(
        self, *, data_dir: str | None = None, cache_dir: str | None = None
    ) -> 'ImageSet':
        """The images that the run was trained on, found by its own config.

        `data_dir` and `cache_dir` replace the places where the run found its data, which may not be on this machine.
        """
        places = {'data_dir': data_dir, 'cache_dir': cache_dir}
        given = {k: v for k, v in places.items() if v is not None}
        return from_config.image_set({'data': {**self.config['data'], **given}})

    def export(self, path: str | pathlib.Path, weights: str = 'auto') -> pathlib.Path:
        """Writes the generator's variables as safetensors, named by their path ('params/dense/kernel').

        The file's metadata hold the config, the step and which weights they are.
        """
        from safetensors.numpy import save_file

        flat = flatten_dict(self.variables(weights), sep='/')
        arrays = {k: np.ascontiguousarray(v) for k, v in flat.items()}
        about = {'config': json.dumps(self.config), 'step': str(self.step)}
        about['weights'] = self.kept(weights)
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, path, metadata=about)
        return path


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _latents(rng, ids, dim_z, latent, truncation):
    return sampling.latents(rng, ids, dim_z, latent, truncation)


@functools.partial(jax.jit, static_argnums=0)
def _generate(gen, variables, z, labels):
    return sampling.generate(gen, variables, z, labels)


def _network_keys(config) -> str:
    data = {key: config['data'][key] for key in ('image_size', 'channels')}
    return json.dumps({'model': dict(config['model']), 'data': data}, sort_keys=True)


@functools.cache
def _shared_generator(keys: str) -> nn.Module:
    """One module for all checkpoints of a network: with layer classes of its own each would be compiled anew."""
    return from_config.generator(json.loads(keys))


def load(
    workdir: str | pathlib.Path, step: int | None = None, folder: str = 'checkpoints'
) -> TrainedGenerator:
    """The generator of a run.

    Args:
        workdir: of the run.
        step: which checkpoint; None for the newest good one.
        folder: 'checkpoints', or 'best' for the one with the best score, where scores were taken in training.

    Raises:
        FileNotFoundError: there is no run, or no checkpoint of that step.
        ValueError: the checkpoint is damaged.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / 'config.json').is_file():
        raise FileNotFoundError(
            f'{workdir} holds no run: there is no config.json; give the --workdir of a training'
        )
    members = runs_in(workdir)
    if members != [workdir]:
        raise FileNotFoundError(
            f'{workdir} holds {len(members)} runs of one program: give one of them, as --workdir={members[0]}'
        )
    config = read_config(workdir / 'config.json')
    return from_tree(config, *load_tree(workdir / folder, step))


def from_tree(config: Mapping[str, Any], step: int, tree: Mapping[str, Any]) -> TrainedGenerator:
    """The generator of a state as nested dicts: of `checkpoint.load_tree`, or of `as_tree` in training."""
    gen = _shared_generator(_network_keys(config))
    raw = {'params': tree['gen']['params'], **tree['gen'].get('model_state', {})}
    if 'table' in tree:
        from snjax.generate.glo import TrainedGlo

        return TrainedGlo(config, step, gen, raw, None, tree['table']['z'])
    return TrainedGenerator(config, step, gen, raw, tree.get('ema') or None)
