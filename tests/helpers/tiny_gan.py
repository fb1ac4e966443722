"""The smallest GAN with every part of a real one; it compiles in a second.

Images are 8x8 and grey. Shared by the tests of the method and of its data parallelism.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import gan
from helpers.filling import filled_state
from snjax import parallel, spectral
from snjax.nn import layers
from snjax.nn.normalization import batch_norm
from snjax.objectives.losses import LOSSES
from snjax.training.optimizers import linear_decay

IMAGE = (8, 8, 1)
DIM_Z = 4


class Generator(nn.Module):
    """Dense, batch norm unless turned off, ReLU, dense, tanh."""

    batch_norm_axis: str | None = parallel.AXIS
    has_batch_norm: bool = True

    @nn.compact
    def __call__(self, z, labels=None, *, train):
        h = layers.Dense(12, name='project')(z)
        if self.has_batch_norm:
            norm = batch_norm(train=train, axis_name=self.batch_norm_axis, dtype=jnp.float32)
            h = norm(name='norm')(h)
        h = nn.relu(h)
        return jnp.tanh(layers.Dense(64, name='to_image')(h)).reshape(-1, *IMAGE)


class Discriminator(nn.Module):
    """Dense, batch norm if turned on, leaky ReLU, dense."""

    dense: type[nn.Module] = spectral.SNDense
    has_batch_norm: bool = False

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = self.dense(10, name='hidden')(x.reshape(x.shape[0], -1))
        if self.has_batch_norm:
            h = batch_norm(train=train, axis_name=parallel.AXIS, dtype=jnp.float32)(name='norm')(h)
        return self.dense(1, name='score')(nn.leaky_relu(h, 0.1))[:, 0]


def make_gan(cls: type[gan.Gan] = gan.Gan, **changes) -> gan.Gan:
    """Returns a `Gan` of these networks: gradient descent, D first, one D update per G update."""
    return cls(
        **{
            'gen': Generator(),
            'dis': Discriminator(),
            'loss': LOSSES['hinge'],
            'image_shape': IMAGE,
            'dim_z': DIM_Z,
            'latent': 'normal',
            'batch_size': 6,
            'gen_batch_size': 8,
            'n_dis': 1,
            'update_order': 'dis_first',
            'spectral_updates': 'per_update',
            'optimizer': optax.identity(),
            'learning_rate': linear_decay(0.05, 0, 0),
            'ema_decay': 0.0,
            **changes,
        }
    )


def filled(gan, seed=0):
    """A state such as training would leave, in which the average of G equals G."""
    state = filled_state(gan, seed)
    return state.replace(ema=state.ema and jax.tree.map(np.copy, state.gen.variables))


def compiled(fn):
    """Compiles `fn(state, *arrays)` over all devices on first use; never donates its arguments."""
    program = None

    def call(state, *arrays):
        nonlocal program
        placed = parallel.replicate(state), parallel.replicate(arrays)
        if program is None:
            step = parallel.DataParallel(lambda state, arrays: fn(state, *arrays))
            program = step.compile(*placed)
        return jax.device_get(parallel.first_replica(program(*placed)))

    return call


def images(num_batches=2, batch_size=6, seed=0):
    """Returns real images of one step, (num_batches, batch_size, 8, 8, 1)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (num_batches, batch_size, *IMAGE)).astype(np.float32)


def step_of(gan):
    """Returns `(state, images, key) -> (state, metrics)`, compiled on first use."""

    def step(state, image, key):
        return gan.train_step(state, {'image': image}, jax.random.wrap_key_data(key))

    return compiled(step)
