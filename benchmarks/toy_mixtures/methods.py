"""Every method of the family as an `experiments.gan.Gan` of two small perceptrons."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from experiments.gan import Gan
from experiments.settings.recipes import RECIPES
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

    No norm follows the first layer, as in DCGAN. A batch norm there would hide from D where the
    points lie and how far apart, since real and fake batches are normalized each by itself.

    Attributes:
        width: of the hidden layers.
        dense: layer class.
        norm: `norm(train=..., name=...)` of the hidden activations (b, width), None for none.
        scale: factor on the logits; of a network of 1-Lipschitz layers the bound K of eq. 5 of
            Miyato et al. 2018.
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


# Keeps sigma, and does not divide the weight by it.
TRACKED_DENSE = functools.partial(spectral.SNDense, divide=False)

# The layers of D that `model.normalization` names.
LAYERS: dict[str, dict[str, Any]] = {
    'none': {},
    'spectral': {'dense': spectral.SNDense},
    'tracked': {'dense': TRACKED_DENSE},
    'weight': {'dense': WNDense},
    'batch': {'norm': batch_norms},
    'layer': {'norm': layer_norms},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    """A method on toy problems.

    Attributes:
        loss: name in `snjax.objectives.losses.LOSSES`.
        dense, norm, scale: arguments of `Discriminator`.
        penalties, clip: arguments of `Gan`.
        lr, dis_lr: learning rates; `dis_lr` None is `lr`.
        beta1, beta2: of Adam; with `rmsprop`, beta2 is the decay.
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


def toy(name: str, *, weight: float = 0.0, clip: float = 0.0, **own: Any) -> Toy:
    """The recipe of that name (`experiments.settings.recipes`) at the scale of a toy problem.

    Args:
        name: of the recipe.
        weight: replaces the published weight of each of its penalties.
        clip: replaces its published bound.
        own: other attributes of `Toy`.

    Raises:
        ValueError: a weight or a bound is given that the recipe has no use for, or one is missing.
    """
    recipe = RECIPES[name]
    penalties = {
        key.removeprefix('penalty.'): weight for key in recipe if key.startswith('penalty.')
    }
    if bool(penalties) != bool(weight) or bool(recipe.get('clip')) != bool(clip):
        raise ValueError(f'{name} is {recipe}, not with weight {weight} and clip {clip}')
    return Toy(
        loss=recipe.get('loss', 'non_saturating'),
        penalties=penalties,
        clip=clip,
        **LAYERS[recipe.get('model.normalization', 'none')],
        **own,
    )


METHODS = {
    'sngan': toy('sngan_hinge', scale=30.0),
    'sngan_non_saturating': toy('sngan', scale=30.0),
    'wgan_gp': toy('wgan_gp', weight=0.1),
    'wgan': toy('wgan', clip=0.1, rmsprop=True, lr=1e-3),
    'gan': toy('gan', lr=1e-3),
    'lsgan': toy('lsgan', lr=2e-3),
    'dragan': toy('dragan', weight=0.1),
    'gan_gp': toy('gan_gp', weight=0.1),
    'batch_norm': toy('batch_norm'),
    'layer_norm': toy('layer_norm', lr=2e-3),
    'weight_norm': toy('weight_norm'),
    'orthonormal': toy('orthonormal', weight=0.1, scale=30.0),
    'spectral_regularization': toy('spectral_regularization', weight=0.01),
    'relativistic_average': toy('relativistic_average', lr=1e-3),
    'r3gan': toy('r3gan', weight=0.1),
}


def make_gan(recipe: Toy, num_steps: int, *, batch_size: int = 128, width: int = 64) -> Gan:
    """The two players in turn, n_dis 1; their rates fall on a straight line to 0 over the second
    half of the run.
    """
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
