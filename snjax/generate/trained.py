"""A trained generator: samples, interpolations, and export of its weights."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

from snjax import from_config
from snjax.from_config import GeneratorInputs
from snjax.generate.view import RunView
from snjax.generate.weights import select
from snjax.latents import sampling
from snjax.latents.interpolation import Interpolation, class_path, number_path, path
from snjax.latents.sampling import Labels
from snjax.runs.images import to_pixels
from snjax.runs.workdir import CHECKPOINTS

# Of an interpolation: one class, several to pass through, rows of numbers, or None.
Classes = int | Sequence[int] | Float[np.ndarray, 'n k'] | None


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedGenerator(RunView):
    """The generator of one checkpoint.

    Attributes:
        config: of the run, as in its `config.json`.
        step: generator updates done.
        gen: the Flax module, for `gen.apply(variables, z, train=False)`.
        raw: its variables as trained: `params` and `batch_stats`; None for the file of a moving
            average.
        ema: their moving average; None if the run kept none.
        workdir: of the run; None for a state that is not of a workdir.
        folder: of its checkpoint in the workdir.
        file: that `export` wrote and this was loaded from; None for a checkpoint.
    """

    config: Mapping[str, Any]
    step: int
    gen: nn.Module
    raw: Mapping[str, Any] | None
    ema: Mapping[str, Any] | None
    workdir: pathlib.Path | None = dataclasses.field(default=None, kw_only=True)
    folder: str = dataclasses.field(default=CHECKPOINTS, kw_only=True)
    file: pathlib.Path | None = dataclasses.field(default=None, kw_only=True)

    def variables(self, weights: str = 'auto') -> Mapping[str, Any]:
        """The generator's variables: 'ema', 'raw', or 'auto' for the EMA if the run kept one.

        Raises:
            ValueError: an unknown name, or weights that are not there.
        """
        return select(self.raw, self.ema, weights)

    def kept(self, weights: str) -> str:
        """The name of the variables that `weights` selects in this run: 'ema' or 'raw'."""
        return 'raw' if self.variables(weights) is self.raw else 'ema'

    @functools.cached_property
    def inputs(self) -> GeneratorInputs:
        """Length and distribution of z, and the number of classes."""
        return from_config.generator_inputs(self.config)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters that `sample` uses by default."""
        return self.variables()['params']

    @property
    def bits(self) -> int:
        """Bits of a pixel's value in the training set, 8 or 16."""
        return from_config.bits(self.config)

    def pixels(self, images: Float[np.ndarray, '*shape']) -> UInt[np.ndarray, '*shape']:
        """Images in [-1, 1] as pixels of the training set's type: uint8, or uint16."""
        return to_pixels(images, self.bits)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return self.inputs.num_classes

    @property
    def num_conditions(self) -> int:
        """Numbers per image that the generator takes in place of classes; 0 for none."""
        return self.inputs.num_conditions

    @property
    def class_names(self) -> tuple[str, ...]:
        """The numbers of the classes as text; their names are in `training_set().class_names`."""
        return tuple(str(i) for i in range(self.num_classes))

    def latents(
        self, num: int, *, seed: int = 0, truncation: float | None = None
    ) -> Float[np.ndarray, 'n d']:
        """Draws latents; the first n of a seed are the same for every `num`.

        Args:
            num: number of latents.
            seed: of the draw.
            truncation: see `snjax.latents.sampling.latents`.
        """
        if num < 1:
            raise ValueError(f'num {num}: at least 1 image is needed')
        key, ids = sampling.seed_key(seed, 'sample'), jnp.arange(num)
        return np.asarray(_latents(key, ids, self.inputs.dim_z, self.inputs.latent, truncation))

    def generate(
        self,
        z: Float[Array | np.ndarray, 'n d'],
        labels: Labels | None = None,
        *,
        weights: str = 'auto',
        batch_size: int = 250,
    ) -> Float[np.ndarray, 'n h w c']:
        """Images in [-1, 1] from the latents `z`, with running batch statistics.

        Args:
            z: latents.
            labels: for a conditional generator: one class for all images, classes (n,), or float
                weights (n, num_classes) that mix classes (of any sign and sum); None for all
                classes in turn. With conditions: numbers (num_conditions,) for all images, or
                (n, num_conditions); None for a grid of the training images' numbers.
            weights: see `variables`.
            batch_size: images per call of the generator.

        Raises:
            ValueError: z of another shape or not finite, or labels that the generator lacks.
        """
        z, dim_z = np.asarray(z, np.float32), self.inputs.dim_z
        if z.ndim != 2:
            raise ValueError(
                f'z has the shape {z.shape}: (n, {dim_z}) is needed, as z[None] of a single z'
            )
        if not np.isfinite(z).all():
            raise ValueError(f'{(~np.isfinite(z)).sum()} of {z.size} values of z are not finite')
        if len(z) < 1 or batch_size < 1:
            raise ValueError(f'num {len(z)}, batch_size {batch_size}: at least 1 image is needed')
        if z.shape[1] != dim_z:
            raise ValueError(f'z has {z.shape[1]} entries: this generator takes {dim_z}')
        inputs = z, self.labels(labels, len(z))
        variables = self.variables(weights)
        size = min(batch_size, len(z))
        made = []
        for start in range(0, len(z), size):
            # Repeating the last row keeps the shape, so that one program serves; extras are cut.
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
        """Draws latents and generates their images, in [-1, 1].

        The first n images of a seed have the same z and class for every `num` and `batch_size`.

        Args:
            num: number of images.
            seed: of z.
            labels: see `generate`.
            weights: see `variables`.
            truncation: see `snjax.latents.sampling.latents`.
            batch_size: images per call of the generator.
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
        classes: Classes = None,
        how: str = 'slerp',
        closed: bool = False,
        seed: int = 0,
        weights: str = 'auto',
        truncation: float | None = None,
        batch_size: int = 250,
    ) -> Interpolation:
        """Interpolates between latents, between classes, or both at once.

        Args:
            num: number of rows; row i passes through the latents i * points to
                (i + 1) * points - 1 of the seed.
            frames: images per row.
            points: latents per row; with 1 the latent is fixed and only the class changes.
            classes: for a conditional generator: one class for all rows; several to morph from each
                into the next, mixing two at a time; None for one class per row, all in turn. With
                conditions: rows of numbers (n, num_conditions) to pass through, or one (1,
                num_conditions) for all images; None for those of a grid, one per row.
            how: 'slerp' or 'lerp' between latents. Classes are always mixed linearly.
            closed: return to the start, for an endless animation
                (`snjax.latents.interpolation.path`).
            seed, weights, truncation, batch_size: see `sample`.

        Raises:
            ValueError: a number below 1, an unknown class, or slerp between uniform latents.
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
        classes: Classes = None,
        how: str = 'slerp',
        closed: bool = False,
        weights: str = 'auto',
        batch_size: int = 250,
    ) -> Interpolation:
        """`interpolate` between given latents, k per row, such as encodings of images.

        `snjax.generate.inversion` encodes images.
        """
        if how == 'slerp' and np.shape(corners)[1] > 1 and self.inputs.latent == 'uniform':
            raise ValueError(
                'path slerp leaves the cube that uniform latents fill: use lerp '
                '(--sample.path=lerp)'
            )
        num = len(corners)
        z = path(np.asarray(corners).swapaxes(0, 1), frames, how=how, closed=closed).swapaxes(0, 1)
        if self.num_conditions:
            each = self.labels(None, num) if classes is None else None
            ends = None if classes is None else np.asarray(classes)
            labels = number_path(ends, each, num, frames, closed=closed)
        else:
            labels = class_path(cast(Any, classes), num, frames, self.num_classes, closed=closed)
        mixtures = None if labels is None else labels.reshape(num * frames, -1)
        flat = z.reshape(num * frames, -1)
        images = self.generate(flat, mixtures, weights=weights, batch_size=batch_size)
        return Interpolation(images.reshape(num, frames, *images.shape[1:]), z, labels)

    def export(self, path: str | pathlib.Path, weights: str = 'auto') -> pathlib.Path:
        """Writes the generator as a file; the ending of its name says which.

        `.safetensors` holds the weights and the config, for `snjax.load`; `.stablehlo` and `.onnx`
        are whole programs that need no snjax (`snjax.generate.export`).

        Args:
            path: of the file; its folder is made.
            weights: see `variables`.

        Returns:
            The path, with ~ expanded.

        Raises:
            ValueError: another ending.
            ModuleNotFoundError: for `.onnx` without jax2onnx.
        """
        from snjax.generate import export

        return export.write(self, path, weights)

    def push(self, repo: str, weights: str = 'auto', **options: Any) -> str:
        """Puts the generator on the Hugging Face Hub: `export`'s safetensors, `config.json`, samples
        and a card with the scores. Needs huggingface_hub and a token that may write.

        Args:
            repo: 'owner/name', which is made or gets a new commit.
            weights: see `variables`.
            **options: `private=True` for a new model, `license` (as 'mit'), `message` of the commit.

        Returns:
            'hf://owner/name@commit', for `snjax.load`.

        Raises:
            ValueError: the name is none, the token is refused, or the hub cannot be reached.
        """
        from snjax.generate import card

        return card.push(self, repo, weights, **options)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _latents(rng, ids, dim_z, latent, truncation):
    return sampling.latents(rng, ids, dim_z, latent, truncation)


@functools.partial(jax.jit, static_argnums=0)
def _generate(gen, variables, z, labels):
    return sampling.generate(gen, variables, z, labels)
