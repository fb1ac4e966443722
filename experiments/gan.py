"""Two players in turn: Goodfellow et al. 2014, Algorithm 1, with n_dis discriminator updates per
generator update.

Every adversarial method is this file with other data: the layers of both players, a pair of losses,
penalties, a constraint. Read `Gan.train_step` first; `update_dis` and `update_gen` are its two
halves. `step` counts generator updates.

SNGAN's official code departs from that algorithm in two ways, and so can this file: with
`update_order='gen_first'` the generator is updated before the discriminator, and the generator's
batch may be larger. `'same_fakes'` is chainer-gan-lib's order for DCGAN and WGAN-GP: as
`'gen_first'`, and the first discriminator update sees the images that the generator was updated on.

`method = 'gan'` trains whatever the config says: the comparisons of SNGAN's paper with batch, layer
and weight normalization, weight clipping and orthonormal regularization, and DCGAN, LSGAN, DRAGAN.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.build import common, penalties
from snjax import parallel
from snjax.data.sampler import example_keys
from snjax.from_config import discriminator, generator
from snjax.generate.weights import select
from snjax.latents.sampling import generate, latents
from snjax.objectives.losses import LOSSES, Loss
from snjax.objectives.penalties import PENALTIES
from snjax.objectives.weight_penalties import clip_weights
from snjax.training import accumulation, sentinel
from snjax.training.adaptive import Adaptive
from snjax.training.adversarial import (
    Batch,
    GanState,
    Key,
    Nearby,
    Noise,
    Use,
    augmented,
    draw_noise,
    images_of,
    key_of,
    key_of_first_fakes,
    outputs_on_both,
    penalty_inputs,
    remembered,
    soft_labels,
)
from snjax.training.conditioning import blank_labels, labels_in_turn, of_set
from snjax.training.lecam import LeCam
from snjax.training.optimizers import Schedule, at
from snjax.training.player import Player, averaged, histogram_arrays, sigmas, synchronized
from snjax.training.transfer import held


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gan:
    """A GAN: two networks, a pair of losses and the order of play. Batches are over all devices."""

    gen: nn.Module  # (z (B, dim_z), labels, train=) -> images (B, H, W, C) in [-1, 1]
    dis: nn.Module  # (images, labels, train=) -> logits (B,); labels: classes, numbers or None
    loss: Loss  # of both players
    image_shape: tuple[int, int, int]  # (H, W, C)
    dim_z: int
    latent: str  # distribution of z: a name of `snjax.latents.sampling.LATENTS`
    batch_size: int  # real images per discriminator update, and as many fakes
    gen_batch_size: int  # fakes per generator update
    n_dis: int  # discriminator updates per generator update
    # 'dis_first' (Goodfellow et al., Algorithm 1), or 'gen_first' or 'same_fakes' (module docstring).
    update_order: str
    # When the power iterations of a player advance. 'per_update': once, at the start of its own
    # update. 'per_forward': at every pass in training, also of the other's updates (official code:
    # 2 n_dis + 1 times a step for D). 'per_joint_forward': the same, reals and fakes in one pass.
    spectral_updates: str
    optimizer: optax.GradientTransformation  # to updates not yet scaled by the learning rate
    learning_rate: Schedule
    ema_decay: float | Schedule  # of the generator's moving average; 0 for none
    num_classes: int = 0  # that the players are conditioned on; 0 for none
    # Classes of fakes: 'uniform'; 'set', as often as among the images of `with_images`; or 'real', those
    # of the real images of the batch.
    fake_classes: str = 'uniform'
    class_counts: tuple[int, ...] = ()  # of those images, for 'set'
    num_conditions: int = 0  # numbers per image, in place of classes; fakes have real images' ones
    grid_rows: tuple[tuple[float, ...], ...] = ()  # of those numbers, for `sample`
    dis_learning_rate: Schedule | None = None  # where D has its own
    class_share: Schedule | None = None  # of the class in labels, where classes come in gradually
    # Weights of the terms added to D's loss: 'lecam', and `snjax.objectives.penalties.PENALTIES`.
    penalties: Mapping[str, float | Schedule] = dataclasses.field(default_factory=dict)
    frozen: tuple[str, ...] = ()  # layers of D whose weights stay (FreezeD)
    clip: float = 0.0  # bound on every parameter of D after its update (WGAN); 0 for none
    augment: tuple[str, ...] = ()  # of every image that D sees (`snjax.objectives.augment`)
    augment_chance: float | Schedule = 1.0  # probability of each of them
    adaptive: Adaptive | None = None  # ADA's rule for that probability
    lecam: LeCam | None = None  # the rule of the penalty 'lecam'
    nearby: Nearby | None = None  # zCR's second latents, which 'latent_consistency' needs
    # Gradient-accumulation steps: a device splits its share of a batch into this many parts, and
    # makes one update along their mean gradient (`snjax.training.accumulation`).
    accumulate: int = 1

    state_axes = None  # every leaf of the state is replicated over the devices

    @property
    def batches_per_step(self) -> int:
        """One for each D update, and one for G where its loss sees real images too."""
        return self.n_dis + self.loss.relativistic

    def with_images(self, images: np.ndarray, labels: np.ndarray | None = None) -> 'Gan':
        """The method with what its fakes and grids take of the set: counts of classes, or numbers."""
        kinds = {k: getattr(self, k) for k in ('num_classes', 'num_conditions', 'fake_classes')}
        found = of_set(labels, **kinds)
        # `self` where it can be: what JAX has traced of it is known by its identity.
        return dataclasses.replace(self, **found) if found else self

    def init(self, rng: jax.Array) -> GanState:
        """Fresh players; the spectral collections have had their first iteration."""
        gen_rng, dis_rng = jax.random.split(rng)
        labels = blank_labels(2, self.num_classes, self.num_conditions)
        gen = self.gen.init(gen_rng, jnp.zeros((2, self.dim_z)), labels, train=False)
        dis = self.dis.init(dis_rng, jnp.zeros((2, *self.image_shape)), labels, train=False)
        ema = jax.tree.map(jnp.copy, dict(gen)) if self.ema_decay else None
        gen, dis = (Player.fresh(x, self.optimizer) for x in (gen, dis))
        chance, anchors = self.adaptive and self.adaptive.start(), self.lecam and self.lecam.start()
        return GanState(jnp.zeros((), jnp.int32), gen, dis, ema, chance, anchors)

    # ---- training

    def train_step(
        self, state: GanState, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[GanState, dict[str, jax.Array]]:
        """One generator update and its n_dis discriminator updates: Goodfellow et al., Algorithm 1.

        Arguments as in `snjax.training.method.Method`; the step, the use and the example are folded
        into `rng` here. Returned scalars are averaged over devices and over the n_dis updates.
        """
        rng = jax.random.fold_in(rng, state.step)
        real = Batch(batch['image'], self._labels(batch.get('label'), state.step))
        start, same_fakes = state, self.update_order == 'same_fakes'
        gen_key = functools.partial(key_of_first_fakes if same_fakes else key_of, rng)
        gen_turn = jax.tree.map(lambda x: x[-1], real), gen_key

        def update_dis(state, turn):
            k, real = turn
            maker = state.gen
            if same_fakes:  # the generator as it was when its own update saw these fakes
                maker = jax.tree.map(lambda a, b: jnp.where(k == 0, a, b), start.gen, state.gen)
            return self.update_dis(state, real, functools.partial(key_of, rng, turn=k), maker)

        gen_metrics = {}
        if self.update_order != 'dis_first':
            state, gen_metrics = self.update_gen(state, *gen_turn)
        if same_fakes:  # D passes over them once, in its own update
            state = state.replace(dis=start.dis)
        turns = jnp.arange(self.n_dis), jax.tree.map(lambda x: x[: self.n_dis], real)
        state, dis_metrics = parallel.scan_or_unroll(update_dis, state, turns, self.n_dis)
        dis_metrics = jax.tree.map(jnp.mean, dis_metrics)
        if self.update_order == 'dis_first':
            state, gen_metrics = self.update_gen(state, *gen_turn)

        metrics = parallel.mean({**dis_metrics, **gen_metrics})
        metrics['lr'] = self.learning_rate(state.step)
        if self.class_share is not None:
            metrics['class_share'] = self.class_share(state.step)
        metrics |= sigmas(sigma=state.dis, sigma_gen=state.gen)
        return state.replace(step=state.step + 1), metrics

    def update_dis(self, state: GanState, real: Batch, key: Key, maker: Player | None = None):
        """One discriminator update on `real` and as many fakes, which `maker` makes (by default the
        present generator); the generator's weights stay.

        With spectral normalization this is step 3 of SNGAN's Algorithm 1 (Miyato et al. 2018,
        appendix A); step 1, the power iteration, is `_advance`, and the layers do step 2.
        """
        fake, gen_state = self._fakes_for_dis(maker or state.gen, key, state.step, real)
        state = state.replace(gen=state.gen.replace(model_state=gen_state))
        ids = parallel.example_ids(self.batch_size)
        chance = self.chance(state)
        all_real = self.shown(real, key(Use.REAL_AUGMENT), chance)
        all_fake = self.shown(fake, key(Use.FAKE_AUGMENT), chance)
        dis = self._advance(self.dis, state.dis, *all_real[:2])

        def loss_fn(params, real, fake, keys):
            judge = functools.partial(self.judged, all_real=all_real.image, step=state.step)
            outs, penalties, model_state = judge(dis, held(params, self.frozen), real, fake, keys)
            loss, metrics = self.dis_loss(outs[0], outs[1], real.label)
            real_logits, fake_logits = (self.logits(out) for out in outs)
            if self.adaptive:
                metrics['real_signs'] = jnp.mean(jnp.sign(real_logits))
            if self.lecam and (a := state.anchors):
                penalties['lecam'] = self.lecam.penalty(a, real_logits, fake_logits, state.step)
            for name, penalty in penalties.items():
                metrics[f'penalty_{name}'] = penalty
                loss += at(self.penalties[name], state.step) * penalty
            return loss, (metrics, model_state)

        grad_fn = accumulation.value_and_grad(loss_fn, self.accumulate)
        examples = all_real, all_fake, example_keys(key(Use.PENALTY), ids)
        (loss, (metrics, model_state)), grads = grad_fn(dis.params, *examples)
        rate = self.dis_learning_rate or self.learning_rate
        dis, grad_norm = self._descend(dis, grads, rate(state.step), state.step)
        if self.clip:
            dis = dis.replace(params=clip_weights(dis.params, self.clip))
        state = state.replace(dis=dis.replace(model_state=synchronized(model_state)))
        state, kept = remembered(state, metrics, self.adaptive, self.lecam, self.batch_size)
        return state, {'dis_loss': loss, 'dis_grad_norm': grad_norm, **metrics, **kept}

    def update_gen(self, state: GanState, real: Batch, key: Key):
        """One generator update against the present discriminator, whose weights stay.

        Only relativistic losses and paired classes use `real`.
        """
        ids = parallel.example_ids(self.gen_batch_size)
        noise = self._noise(ids, key(Use.GEN_Z), key(Use.GEN_LABELS), state.step, real)
        gen, dis = self._advance(self.gen, state.gen, noise.z, noise.label), state.dis
        show = functools.partial(augmented, policy=self.augment, chance=self.chance(state))
        real_keys = example_keys(key(Use.GEN_REAL_AUGMENT), ids)
        seen = show(real, real_keys) if self.loss.relativistic else None

        def loss_fn(params, noise, augment_keys, seen):
            gen_state, made = images_of(self._apply, self.gen, gen, params, noise)
            fake = show(made, augment_keys)
            real_out, fake_out, dis_state = self._discriminate(dis, dis.params, seen, fake)
            loss, metrics = self.gen_loss(fake_out, real_out, fake.label)
            if self.nearby:
                loss, metrics['latent_distance'] = self.nearby.apart(loss, made)
            return loss, (metrics, gen_state, dis_state)

        grad_fn = accumulation.value_and_grad(loss_fn, self.accumulate)
        examples = noise, example_keys(key(Use.GEN_AUGMENT), ids), seen
        (loss, (metrics, gen_state, dis_state)), grads = grad_fn(gen.params, *examples)
        gen, grad_norm = self._descend(gen, grads, self.learning_rate(state.step), state.step)
        gen = gen.replace(model_state=synchronized(gen_state))
        dis = dis.replace(model_state=synchronized(dis_state))
        ema = averaged(state.ema, gen, self.ema_decay, state.step)
        state = state.replace(gen=gen, dis=dis, ema=ema)
        return state, {'gen_loss': loss, 'gen_grad_norm': grad_norm, **metrics}

    # ---- what a method may override

    def dis_loss(self, real_out: Any, fake_out: Any, labels: Any):
        """D's loss without penalties, and scalars to log.

        From D's outputs on real images and fakes, here logits (b,), and the real images' classes
        (b,), None without classes.
        """
        loss = self.loss.dis(real_out, fake_out, **self._batch_mean())
        return loss, {'real_logits': real_out.mean(), 'fake_logits': fake_out.mean()}

    def gen_loss(self, fake_out: Any, real_out: Any, labels: Any):
        """G's loss, and scalars to log.

        From D's outputs on fakes and on real images (None where the loss is not relativistic), and
        the classes (b,) that the fakes were generated for, None without classes.
        """
        logits = (fake_out, real_out) if self.loss.relativistic else (fake_out,)
        return self.loss.gen(*logits, **self._batch_mean()), {}

    def logits(self, out: Any) -> jax.Array:
        """The logits (b,) in the discriminator's output."""
        return out

    def shown(self, batch: Batch, key: jax.Array, chance: float | jax.Array) -> Batch:
        """Images of D's update as `judged` gets them: augmented."""
        keys = example_keys(key, parallel.example_ids(self.batch_size))
        return augmented(batch, keys, self.augment, chance)

    def judged(self, dis: Player, params, real: Batch, fake: Batch, keys, *, all_real, step):
        """D's outputs on reals and on fakes, its penalties by name (unweighted), and collections."""

        def score(images, labels):  # D's other collections are frozen
            variables, moving = {'params': params, **dis.model_state}, ['batch_stats']
            out, _ = self.dis.apply(variables, images, labels, train=True, mutable=moving)
            return self.logits(out)

        *outs, model_state = self._discriminate(dis, params, real, fake)
        inputs = penalty_inputs(score, params, dis.model_state, real, fake, keys, all_real)
        found = {n: PENALTIES[n](inputs) for n in self.penalties if n in PENALTIES}
        return outs, found, model_state

    # ---- the pieces

    def chance(self, state: GanState) -> float | jax.Array:
        """Probability of each augmentation in the next update."""
        return state.chance.value if state.chance else at(self.augment_chance, state.step)

    def _batch_mean(self):
        return {'mean': parallel.batch_mean} if self.loss.batch_wide else {}

    def _noise(self, ids, z_rng, label_rng, step, real: Batch | None = None) -> Noise:
        if self.fake_classes == 'set' and not self.class_counts:
            raise ValueError("fake_classes is 'set': give the labels of the set to `with_images`")
        classes = self.num_classes, self.class_counts
        noise = draw_noise(ids, z_rng, label_rng, self.dim_z, self.latent, *classes)
        pair = real if self.fake_classes == 'real' else None
        noise = noise._replace(label=pair.label if pair else self._labels(noise.label, step))
        return self.nearby.beside(noise, ids, z_rng, self.latent) if self.nearby else noise

    def _labels(self, classes: Any, step: jax.Array) -> Any:
        """What the players see of the classes: None, classes or numbers, or `soft_labels`."""
        if not self.num_classes or self.class_share is None:
            return classes if self.num_classes or self.num_conditions else None
        return soft_labels(classes, self.num_classes, self.class_share(step))

    def _fakes_for_dis(self, gen: Player, key: Key, step, real: Batch | None = None):
        """Fakes for one D update, and G's collections: a pass in training mode, as in the official code."""
        ids = parallel.example_ids(self.batch_size)
        noise = self._noise(ids, key(Use.DIS_Z), key(Use.DIS_LABELS), step, real)
        make = functools.partial(images_of, self._apply, self.gen, gen, gen.params)
        gen_state, fake = accumulation.over_parts(make, noise, self.accumulate)
        return fake, synchronized(gen_state)

    def _advance(self, module: nn.Module, player: Player, *inputs) -> Player:
        """The power iteration at the start of an update, where the policy is one per update."""
        return player.advance(module, *inputs) if self.spectral_updates == 'per_update' else player

    def _apply(self, module: nn.Module, player: Player, params, *inputs):
        moves_spectral = self.spectral_updates != 'per_update'
        return player.apply(module, params, *inputs, moves_spectral=moves_spectral)

    def _discriminate(self, dis: Player, params, real: Batch | None, fake: Batch):
        """D's outputs on real images, if there are any, and on fakes, and its collections after."""
        apart = self.spectral_updates == 'per_forward' or 'batch_stats' in dis.model_state
        judge = functools.partial(self._apply, self.dis)
        return outputs_on_both(judge, dis, params, real, fake, in_two_passes=apart)

    def _descend(self, player: Player, grads, lr, step):
        """One optimizer step along the gradient averaged over devices, and the gradient's norm."""
        grads = parallel.mean(grads)
        return player.descend(grads, self.optimizer, lr, step), optax.tree.norm(grads)

    # ---- looking

    def watch(
        self, state: GanState, rng: jax.Array, real: jax.Array, labels: jax.Array
    ) -> dict[str, jax.Array]:
        """Signs of a collapse (`snjax.training.sentinel`), of raw weights, running statistics."""
        classes = labels if self.num_classes or self.num_conditions else None
        z = latents(rng, jnp.arange(len(real)), self.dim_z, self.latent)
        fake = generate(self.gen, state.gen.variables, z, classes)
        judge = functools.partial(self.dis.apply, state.dis.variables, train=False)
        real_logits, fake_logits = (self.logits(judge(x, classes)) for x in (real, fake))
        return sentinel.signs(fake, real, fake_logits, real_logits, self.loss.dis)

    def histogram_arrays(self, state: GanState) -> dict[str, Any]:
        """Every weight of both players, and the sigmas of D's layers as one array."""
        return histogram_arrays({'gen': state.gen, 'dis': state.dis}, normalized=state.dis)

    def sample(
        self, state: GanState, rng: jax.Array, num: int, labels: jax.Array | None = None
    ) -> jax.Array:
        """`num` images (num, H, W, C) in [-1, 1]: EMA weights if there are any, running statistics.

        An unconditional generator refuses labels (num,); without labels the classes take turns.
        """
        ids = jnp.arange(num)
        labels = labels_in_turn(labels, num, self.num_classes, self.num_conditions, self.grid_rows)
        z = latents(rng, ids, self.dim_z, self.latent)
        return generate(self.gen, select(state.gen.variables, state.ema), z, labels)


def make(config: Any) -> Gan:
    """The GAN that a config describes key by key."""
    return Gan(
        **common(config),
        gen=generator(config, training=True),
        dis=discriminator(config),
        loss=LOSSES[config.loss],
        penalties=penalties(config),
        clip=config.clip,
    )


if TYPE_CHECKING:
    # The type checker compares the class with the contract here.
    from snjax.training.method import Method

    _MAKE: Callable[[Any], Method] = make
