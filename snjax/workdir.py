"""A finished or running workdir as something to sample from: `snjax.load('runs/digits').sample(64)`."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Float

from snjax import models
from snjax.checkpoint import load_tree
from snjax.resume import read_config
from snjax.sampling import generate, latents, seed_key

WEIGHTS = ('auto', 'ema', 'raw')


@dataclasses.dataclass(frozen=True)
class Trained:
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

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters that `sample` uses unless told otherwise."""
        return self.variables()['params']

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        weights: str = 'auto',
        truncation: float | None = None,
        batch_size: int = 250,
    ) -> Float[np.ndarray, 'n h w c']:
        """`num` images in [-1, 1] with the running batch statistics.

        The first n images of a seed are the same z whatever `num` and `batch_size` are.

        Args:
            num: how many.
            seed: of z.
            weights: see `variables`.
            truncation: see `snjax.sampling.latents`.
            batch_size: images a call of the generator.
        """
        if num < 1 or batch_size < 1:
            raise ValueError(f'num {num}, batch_size {batch_size}: at least 1 image is needed')
        variables, batch_size = self.variables(weights), min(batch_size, num)
        model = self.config['model']
        draw = functools.partial(
            _images, self.gen, model['dim_z'], model['latent'], truncation, variables
        )
        rng = jax.random.key_data(seed_key(seed, 'sample'))
        # Every call has the same shape, so that one program serves; what is over is cut.
        starts = range(0, num, batch_size)
        made = [np.asarray(draw(rng, s + jnp.arange(batch_size))) for s in starts]
        return np.concatenate(made)[:num]

    def export(self, path: str | pathlib.Path, weights: str = 'auto') -> pathlib.Path:
        """Writes the generator's variables as safetensors, named by their path ('params/dense/kernel').

        The file's metadata hold the config, the step and which weights they are.
        """
        from safetensors.numpy import save_file

        flat = flatten_dict(self.variables(weights), sep='/')
        arrays = {k: np.ascontiguousarray(v) for k, v in flat.items()}
        kept = 'raw' if weights == 'raw' or self.ema is None else 'ema'
        about = {'config': json.dumps(self.config), 'step': str(self.step), 'weights': kept}
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, path, metadata=about)
        return path


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _images(gen, dim_z, latent, truncation, variables, rng, ids):
    z = latents(jax.random.wrap_key_data(rng), ids, dim_z, latent, truncation)
    return generate(gen, variables, z)


def generator_of(config: Any, *, batch_norm_axis: str | None = None) -> nn.Module:
    """The generator that a run's config (nested, with string keys) describes.

    `batch_norm_axis` is the devices' in training, and None elsewhere.
    """
    model, data = config['model'], config['data']
    return models.make_generator(
        architecture=model['architecture'],
        image_size=data['image_size'],
        channels=data['channels'],
        gen_width=model['gen_width'],
        variant=model['variant'],
        num_classes=model['num_classes'],
        normalization=model['gen_normalization'],
        attention=model['attention'],
        batch_norm_axis=batch_norm_axis,
        dtype=model['dtype'],
    )


def load(workdir: str | pathlib.Path, step: int | None = None) -> Trained:
    """The generator of a run.

    Args:
        workdir: of the run.
        step: which checkpoint; None for the newest good one.

    Raises:
        FileNotFoundError: there is no run, or no checkpoint of that step.
        ValueError: the checkpoint is damaged.
    """
    workdir = pathlib.Path(workdir)
    if not (workdir / 'config.json').is_file():
        raise FileNotFoundError(
            f'{workdir} holds no run: there is no config.json; give the --workdir of a training'
        )
    config = read_config(workdir / 'config.json')
    step, tree = load_tree(workdir / 'checkpoints', step)
    gen = generator_of(config)
    raw = {'params': tree['gen']['params'], **tree['gen'].get('model_state', {})}
    return Trained(config, step, gen, raw, tree.get('ema') or None)
