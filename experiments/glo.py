"""GLO: optimizing the latent space of generative networks (Bojanowski et al. 2018,
arXiv:1707.05776).

Eq. 2: minimize over theta the mean over images of min over z_i of loss(g_theta(z_i), x_i). There is
no discriminator and no prior. Every image i has a row z_i of a table. A step takes a batch of
images and moves theta and the rows of the batch by gradient descent, both along the gradient of the
batch's mean loss. The rows are then projected onto the unit ball, z / max(|z|_2, 1).

`Glo.train_step` is the whole method. Unlike the losses of a GAN, the loss shows how training goes:
it falls.

The paper leaves two things open. The normalization of the loss: `snjax.objectives.reconstruction`
takes means over pixels, which with the mean over the batch give the paper's learning rates 1 and 10
their meaning. And the scale of the initial latents: `snjax.latents.initial`. With batch norm in the
generator, a row's gradient depends on the other images of its batch, as in any GAN.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from flax.traverse_util import flatten_dict

from experiments.settings import check
from snjax import parallel
from snjax.from_config import generator
from snjax.latents import priors
from snjax.latents.initial import check_initial, initial_latents
from snjax.latents.priors import project
from snjax.latents.sampling import generate
from snjax.objectives.reconstruction import RECONSTRUCTION_LOSSES, Pyramid
from snjax.training import accumulation
from snjax.training.optimizers import OPTIMIZERS, linear_decay
from snjax.training.player import Player

# (generated, real) images (b, h, w, c) -> losses (b,)
ImageLoss = Callable[[jax.Array, jax.Array], jax.Array]


class Table(struct.PyTreeNode):
    """One row per training image.

    Attributes:
        z: latents (n, dim_z), |z| <= 1.
        opt_state: the optimizer's state of each row, every leaf with n rows; empty for SGD.
    """

    z: jax.Array
    opt_state: Any


class GloState(struct.PyTreeNode):
    """Everything that a run saves, restores and donates."""

    step: Any  # updates done, int32
    gen: Any  # Player
    table: Any  # Table; its rows are sharded over the devices during training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glo:
    """GLO. Batches are over all devices."""

    gen: nn.Module  # (z (B, dim_z), None, train=) -> images (B, H, W, C) in [-1, 1]
    dim_z: int
    batch_size: int
    gen_loss: ImageLoss  # that theta descends
    z_loss: ImageLoss  # that z descends; the same object as `gen_loss` for one loss
    initial: str  # latents at the start: a name of `snjax.latents.initial.INITIAL_LATENTS`
    # Gradients -> updates not yet scaled by the learning rate: of theta, and of one row.
    optimizer: optax.GradientTransformation
    z_optimizer: optax.GradientTransformation
    learning_rate: Callable[[jax.Array], jax.Array]  # of the updates done
    z_learning_rate: Callable[[jax.Array], jax.Array]
    images: Any = None  # training set, (n, H, W, C); None until `with_images`
    accumulate: int = 1  # parts of a batch, as in `experiments.gan.Gan`

    batches_per_step = 1
    num_classes = num_conditions = 0
    state_axes = GloState(step=None, gen=None, table=0)

    def with_images(self, images: np.ndarray, labels: np.ndarray | None = None) -> 'Glo':
        """The method with a table for these images.

        Raises:
            ValueError: latents start from principal components, and the images have fewer of them
                than a latent has entries.
        """
        check_initial(self.initial, images, self.dim_z)
        return dataclasses.replace(self, images=images)

    def init(self, rng: jax.Array) -> GloState:
        """A fresh generator and the initial latents."""
        gen_rng, z_rng = jax.random.split(rng)
        variables = self.gen.init(gen_rng, jnp.zeros((2, self.dim_z)), None, train=False)
        gen = Player.fresh(variables, self.optimizer)
        z = initial_latents(self.initial, z_rng, self.images, self.dim_z)
        table = Table(z, jax.vmap(self.z_optimizer.init)(z))
        return GloState(jnp.zeros((), jnp.int32), gen, table)

    def train_step(
        self, state: GloState, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[GloState, dict[str, jax.Array]]:
        """One update of theta and of the batch's rows (eq. 2).

        Args:
            state: before the step, with this device's rows of the table.
            batch: `image` (1, b, H, W, C) in [-1, 1] and `index` (1, b), the images' rows: this
                device's share.
            rng: not used, because the method draws nothing.

        Returns:
            The new state, and scalars of the whole batch.
        """
        real, index = batch['image'][0], batch['index'][0]
        rows = parallel.take_rows(state.table, index)
        gen, moving = state.gen, list(state.gen.model_state)

        def reconstruct(params, z):
            variables = {'params': params, **gen.model_state}
            return self.gen.apply(variables, z, None, train=True, mutable=moving)

        def on_part(part):
            z, real = part
            made, pull_back, moved = jax.vjp(reconstruct, gen.params, z, has_aux=True)
            gen_loss, toward = _mean_loss(self.gen_loss, made, real, part_size)
            gen_grads, z_grads = pull_back(toward)
            z_loss = gen_loss
            if self.z_loss is not self.gen_loss:
                z_loss, toward = _mean_loss(self.z_loss, made, real, part_size)
                _, z_grads = pull_back(toward)
            return (gen_grads, gen_loss, z_loss, moved), z_grads

        part_size = self.batch_size // self.accumulate  # over all devices
        found, z_grads = accumulation.over_parts(on_part, (rows.z, real), self.accumulate)
        gen_grads, gen_loss, z_loss, moved = found
        if self.accumulate > 1:
            z_grads = z_grads / self.accumulate  # of the mean over the batch, not over a part

        gen_grads = parallel.total(gen_grads)
        lr, z_lr = self.learning_rate(state.step), self.z_learning_rate(state.step)
        # Synchronized statistics are equal already; per-device ones become their average.
        model_state = {**gen.model_state, **parallel.mean(moved)}
        gen = gen.descend(gen_grads, self.optimizer, lr).replace(model_state=model_state)
        z_updates, z_opt_state = jax.vmap(self.z_optimizer.update)(z_grads, rows.opt_state, rows.z)
        rows = Table(project(rows.z - z_lr * jnp.asarray(z_updates)), z_opt_state)
        metrics = {
            'rec_loss': parallel.total(gen_loss),
            'z_loss': parallel.total(z_loss),
            'gen_grad_norm': optax.tree.norm(gen_grads),
            'z_norm': parallel.batch_mean(jnp.linalg.norm(rows.z, axis=-1)),
            'lr': lr,
            'z_lr': z_lr,
        }
        table = parallel.put_rows(state.table, index, rows)
        return GloState(state.step + 1, gen, table), metrics

    # ---- looking

    def histogram_arrays(self, state: GloState) -> dict[str, Any]:
        """Every weight of the generator, and the table."""
        return flatten_dict({'gen': state.gen.params}, sep='/') | {'z': state.table.z}

    def sample(
        self, state: GloState, rng: jax.Array, num: int, labels: jax.Array | None = None
    ) -> jax.Array:
        """`num` images (num, H, W, C) in [-1, 1], with z from one Gaussian fitted to the table.

        Section 4.3 of the paper. Labels are refused: the generator is unconditional.
        """
        if labels is not None:
            raise ValueError('labels were given to an unconditional generator: leave them out')
        z = priors.draw(priors.fit_gaussian(state.table.z), rng, jnp.arange(num))
        return generate(self.gen, state.gen.variables, z, None)


def make(config: Any) -> Glo:
    """GLO with the losses, starts and rates of the groups `glo` and `optimizer`."""
    check.glo(config)
    o, g = config.optimizer, config.glo
    rate = functools.partial(linear_decay, decay_start=o.decay_start, decay_end=o.decay_end)
    pyramid = Pyramid(g.levels, g.weighting, g.pyramid)
    gen_loss = functools.partial(RECONSTRUCTION_LOSSES[g.loss], pyramid=pyramid)
    z_loss = functools.partial(RECONSTRUCTION_LOSSES[g.z_loss or g.loss], pyramid=pyramid)
    return Glo(
        gen=generator(config, training=True),
        dim_z=config.model.dim_z,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        gen_loss=gen_loss,
        z_loss=z_loss if g.z_loss else gen_loss,
        initial=g.initial,
        optimizer=OPTIMIZERS[o.name](o.beta1, o.beta2, o.eps, o.eps_form),
        z_optimizer=OPTIMIZERS[g.z_optimizer](o.beta1, o.beta2, o.eps, o.eps_form),
        learning_rate=rate(o.lr),
        z_learning_rate=rate(g.z_lr),
    )


def _mean_loss(loss: ImageLoss, made, real, batch_size):
    """This device's part of the mean over `batch_size` images, and its gradient at `made`."""
    return jax.value_and_grad(lambda x: jnp.sum(loss(x, real)) / batch_size)(made)


if TYPE_CHECKING:
    # The type checker compares the class with the contract here.
    from snjax.training.method import Method

    _MAKE: Callable[[Any], Method] = make
