"""A GAN on 8x8 digits that trains in seconds: what several pages of this folder look into.

Layers, losses and penalties are the library's, and so is the order of an update: power iteration,
step of D, step of G (Algorithm 1 of Goodfellow et al. 2014; `experiments/gan.py` is the trainer of
real runs, with checkpoints, devices and everything else).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from snjax.models import SPECTRAL, Layers
from snjax.objectives.losses import LOSSES
from snjax.objectives.penalties import PENALTIES, PenaltyInputs
from snjax.spectral import COLLECTION, advance

BATCH, DIM_Z = 32, 16
REAL = (load_digits().images[..., None] / 8 - 1).astype('f')  # (1797, 8, 8, 1) in [-1, 1]


class Generator(nn.Module):
    """Three dense layers from z to an image."""

    @nn.compact
    def __call__(self, z):
        for _ in range(2):
            z = nn.relu(nn.Dense(256)(z))
        return jnp.tanh(nn.Dense(64)(z)).reshape(-1, 8, 8, 1)


class Discriminator(nn.Module):
    """Three convolutions and a dense layer, of the layer set that is passed in."""

    layers: Layers = SPECTRAL
    width: int = 8

    @nn.compact
    def __call__(self, x, train=False):
        layers, conv = self.layers, self.layers.conv
        for i, (size, strides) in enumerate([(3, 1), (4, 2), (4, 2)]):
            x = conv(self.width * 2**i, (size, size), strides=strides, name=f'conv{i + 1}')(x)
            if layers.norm and i:  # the image itself is never normalized
                x = layers.norm(train=train, name=f'norm{i + 1}', dtype=x.dtype, use_scale=True)(x)
            x = nn.leaky_relu(x, 0.1)
        return layers.dense(1, name='score')(x.reshape(len(x), -1))[:, 0]


class Trained(NamedTuple):
    """A finished training: both networks, their variables, and D's loss after each update."""

    dis: Discriminator
    dis_variables: Mapping[str, Any]
    gen_params: Any
    dis_loss: np.ndarray

    def score(self, images):
        """Logits of D, as in evaluation."""
        return self.dis.apply(self.dis_variables, images)

    def sample(self, num, seed=0):
        """Images of G."""
        z = jax.random.normal(jax.random.key(seed), (num, DIM_Z))
        return Generator().apply({'params': self.gen_params}, z)


def train(
    layers: Layers = SPECTRAL,
    *,
    loss: str = 'hinge',
    penalties: Mapping[str, float] | None = None,
    num_steps: int = 600,
    n_dis: int = 1,
    lr: float = 1e-3,
    seed: int = 0,
    look: Callable[[int, Mapping[str, Any]], None] | None = None,
) -> Trained:
    """Trains both players; `look(step, variables of D)` is called after every update."""
    gen, dis, optimizer = Generator(), Discriminator(layers), optax.adam(lr, b1=0.5, b2=0.9)
    gen_key, dis_key, key = jax.random.split(jax.random.key(seed), 3)
    gen_params = gen.init(gen_key, jnp.zeros((1, DIM_Z)))['params']
    variables = jax.jit(dis.init)(dis_key, jnp.asarray(REAL[:2]))
    dis_params, rest = variables['params'], {k: v for k, v in variables.items() if k != 'params'}

    def draw(params, key):
        return gen.apply({'params': params}, jax.random.normal(key, (BATCH, DIM_Z)))

    def dis_loss(params, rest, real, fake, key):
        outs = []
        for images in (real, fake):  # two passes: batch norm must not see both at once
            moving = [name for name in rest if name != COLLECTION]
            out, moved = dis.apply({'params': params, **rest}, images, train=True, mutable=moving)
            rest = {**rest, **moved}
            outs.append(out)
        score = lambda x: dis.apply({'params': params, **rest}, x)  # noqa: E731
        inputs = PenaltyInputs(
            score, score, params, rest.get(COLLECTION, {}), real, fake, jax.random.split(key, BATCH)
        )
        total = LOSSES[loss].dis(*outs)
        for name, weight in (penalties or {}).items():
            total += weight * PENALTIES[name](inputs)
        return total, (rest, LOSSES[loss].dis(*outs))

    def gen_loss(params, dis_params, rest, key):
        moving = [name for name in rest if name != COLLECTION]
        variables = {'params': dis_params, **rest}
        out, _ = dis.apply(variables, draw(params, key), train=True, mutable=moving)
        return LOSSES[loss].gen(out)

    @jax.jit
    def update(players, key):
        gen_params, dis_params, rest, gen_opt, dis_opt = players
        for i in range(n_dis):
            index_key, fake_key, penalty_key = jax.random.split(jax.random.fold_in(key, i), 3)
            real = jnp.asarray(REAL)[jax.random.randint(index_key, (BATCH,), 0, len(REAL))]
            fake = draw(gen_params, fake_key)
            if COLLECTION in rest:  # step 1 of SNGAN's Algorithm 1
                moved = advance(dis, {'params': dis_params, **rest}, real)
                rest = {**rest, COLLECTION: moved}
            grads, (rest, value) = jax.grad(dis_loss, has_aux=True)(
                dis_params, rest, real, fake, penalty_key
            )
            moves, dis_opt = optimizer.update(grads, dis_opt)
            dis_params = optax.apply_updates(dis_params, moves)
        grads = jax.grad(gen_loss)(gen_params, dis_params, rest, jax.random.fold_in(key, n_dis))
        moves, gen_opt = optimizer.update(grads, gen_opt)
        gen_params = optax.apply_updates(gen_params, moves)
        return (gen_params, dis_params, rest, gen_opt, dis_opt), value

    players = gen_params, dis_params, rest, *map(optimizer.init, (gen_params, dis_params))
    values = []
    for step in range(num_steps):
        players, value = update(players, jax.random.fold_in(key, step))
        values.append(value)
        if look:
            look(step, {'params': players[1], **players[2]})
    return Trained(dis, {'params': players[1], **players[2]}, players[0], np.asarray(values))
