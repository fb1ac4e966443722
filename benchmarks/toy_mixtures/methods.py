"""Every method of the family as an `experiments.gan.Gan` of two small perceptrons."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.gan import Gan
from snjax import parallel, spectral
from snjax.nn import layers
from snjax.nn.normalization import LAYER_NORM_EPSILON, batch_norm
from snjax.nn.weight_norm import WNDense
from snjax.objectives.losses import LOSSES
from snjax.training.optimizers import linear_decay

POINT = (1, 1, 2)  # a point of the plane as an image (h, w, c)
DIM_Z = 2


class Generator(nn.Module):
    """Dense and ReLU three times, dense; z (b, dim_z) to points (b, 1, 1, 2). No norm, no tanh."""

    width: int

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        for i in range(3):
            z = nn.relu(_dense(layers.Dense, self.width, f'hidden{i}')(z))
        return _dense(layers.Dense, 2, 'point')(z).reshape(-1, *POINT)


class Discriminator(nn.Module):
    """Dense, norm if any, ReLU three times, dense; points (b, 1, 1, 2) to logits (b,).

    No norm follows the first layer, as in DCGAN. A batch norm there would hide from D where the points lie and how far
    apart, since real and fake batches are normalised each by itself.

    Attributes:
        width: of the hidden layers.
        dense: layer class.
        norm: `norm(train=..., name=...)` of the hidden activations (b, width), None for none.
        scale: factor on the logits; of a network of 1-Lipschitz layers the bound K of eq. 5 of Miyato et al. 2018.
    """

    width: int
    dense: Callable[..., Any] = layers.Dense
    norm: Callable[..., Any] | None = None
    scale: float = 1.0

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = x.reshape(x.shape[0], -1)
        for i in range(3):
            h = _dense(self.dense, self.width, f'hidden{i}')(h)
            if self.norm is not None and i > 0:
                h = self.norm(train=train, name=f'norm{i}')(h)
            h = nn.relu(h)
        return self.scale * _dense(self.dense, 1, 'logit')(h)[:, 0]


def _dense(cls, features, name):
    return cls(features, kernel_init=nn.initializers.he_normal(), name=name)


def batch_norms(*, train, name):
    """Batch norm over all devices, without the multiplier."""
    norm = batch_norm(train=train, axis_name=parallel.AXIS, dtype=jnp.float32, use_scale=False)
    return norm(name=name)


def layer_norms(*, train, name):
    """Layer norm of the features of each point, without the multiplier."""
    del train
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, use_scale=False, name=name)


# Follows its largest singular value and is not divided by it.
TRACKED_DENSE = functools.partial(spectral.SNDense, divide=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What tells one method from another.

    Attributes:
        loss: name in `snjax.objectives.losses.LOSSES`.
        dense, norm, scale: of `Discriminator`.
        penalties, clip: of `Gan`.
        lr, dis_lr: of the players; the second is the first unless given.
        beta1, beta2: of Adam; with `rmsprop` beta2 is the decay.
        rmsprop: in place of Adam.
    """

    loss: str = 'non_saturating'
    dense: Callable[..., Any] = layers.Dense
    norm: Callable[..., Any] | None = None
    scale: float = 1.0
    penalties: Mapping[str, float] = dataclasses.field(default_factory=dict)
    clip: float = 0.0
    lr: float = 4e-3
    dis_lr: float | None = None
    beta1: float = 0.0
    beta2: float = 0.9
    rmsprop: bool = False


METHODS = {
    'sngan': Recipe(loss='hinge', dense=spectral.SNDense, scale=30.0),
    'sngan_non_saturating': Recipe(dense=spectral.SNDense, scale=30.0),
    'wgan_gp': Recipe(loss='wasserstein', penalties={'gradient': 0.1}),
    'wgan': Recipe(loss='wasserstein', clip=0.1, rmsprop=True, lr=1e-3),
    'gan': Recipe(lr=1e-3),
    'lsgan': Recipe(loss='least_squares', lr=2e-3),
    'dragan': Recipe(penalties={'dragan': 0.1}),
    'gan_gp': Recipe(penalties={'gradient': 0.1}),
    'batch_norm': Recipe(norm=batch_norms),
    'layer_norm': Recipe(norm=layer_norms, lr=2e-3),
    'weight_norm': Recipe(dense=WNDense),
    'orthonormal': Recipe(penalties={'orthonormal': 0.1}, scale=30.0),
    'spectral_regularization': Recipe(dense=TRACKED_DENSE, penalties={'spectral': 0.01}),
    'relativistic_average': Recipe(loss='relativistic_average', lr=1e-3),
    'r3gan': Recipe(loss='relativistic_pairing', penalties={'r1': 0.1, 'r2': 0.1}),
}


def make_gan(recipe: Recipe, num_steps: int, *, batch_size: int = 128, width: int = 64) -> Gan:
    """The two players in turn, n_dis 1; their rates fall on a straight line to 0 over the second half of the run."""
    rate = functools.partial(linear_decay, decay_start=num_steps // 2, decay_end=num_steps)
    adam = optax.scale_by_adam(recipe.beta1, recipe.beta2, eps=1e-8)
    return Gan(
        gen=Generator(width),
        dis=Discriminator(width, recipe.dense, recipe.norm, recipe.scale),
        loss=LOSSES[recipe.loss],
        image_shape=POINT,
        dim_z=DIM_Z,
        latent='normal',
        batch_size=batch_size,
        gen_batch_size=batch_size,
        n_dis=1,
        update_order='dis_first',
        spectral_updates='per_update',
        optimizer=optax.scale_by_rms(recipe.beta2, 1e-8) if recipe.rmsprop else adam,
        learning_rate=rate(recipe.lr),
        dis_learning_rate=rate(recipe.dis_lr) if recipe.dis_lr else None,
        penalties=recipe.penalties,
        clip=recipe.clip,
        ema_decay=0.0,
    )
