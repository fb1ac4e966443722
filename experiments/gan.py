"""Two players in turn: n_dis discriminator updates and one generator update (Goodfellow et al. 2014, Algorithm 1).

Every adversarial method is this file with other data: the discriminator's layers, a pair of losses. Read
`Gan.train_step` first; `update_dis` and `update_gen` are its two halves. `step` counts generator updates.

Two departures from that algorithm follow SNGAN's official code: with `update_order='gen_first'` the generator's update
comes before the discriminator's, and the generator's batch may be larger.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict

from experiments.method import Config, choose
from snjax import models, parallel, spectral
from snjax.losses import LOSSES, Loss
from snjax.sampling import LATENTS, generate, latents

# What a key of a step is for.
DIS_Z, GEN_Z = range(2)


class Player(struct.PyTreeNode):
    """One of the two networks, with its optimiser's state."""

    params: Any
    model_state: (
        Any  # the other collections: batch_stats of a generator, spectral of a discriminator
    )
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        return {'params': self.params, **self.model_state}


class GanState(struct.PyTreeNode):
    """All that a run is: saved, restored and donated as one."""

    step: jax.Array  # generator updates done, int32
    gen: Player
    dis: Player
    ema: Any  # averaged generator variables (params and batch_stats), or None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gan:
    """A GAN: two networks, a loss pair and the order of play.

    Attributes:
        gen, dis: z (B, dim_z) -> images (B, H, W, C) in [-1, 1], and images -> logits (B,); both take `train`.
        loss: what each minimises.
        image_shape: (H, W, C).
        dim_z, latent: length of z and its distribution (`snjax.sampling.latents`).
        batch_size: real images per discriminator update, and as many fakes; over all devices.
        gen_batch_size: fakes per generator update.
        n_dis: discriminator updates per generator update.
        update_order: 'dis_first' (Algorithm 1) or 'gen_first' (official SNGAN code).
        spectral_updates: when the power iteration advances: 'per_update', once at the start of each discriminator
            update however often D is applied in it, or 'per_forward', at every application of D in training, the
            generator's update included (official code: 2 n_dis + 1 times a step).
        optimizer: gradients -> unscaled updates, for each player.
        learning_rate: generator updates done -> learning rate.
        ema_decay: of the generator's moving average; 0 for none.
    """

    gen: nn.Module
    dis: nn.Module
    loss: Loss
    image_shape: tuple[int, int, int]
    dim_z: int
    latent: str
    batch_size: int
    gen_batch_size: int
    n_dis: int
    update_order: str
    spectral_updates: str
    optimizer: optax.GradientTransformation
    learning_rate: Callable[[jax.Array], jax.Array]
    ema_decay: float

    state_axes = None  # every leaf of the state is replicated over the devices

    @property
    def batches_per_step(self) -> int:
        return self.n_dis

    def init(self, rng: jax.Array) -> GanState:
        """Fresh players; the spectral collection has had its first iteration."""
        gen_rng, dis_rng = jax.random.split(rng)
        gen = self.gen.init(gen_rng, jnp.zeros((2, self.dim_z)), train=False)
        dis = self.dis.init(dis_rng, jnp.zeros((2, *self.image_shape)), train=False)
        ema = None
        if self.ema_decay:
            ema = jax.tree.map(jnp.copy, dict(gen))
        return GanState(jnp.zeros((), jnp.int32), self._player(gen), self._player(dis), ema)

    def _player(self, variables) -> Player:
        model_state = {k: v for k, v in variables.items() if k != 'params'}
        params = variables['params']
        return Player(params, model_state, self.optimizer.init(params))

    # ---- training

    def train_step(
        self, state: GanState, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[GanState, dict[str, jax.Array]]:
        """One generator update and its n_dis discriminator updates: Algorithm 1.

        Args:
            state: before the step.
            batch: `image` (n_dis, b, H, W, C) in [-1, 1], this device's share of n_dis batches.
            rng: key of the run; the step and the example are folded in here.

        Returns:
            The new state, and scalars averaged over devices (and over the n_dis updates).
        """
        rng = jax.random.fold_in(rng, state.step)
        gen_rng = jax.random.fold_in(rng, GEN_Z)

        def update_dis(state, turn):
            k, real = turn
            dis_rng = jax.random.fold_in(jax.random.fold_in(rng, DIS_Z), k)
            return self.update_dis(state, real, dis_rng)

        gen_metrics = {}
        if self.update_order == 'gen_first':
            state, gen_metrics = self.update_gen(state, gen_rng)
        turns = (jnp.arange(self.n_dis), batch['image'])
        state, dis_metrics = parallel.scan(update_dis, state, turns, self.n_dis)
        dis_metrics = jax.tree.map(jnp.mean, dis_metrics)
        if self.update_order == 'dis_first':
            state, gen_metrics = self.update_gen(state, gen_rng)

        metrics = parallel.mean({**dis_metrics, **gen_metrics})
        metrics['lr'] = self.learning_rate(state.step)
        for name, sigma in spectral.sigmas(state.dis.model_state.get('spectral', {})).items():
            metrics[f'sigma/{name}'] = sigma
        return state.replace(step=state.step + 1), metrics

    def update_dis(self, state: GanState, real: jax.Array, rng: jax.Array):
        """One discriminator update on `real` (b, H, W, C) and as many fakes; the generator's weights stay."""
        # Fakes are made in train mode, which moves the generator's running statistics, as in the official code.
        fake, gen_state = self._fake(state.gen, state.gen.params, self.batch_size, rng)
        dis = state.dis
        if self.spectral_updates == 'per_update' and 'spectral' in dis.model_state:
            # Only weights matter to it; train=False leaves batch statistics alone where there are any.
            advanced = spectral.advance(self.dis, dis.variables, real, train=False)
            dis = dis.replace(model_state={**dis.model_state, 'spectral': advanced})

        def loss_fn(params):
            real_logits, fake_logits, model_state = self._judge_both(dis, params, real, fake)
            means = {'real_logits': real_logits.mean(), 'fake_logits': fake_logits.mean()}
            return self.loss.dis(real_logits, fake_logits), (means, model_state)

        (loss, (means, model_state)), grads = jax.value_and_grad(loss_fn, has_aux=True)(dis.params)
        dis, grad_norm = self._descend(dis, grads, state.step)
        state = state.replace(
            gen=state.gen.replace(model_state=gen_state),
            dis=dis.replace(model_state=_synchronised(model_state)),
        )
        return state, {'dis_loss': loss, 'dis_grad_norm': grad_norm, **means}

    def update_gen(self, state: GanState, rng: jax.Array):
        """One generator update against the discriminator as it stands, whose weights stay."""

        def loss_fn(params):
            fake, gen_state = self._fake(state.gen, params, self.gen_batch_size, rng)
            logits, dis_state = self._judge(
                state.dis, state.dis.params, state.dis.model_state, fake
            )
            return self.loss.gen(logits), (gen_state, dis_state)

        (loss, (gen_state, dis_state)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.gen.params
        )
        gen, grad_norm = self._descend(state.gen, grads, state.step)
        gen = gen.replace(model_state=gen_state)
        dis = state.dis.replace(model_state=_synchronised(dis_state))
        state = state.replace(gen=gen, dis=dis, ema=self._average(state.ema, gen, state.step))
        return state, {'gen_loss': loss, 'gen_grad_norm': grad_norm}

    def _fake(self, gen: Player, params, batch_size, rng):
        """This device's share of a fake batch, and the generator's state after it, equal on all devices."""
        z = latents(rng, parallel.example_ids(batch_size), self.dim_z, self.latent)
        variables = {'params': params, **gen.model_state}
        fake, gen_state = self.gen.apply(variables, z, train=True, mutable=list(gen.model_state))
        # Synchronised statistics are equal already; per-device ones become their average.
        return fake, _synchronised(gen_state)

    def _judge_both(self, dis: Player, params, real, fake):
        """Logits of real and fake images, in one pass where that is the same computation."""
        alone = self.spectral_updates == 'per_forward' or 'batch_stats' in dis.model_state
        if not alone:
            both = jnp.concatenate([real, fake])
            logits, model_state = self._judge(dis, params, dis.model_state, both)
            real_logits, fake_logits = jnp.split(logits, 2)
            return real_logits, fake_logits, model_state
        real_logits, model_state = self._judge(dis, params, dis.model_state, real)
        fake_logits, model_state = self._judge(dis, params, model_state, fake)
        return real_logits, fake_logits, model_state

    def _judge(self, dis: Player, params, model_state, images):
        """Logits, and the discriminator's state after them: u moves here only under 'per_forward'."""
        moving = [
            name
            for name in model_state
            if name != 'spectral' or self.spectral_updates == 'per_forward'
        ]
        variables = {'params': params, **model_state}
        logits, moved = self.dis.apply(variables, images, train=True, mutable=moving)
        return logits, {**model_state, **moved}

    def _descend(self, player: Player, grads, step):
        """One optimiser step along the gradient averaged over the devices."""
        grads = parallel.mean(grads)
        updates, opt_state = self.optimizer.update(grads, player.opt_state, player.params)
        lr = self.learning_rate(step)
        params = jax.tree.map(lambda p, u: p - lr * u, player.params, updates)
        player = player.replace(params=params, opt_state=opt_state)
        return player, optax.tree.norm(grads)

    def _average(self, ema, gen: Player, step):
        """Moving average of the generator's parameters and running statistics, quick at first.

        The decay is min(ema_decay, (1 + step) / (10 + step)), so that short runs forget their start.
        """
        if ema is None:
            return None
        decay = jnp.minimum(self.ema_decay, (1.0 + step) / (10.0 + step))
        return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, ema, gen.variables)

    # ---- looking

    def watched(self, state: GanState) -> dict[str, Any]:
        """Every weight of both players, and the sigmas of all layers as one array."""
        weights = {'gen': state.gen.params, 'dis': state.dis.params}
        arrays = flatten_dict(weights, sep='/')
        sigmas = spectral.sigmas(state.dis.model_state.get('spectral', {}))
        return arrays | ({'spectral/sigmas': jnp.stack(list(sigmas.values()))} if sigmas else {})

    def sample(
        self, state: GanState, rng: jax.Array, num: int, labels: jax.Array | None = None
    ) -> jax.Array:
        """`num` images (num, H, W, C) in [-1, 1] with running batch statistics: of the EMA where there is one.

        Raises:
            ValueError: if labels are given; this generator is unconditional.
        """
        if labels is not None:
            raise ValueError('labels were given to an unconditional generator: leave them out')
        z = latents(rng, jnp.arange(num), self.dim_z, self.latent)
        variables = state.gen.variables if state.ema is None else state.ema
        return generate(self.gen, variables, z)


