"""The smallest GLO with every part of a real one, on the generator of `tiny_gan`."""

import functools

import jax.numpy as jnp
import optax

from experiments import glo
from helpers import tiny_gan
from snjax.objectives.reconstruction import RECONSTRUCTION_LOSSES, Pyramid
from snjax.training.optimizers import linear_decay

DIM_Z = tiny_gan.DIM_Z


def image_loss(name):
    return functools.partial(RECONSTRUCTION_LOSSES[name], pyramid=Pyramid(num_levels=2))


def make_glo(images, **changes) -> glo.Glo:
    """Returns a `Glo` that trains by gradient descent, with a table for `images`."""
    loss = image_loss('l2_lap1')
    return glo.Glo(
        **{
            'gen': tiny_gan.Generator(),
            'dim_z': DIM_Z,
            'batch_size': 6,
            'gen_loss': loss,
            'z_loss': loss,
            'initial': 'scaled_normal',
            'optimizer': optax.identity(),
            'z_optimizer': optax.identity(),
            'learning_rate': linear_decay(0.5, 0, 0),
            'z_learning_rate': linear_decay(5.0, 0, 0),
            **changes,
        }
    ).with_images(images)


def batch(images, index):
    """Returns the batch of one step, of the images at `index`."""
    pixels = jnp.asarray(images[index], jnp.float32) / 127.5 - 1
    return {'image': pixels[None], 'index': jnp.asarray(index, jnp.int32)[None]}
