"""Two players in turn: n_dis discriminator updates and one generator update (Goodfellow et al. 2014, Algorithm 1).

Every adversarial method is this file with other data: the layers of both players, a pair of losses, penalties, a
constraint. Read `Gan.train_step` first; `update_dis` and `update_gen` are its two halves. `step` counts generator
updates.

Two departures from that algorithm follow SNGAN's official code: with `update_order='gen_first'` the generator's update
comes before the discriminator's, and the generator's batch may be larger.

As a method of its own (`config.method = 'gan'`) it is whatever the config says: the comparisons of SNGAN's paper with
batch, layer and weight normalisation, weight clipping and orthonormal regularisation, and DCGAN, LSGAN and DRAGAN.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from flax.traverse_util import flatten_dict

from experiments.method import Config
from experiments.settings import players
from snjax import parallel, spectral
from snjax.data.sampler import example_keys
from snjax.latents.sampling import class_labels, generate, latents
from snjax.nn.normalization import running_after
from snjax.objectives.augment import augment
from snjax.objectives.losses import Loss
from snjax.objectives.penalties import PENALTIES, PenaltyInputs, clip_weights
from snjax.training import accumulation
from snjax.training.player import Player, advanced, averaged, sigmas, synchronised

# What a key of a step is for. Keys of updates of D are folded with the turn as well.
(
    DIS_Z,
    GEN_Z,
    DIS_LABELS,
    GEN_LABELS,
    PENALTY,
    REAL_AUGMENT,
    FAKE_AUGMENT,
    GEN_REAL_AUGMENT,
    GEN_AUGMENT,
) = range(9)

Key = Callable[[int], jax.Array]  # role -> key


class GanState(struct.PyTreeNode):
    """All that a run is: saved, restored and donated as one."""

    step: jax.Array  # generator updates done, int32
    gen: Player
    dis: Player
    ema: Any  # averaged generator variables (params and batch_stats), or None


class Batch(NamedTuple):
    """Images (b, H, W, C) in [-1, 1] and their classes (b,), None without classes."""

    image: jax.Array
    label: jax.Array | None


class Noise(NamedTuple):
    """What a batch of fakes is made of: z (b, dim_z) and classes (b,), None without classes."""

    z: jax.Array
    label: jax.Array | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gan:
    """A GAN: two networks, a loss pair and the order of play.

    Attributes:
        gen, dis: (z (B, dim_z), labels) -> images (B, H, W, C) in [-1, 1], and (images, labels) -> logits (B,); both
            take `train`. Labels are None without classes.
        loss: what each minimises.
        image_shape: (H, W, C).
        dim_z, latent: length of z and its distribution (`snjax.latents.sampling.latents`).
        num_classes: classes that the players are told of; 0 for none.
        batch_size: real images per discriminator update, and as many fakes; over all devices.
        gen_batch_size: fakes per generator update.
        n_dis: discriminator updates per generator update.
        accumulate: parts that each device takes its share of a batch in, one after the other, to one step along their
            mean gradient (`snjax.training.accumulation`): the memory of a part, and batch norm by the statistics of a
            part.
        fakes_at_once: makes the fakes of all n_dis updates in one pass of the generator, whose weights stay meanwhile.
            Each batch keeps batch statistics of its own and the running ones move as if the batches had come one after
            the other, so it is the same step but for rounding. It should fill a big device better, for n_dis times the
            memory of a pass without gradients.
        update_order: 'dis_first' (Goodfellow et al.'s Algorithm 1) or 'gen_first' (official SNGAN code).
        spectral_updates: when the power iteration of a normalised player advances: 'per_update', once at the start of
            its update however often it is applied in it, or 'per_forward', at every application in training, the
            other player's updates included (official code: 2 n_dis + 1 times a step for D).
        optimizer: gradients -> unscaled updates, for each player.
        learning_rate: generator updates done -> learning rate.
        dis_learning_rate: the discriminator's, where it has its own.
        penalties: weights of what is added to the discriminator's loss, by names of
        `snjax.objectives.penalties.PENALTIES`. clip: bound on every parameter of the discriminator after its update
        (WGAN); 0 for none. augment: differentiable augmentations of all that the discriminator sees
        (`snjax.objectives.augment`). ema_decay: of the generator's moving average; 0 for none.
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
    num_classes: int = 0
    dis_learning_rate: Callable[[jax.Array], jax.Array] | None = None
    penalties: Mapping[str, float] = dataclasses.field(default_factory=dict)
    clip: float = 0.0
    augment: tuple[str, ...] = ()
    accumulate: int = 1
    fakes_at_once: bool = False

    state_axes = None  # every leaf of the state is replicated over the devices

    @property
    def batches_per_step(self) -> int:
        """One for each D update, and one for G where its loss looks at real images too."""
        return self.n_dis + self.loss.relativistic

    def with_images(self, images: np.ndarray) -> 'Gan':
        """Itself: it looks at images as they come."""
        del images
        return self

    def init(self, rng: jax.Array) -> GanState:
        """Fresh players; the spectral collections have had their first iteration."""
        gen_rng, dis_rng = jax.random.split(rng)
        labels = jnp.zeros(2, jnp.int32) if self.num_classes else None
        gen = self.gen.init(gen_rng, jnp.zeros((2, self.dim_z)), labels, train=False)
        dis = self.dis.init(dis_rng, jnp.zeros((2, *self.image_shape)), labels, train=False)
        ema = jax.tree.map(jnp.copy, dict(gen)) if self.ema_decay else None
        gen, dis = (Player.fresh(x, self.optimizer) for x in (gen, dis))
        return GanState(jnp.zeros((), jnp.int32), gen, dis, ema)

    # ---- training

    def train_step(
        self, state: GanState, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[GanState, dict[str, jax.Array]]:
        """One generator update and its n_dis discriminator updates: Goodfellow et al.'s Algorithm 1.

        Args:
            state: before the step.
            batch: `image` (batches_per_step, b, H, W, C) in [-1, 1], and with classes `label` (batches_per_step, b):
                this device's share of the batches.
            rng: key of the run; the step, the role and the example are folded in here.

        Returns:
            The new state, and scalars averaged over devices (and over the n_dis updates).
        """
        rng = jax.random.fold_in(rng, state.step)
        real = Batch(batch['image'], batch['label'] if self.num_classes else None)
        gen_turn = jax.tree.map(lambda x: x[-1], real), functools.partial(_key, rng)

        def update_dis(state, turn):
            k, real, fake = turn
            return self.update_dis(state, real, functools.partial(_key, rng, turn=k), fake)

        gen_metrics = {}
        if self.update_order == 'gen_first':
            state, gen_metrics = self.update_gen(state, *gen_turn)
        turns, fakes = jnp.arange(self.n_dis), None
        if self.fakes_at_once:
            fakes, gen_state = self._all_fakes(state.gen, rng)
            state = state.replace(gen=state.gen.replace(model_state=gen_state))
        turns = turns, jax.tree.map(lambda x: x[: self.n_dis], real), fakes
        state, dis_metrics = parallel.scan_or_unroll(update_dis, state, turns, self.n_dis)
        dis_metrics = jax.tree.map(jnp.mean, dis_metrics)
        if self.update_order == 'dis_first':
            state, gen_metrics = self.update_gen(state, *gen_turn)

        metrics = parallel.mean({**dis_metrics, **gen_metrics})
        metrics['lr'] = self.learning_rate(state.step)
        metrics |= sigmas(sigma=state.dis, sigma_gen=state.gen)
        return state.replace(step=state.step + 1), metrics

    def update_dis(self, state: GanState, real: Batch, key: Key, fake: Batch | None = None):
        """One discriminator update on `real` and as many fakes, made here or before; the generator's weights stay.

        Under spectral normalisation it is step 3 of SNGAN's Algorithm 1 (Miyato et al. 2018, appendix A).
        """
        if fake is None:
            fake, gen_state = self._dis_fakes(state.gen, key)
            state = state.replace(gen=state.gen.replace(model_state=gen_state))
        ids = parallel.example_ids(self.batch_size)
        all_real = self._augmented(real, example_keys(key(REAL_AUGMENT), ids))
        all_fake = self._augmented(fake, example_keys(key(FAKE_AUGMENT), ids))
        dis = self._advanced(self.dis, state.dis, *all_real)

        def loss_fn(params, real, fake, penalty_keys):
            real_out, fake_out, model_state = self._judge_both(dis, params, real, fake)
            loss, metrics = self.dis_loss(real_out, fake_out, real.label)
            critique = self._critique(dis, params, real, fake, penalty_keys, all_real.image)
            for name, weight in self.penalties.items():
                metrics[f'penalty_{name}'] = PENALTIES[name](critique)
                loss += weight * metrics[f'penalty_{name}']
            return loss, (metrics, model_state)

        grad_fn = accumulation.value_and_grad(loss_fn, self.accumulate)
        examples = all_real, all_fake, example_keys(key(PENALTY), ids)
        (loss, (metrics, model_state)), grads = grad_fn(dis.params, *examples)
        rate = self.dis_learning_rate or self.learning_rate
        dis, grad_norm = self._descend(dis, grads, rate(state.step))
        if self.clip:
            dis = dis.replace(params=clip_weights(dis.params, self.clip))
        state = state.replace(dis=dis.replace(model_state=synchronised(model_state)))
        return state, {'dis_loss': loss, 'dis_grad_norm': grad_norm, **metrics}

    def update_gen(self, state: GanState, real: Batch, key: Key):
        """One generator update against the discriminator as it stands, whose weights stay.

        `real` is looked at by relativistic losses alone.
        """
        ids = parallel.example_ids(self.gen_batch_size)
        noise = self._noise(ids, key(GEN_Z), key(GEN_LABELS))
        before, dis = self._advanced(self.gen, state.gen, *noise), state.dis
        seen = None
        if self.loss.relativistic:
            seen = self._augmented(real, example_keys(key(GEN_REAL_AUGMENT), ids))

        def loss_fn(params, noise, augment_keys, seen):
            fake, gen_state = self._fake(before, params, noise)
            fake = self._augmented(fake, augment_keys)
            if seen is not None:
                real_out, fake_out, dis_state = self._judge_both(dis, dis.params, seen, fake)
            else:
                real_out = None
                fake_out, dis_state = self._apply(self.dis, dis.params, dis.model_state, *fake)
            loss, metrics = self.gen_loss(fake_out, real_out, fake.label)
            return loss, (metrics, gen_state, dis_state)

        grad_fn = accumulation.value_and_grad(loss_fn, self.accumulate)
        examples = noise, example_keys(key(GEN_AUGMENT), ids), seen
        (loss, (metrics, gen_state, dis_state)), grads = grad_fn(before.params, *examples)
        gen, grad_norm = self._descend(before, grads, self.learning_rate(state.step))
        gen = gen.replace(model_state=synchronised(gen_state))
        state = state.replace(
            gen=gen,
            dis=dis.replace(model_state=synchronised(dis_state)),
            ema=averaged(state.ema, gen, self.ema_decay, state.step),
        )
        return state, {'gen_loss': loss, 'gen_grad_norm': grad_norm, **metrics}

    # ---- what another method may do otherwise

    def dis_loss(self, real_out: Any, fake_out: Any, labels: Any):
        """What D minimises, penalties apart, and scalars to log.

        Args:
            real_out, fake_out: what D gave for each, here logits (b,).
            labels: classes of the real images (b,), None without classes.
        """
        loss = self.loss.dis(real_out, fake_out, **self._batch_mean())
        return loss, {'real_logits': real_out.mean(), 'fake_logits': fake_out.mean()}

    def gen_loss(self, fake_out: Any, real_out: Any, labels: Any):
        """What G minimises, and scalars to log.

        Args:
            fake_out: what D gave for fakes.
            real_out: for real images; None where the loss is not relativistic.
            labels: classes that the fakes were to be of (b,), None without classes.
        """
        logits = (fake_out, real_out) if self.loss.relativistic else (fake_out,)
        return self.loss.gen(*logits, **self._batch_mean()), {}

    def logits(self, out: Any) -> jax.Array:
        """The logits (b,) in what D gives."""
        return out

    # ---- the pieces

    def _batch_mean(self):
        return {'mean': parallel.batch_mean} if self.loss.batch_wide else {}

    def _noise(self, ids, z_rng, label_rng) -> Noise:
        """Of the examples `ids` of a batch; classes are uniform, and independent of the real images'."""
        labels = class_labels(label_rng, ids, self.num_classes) if self.num_classes else None
        return Noise(latents(z_rng, ids, self.dim_z, self.latent), labels)

    def _fake(self, gen: Player, params, noise: Noise):
        """Images of `noise`, and the generator's state after them."""
        images, model_state = self._apply(self.gen, params, gen.model_state, *noise)
        return Batch(images, noise.label), model_state

    def _dis_fakes(self, gen: Player, key: Key) -> tuple[Batch, Any]:
        """`_fake` for one discriminator update.

        In train mode, which moves the generator's running statistics, as in the official code.
        """
        ids = parallel.example_ids(self.batch_size)
        noise = self._noise(ids, key(DIS_Z), key(DIS_LABELS))

        def make(noise):
            fake, gen_state = self._fake(gen, gen.params, noise)
            return gen_state, fake

        gen_state, fake = accumulation.over_parts(make, noise, self.accumulate)
        return fake, synchronised(gen_state)

    def _all_fakes(self, gen: Player, rng):
        """`_dis_fakes` of every turn, (n_dis, b, ...), and the generator's state after all of them."""
        fakes, moved = jax.vmap(
            lambda turn: self._dis_fakes(gen, functools.partial(_key, rng, turn=turn))
        )(jnp.arange(self.n_dis))
        running = {
            name: running_after(before, moved[name])
            for name, before in gen.model_state.items()
            if name == 'batch_stats'
        }
        return fakes, {**gen.model_state, **running}

    def _augmented(self, batch: Batch, keys) -> Batch:
        """A batch as D sees it, every image transformed in its own way, by its own key."""
        if not self.augment:
            return batch
        return batch._replace(image=augment(batch.image, keys, self.augment))

    def _advanced(self, module: nn.Module, player: Player, *inputs) -> Player:
        """The player with one power iteration done in every layer, where the policy is one an update."""
        if self.spectral_updates != 'per_update':
            return player
        return advanced(module, player, *inputs)

    def _judge_both(self, dis: Player, params, real: Batch, fake: Batch):
        """What D says of real and of fake images, in one pass where that is the same computation."""
        alone = self.spectral_updates == 'per_forward' or 'batch_stats' in dis.model_state
        if not alone:
            both = jax.tree.map(lambda *x: jnp.concatenate(x), real, fake)
            out, model_state = self._apply(self.dis, params, dis.model_state, *both)
            num = len(real.image)
            real_out, fake_out = (jax.tree.map(lambda x, s=s: x[s], out) for s in _halves(num))
            return real_out, fake_out, model_state
        real_out, model_state = self._apply(self.dis, params, dis.model_state, *real)
        fake_out, model_state = self._apply(self.dis, params, model_state, *fake)
        return real_out, fake_out, model_state

    def _apply(self, module: nn.Module, params, model_state, *inputs):
        """A player in training, and its collections after it."""
        per_forward = self.spectral_updates == 'per_forward'
        moving = [name for name in model_state if name != 'spectral' or per_forward]
        variables = {'params': params, **model_state}
        out, moved = module.apply(variables, *inputs, train=True, mutable=moving)
        return out, {**model_state, **moved}

    def _critique(
        self, dis: Player, params, real: Batch, fake: Batch, keys, all_real: jax.Array
    ) -> PenaltyInputs:
        """What penalties look at; D stands still in it but for its parameters."""

        def score(images, labels):
            variables, moving = {'params': params, **dis.model_state}, ['batch_stats']
            out, _ = self.dis.apply(variables, images, labels, train=True, mutable=moving)
            return self.logits(out)

        return PenaltyInputs(
            score=lambda images: score(images, real.label),
            score_fake=lambda images: score(images, fake.label),
            params=params,
            spectral=dis.model_state.get('spectral', {}),
            real=real.image,
            fake=fake.image,
            keys=keys,
            all_real=all_real,
            mean=parallel.batch_mean,
        )

    def _descend(self, player: Player, grads, lr):
        """One optimiser step along the gradient averaged over the devices."""
        grads = parallel.mean(grads)
        updates, opt_state = self.optimizer.update(grads, player.opt_state, player.params)
        params = jax.tree.map(lambda p, u: p - lr * u, player.params, updates)
        player = player.replace(params=params, opt_state=opt_state)
        return player, optax.tree.norm(grads)

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

        Args:
            state: after any step.
            rng: key of z.
            num: how many.
            labels: classes (num,); None for all classes in turn.

        Raises:
            ValueError: if labels are given to an unconditional generator.
        """
        ids = jnp.arange(num)
        if labels is not None and not self.num_classes:
            raise ValueError('labels were given to an unconditional generator: leave them out')
        if labels is None and self.num_classes:
            labels = ids % self.num_classes
        z = latents(rng, ids, self.dim_z, self.latent)
        variables = state.gen.variables if state.ema is None else state.ema
        return generate(self.gen, variables, z, labels)


class Method(Gan):
    """The GAN that a config describes, key by key."""

    def __init__(self, config: Config):
        super().__init__(**players(config))


def _key(rng: jax.Array, role: int, turn: jax.Array | None = None) -> jax.Array:
    """The key of a step for one role, and one turn of the discriminator."""
    rng = jax.random.fold_in(rng, role)
    return rng if turn is None else jax.random.fold_in(rng, turn)


def _halves(num: int) -> tuple[slice, slice]:
    """Real and fake in a batch of both; there may be more fakes than the `num` real ones."""
    return slice(None, num), slice(num, None)
