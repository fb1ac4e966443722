"""An SNGAN of your own in 60 lines: two networks, a loop, and the layers of `snjax.spectral`.

pip install '.[train]'              # in the folder of the repository
python examples/minimal_sngan.py    # trains on 1,797 digits of 8x8, writes minimal_sngan.png
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from snjax.spectral import SNConv, SNDense


class Generator(nn.Module):
    @nn.compact
    def __call__(self, z):
        x = nn.relu(nn.LayerNorm()(nn.Dense(4 * 4 * 64)(z))).reshape(-1, 4, 4, 64)
        x = nn.relu(nn.LayerNorm()(nn.ConvTranspose(32, (4, 4), (2, 2))(x)))
        return jnp.tanh(nn.Conv(1, (3, 3))(x))


class Discriminator(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(SNConv(32, (3, 3))(x), 0.1)
        x = nn.leaky_relu(SNConv(64, (4, 4), strides=(2, 2))(x), 0.1)
        return SNDense(1)(x.reshape(len(x), -1))[:, 0]


def train(num_steps=3000, batch=64, dim_z=32, seed=0):
    real = (load_digits().images[..., None] / 8 - 1).astype(np.float32)
    gen, dis, adam = Generator(), Discriminator(), optax.adam(5e-4, b1=0.5, b2=0.9)
    g = gen.init(jax.random.key(seed), jnp.zeros((1, dim_z)))
    variables = dis.init(jax.random.key(seed + 1), jnp.zeros((1, 8, 8, 1)))
    d, spectral = variables['params'], variables['spectral']  # u, v and sigma stand apart

    @jax.jit
    def step(g, d, spectral, g_opt, d_opt, images, rng):
        z = jax.random.normal(rng, (batch, dim_z))

        def d_loss(d):  # a mutable collection: one power iteration
            both = jnp.concatenate([images, gen.apply(g, z)])
            logits, new = dis.apply({'params': d, 'spectral': spectral}, both, mutable=['spectral'])
            a, b = jnp.split(logits, 2)
            return nn.relu(1 - a).mean() + nn.relu(1 + b).mean(), new['spectral']

        (loss, spectral), grads = jax.value_and_grad(d_loss, has_aux=True)(d)
        updates, d_opt = adam.update(grads, d_opt)
        d = optax.apply_updates(d, updates)
        critic = {'params': d, 'spectral': spectral}  # not mutable: u stays
        grads = jax.grad(lambda g: -dis.apply(critic, gen.apply(g, z)).mean())(g)
        updates, g_opt = adam.update(grads, g_opt)
        return optax.apply_updates(g, updates), d, spectral, g_opt, d_opt, loss

    g_opt, d_opt, order = adam.init(g), adam.init(d), np.random.default_rng(seed)
    for i in range(num_steps):
        images, rng = real[order.choice(len(real), batch)], jax.random.key(seed + 2 + i)
        g, d, spectral, g_opt, d_opt, loss = step(g, d, spectral, g_opt, d_opt, images, rng)
        if (i + 1) % 500 == 0:
            print(f'step {i + 1}  hinge loss of D {loss:.3f}')
    return np.asarray(gen.apply(g, jax.random.normal(jax.random.key(seed), (256, dim_z))))


if __name__ == '__main__':
    import snjax

    snjax.show(train()[:64]).save('minimal_sngan.png')