def _synchronised(model_state):
    """Collections made equal on all devices; `spectral`, which follows from the weights, already is."""
    return {k: v if k == 'spectral' else parallel.mean(v) for k, v in model_state.items()}


def linear_decay(lr: float, decay_start: int, decay_end: int) -> Callable[[jax.Array], jax.Array]:
    """`lr` up to `decay_start`, then a straight line to 0 at `decay_end` (generator updates); 0 and 0 for constant."""

    def rate(step):
        if not decay_end:
            return jnp.full((), lr, jnp.float32)
        left = (decay_end - step) / max(1, decay_end - decay_start)
        return lr * jnp.clip(left, 0.0, 1.0).astype(jnp.float32)

    return rate


def settings(config: Config) -> dict[str, Any]:
    """All of a `Gan` but its discriminator, from a config.

    Raises:
        ValueError: a value is impossible; the message names its key.
    """
    choose('loss', config.loss, LOSSES)
    choose('update_order', config.update_order, ('gen_first', 'dis_first'))
    choose('model.spectral_updates', config.model.spectral_updates, ('per_update', 'per_forward'))
    choose('model.latent', config.model.latent, LATENTS)
    choose('optimizer.name', config.optimizer.name, ('adam', 'sgd'))
    counts = {'model.dim_z': config.model.dim_z, 'optimizer.lr': config.optimizer.lr}
    counts |= {key: config[key] for key in ('n_dis', 'batch_size', 'gen_batch_size')}
    for key, value in counts.items():
        if not 0 < value < math.inf:
            raise ValueError(f'{key} is {value}: a positive number is needed')
    if config.data.channels not in (1, 3):
        raise ValueError(f'data.channels is {config.data.channels}: 1 and 3 are accepted')
    o, size = config.optimizer, config.data.image_size
    if not 0 <= o.ema_decay < 1:
        raise ValueError(
            f'optimizer.ema_decay is {o.ema_decay}: 0 (no average) up to below 1 is accepted'
        )
    for key in ('beta1', 'beta2'):
        if not 0 <= o[key] < 1:
            raise ValueError(f'optimizer.{key} is {o[key]}: 0 up to below 1 is accepted')
    if (o.decay_start or o.decay_end) and not 0 <= o.decay_start < o.decay_end:
        raise ValueError(
            f'optimizer.decay_start {o.decay_start} is not before optimizer.decay_end {o.decay_end}: '
            'the rate falls between them; 0 and 0 keep it constant'
        )
    parallel.check_batch_size(batch_size=config.batch_size, gen_batch_size=config.gen_batch_size)
    return {
        'gen': models.make_generator(
            architecture=config.model.architecture,
            image_size=size,
            channels=config.data.channels,
            gen_width=config.model.gen_width,
            variant=config.model.variant,
            batch_norm_axis=parallel.AXIS if config.model.sync_batch_norm else None,
            dtype=config.model.dtype,
        ),
        'loss': LOSSES[config.loss],
        'image_shape': (size, size, config.data.channels),
        'dim_z': config.model.dim_z,
        'latent': config.model.latent,
        'batch_size': config.batch_size,
        'gen_batch_size': config.gen_batch_size,
        'n_dis': config.n_dis,
        'update_order': config.update_order,
        'spectral_updates': config.model.spectral_updates,
        'optimizer': optax.scale_by_adam(o.beta1, o.beta2, o.eps)
        if o.name == 'adam'
        else optax.identity(),
        'learning_rate': linear_decay(o.lr, o.decay_start, o.decay_end),
        'ema_decay': o.ema_decay,
    }
