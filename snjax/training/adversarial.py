"""Inputs of an adversarial step: random keys, real batches, noise; and of its penalties."""

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from snjax import parallel
from snjax.latents.sampling import class_labels, latents
from snjax.objectives.augment import augment
from snjax.objectives.penalties import PenaltyInputs
from snjax.training.adaptive import Adaptive, Chance
from snjax.training.lecam import Anchors, LeCam
from snjax.training.player import Player


class Use(enum.IntEnum):
    """Purpose of a random key within a step. Keys of D's updates are also folded with the turn."""

    DIS_Z = 0
    GEN_Z = 1
    DIS_LABELS = 2
    GEN_LABELS = 3
    PENALTY = 4
    REAL_AUGMENT = 5
    FAKE_AUGMENT = 6
    GEN_REAL_AUGMENT = 7
    GEN_AUGMENT = 8


Key = Callable[[Use], jax.Array]


class GanState(struct.PyTreeNode):
    """Everything that a run saves, restores and donates."""

    step: Any  # generator updates done, int32
    gen: Player
    dis: Player
    ema: Any  # averaged generator variables (params and batch_stats), or None
    chance: Chance | None = None  # of augmentations, where it is adaptive
    anchors: Anchors | None = None  # averages of D's logits, with the penalty 'lecam'


class Batch(NamedTuple):
    """Images (b, H, W, C) in [-1, 1] and their labels; None without classes.

    Labels are classes (b,), or `soft_labels` while they are brought in; or numbers (b, k). `near`
    are fakes of latents near those of `image`, for zCR.
    """

    image: jax.Array
    label: jax.Array | None
    near: jax.Array | None = None


class Noise(NamedTuple):
    """Input of a generator: z (b, dim_z), labels as in `Batch`, and latents near z for zCR."""

    z: jax.Array
    label: jax.Array | None
    near: jax.Array | None = None


_NEAR = 2**31 - 1  # folded into the key of z; beyond every example


@dataclasses.dataclass(frozen=True)
class Nearby:
    """zCR, latent consistency (Zhao et al. 2020, arXiv:2002.04724, section 3.2).

    Beside every z there is another, T(z), near it. D may not tell their images apart (the penalty
    `latent_consistency`); G has to make them differ, so that it does not ignore z: its loss is less
    by E[(G(z) - G(T(z)))^2]. The mean over pixels, the spread of T and that it is drawn as z itself
    are of PyTorch-StudioGAN (`src/worker.py`, `src/utils/sample.py`).

    Attributes:
        radius: T(z) = z + radius * z', z' drawn as z.
        gen_weight: of the distance in G's loss; 0 for none.
    """

    radius: float
    gen_weight: float

    def beside(self, noise: Noise, ids: jax.Array, z_rng: jax.Array, latent: str) -> Noise:
        """The noise of the examples `ids` with their second latents; `z_rng` is the key of z."""
        other = latents(jax.random.fold_in(z_rng, _NEAR), ids, noise.z.shape[1], latent)
        return noise._replace(near=noise.z + self.radius * other)

    def apart(self, loss: jax.Array, fake: Batch) -> tuple[jax.Array, jax.Array]:
        """G's loss with its term, and the mean squared distance of the images of each pair."""
        assert fake.near is not None
        distance = jnp.mean(jnp.square(fake.image - fake.near))
        return loss - self.gen_weight * distance, distance


def images_of(
    apply: Callable[..., tuple[Any, Any]], module: Any, gen: Player, params: Any, noise: Noise
) -> tuple[Any, Batch]:
    """G's collections after a pass, and the images of z; those of latents near z, too, if there are any.

    The latter come from a pass of their own, whose collections are dropped: batch statistics move
    once.

    Args:
        apply: (module, player, params, z, labels) -> images and collections.
        module, gen: the generator.
        params: in place of the player's own.
        noise: its input.
    """
    image, model_state = apply(module, gen, params, noise.z, noise.label)
    near = None
    if noise.near is not None:
        near, _ = apply(module, gen, params, noise.near, noise.label)
    return model_state, Batch(image, noise.label, near)


def key_of(rng: jax.Array, use: Use, turn: jax.Array | None = None) -> jax.Array:
    """The key of a step for one use, and one turn of the discriminator."""
    rng = jax.random.fold_in(rng, use)
    return rng if turn is None else jax.random.fold_in(rng, turn)


_FAKES_OF_DIS = {Use.GEN_Z: Use.DIS_Z, Use.GEN_LABELS: Use.DIS_LABELS}


def key_of_first_fakes(rng: jax.Array, use: Use) -> jax.Array:
    """`key_of` for a generator that is updated on the fakes of the first turn of the
    discriminator."""
    return (
        key_of(rng, _FAKES_OF_DIS[use], jnp.int32(0)) if use in _FAKES_OF_DIS else key_of(rng, use)
    )


def draw_noise(
    ids: jax.Array,
    z_rng: jax.Array,
    label_rng: jax.Array,
    dim_z: int,
    latent: str,
    num_classes: int,
    class_counts: Sequence[int] = (),
) -> Noise:
    """Noise of the examples `ids`; classes are independent of the real images' (`class_labels`)."""
    labels = class_labels(label_rng, ids, num_classes, class_counts) if num_classes else None
    return Noise(latents(z_rng, ids, dim_z, latent), labels)


def soft_labels(
    labels: Int[Array, '*b'], num_classes: int, share: Float[Array, '']
) -> Float[Array, '*b k']:
    """Weights of the classes: `share` for the image's own, the rest spread evenly over all.

    At share 0 all images look alike to a conditional batch norm, a class beside z and a projection,
    so the GAN is unconditional; at 1 it is conditional. Shahbazi et al. 2022 (arXiv:2201.06578)
    bring classes into StyleGAN2 in this way: there the weight multiplies G's class embedding and
    the conditional part of the loss, which has a logit of its own.
    """
    return share * jax.nn.one_hot(labels, num_classes) + (1 - share) / num_classes


def linear_rise(start: int, end: int) -> Callable[[jax.Array], jax.Array]:
    """0 until `start` generator updates are done, 1 from `end` on, linear between them."""

    def share(step):
        return jnp.clip((step - start) / max(1, end - start), 0.0, 1.0).astype(jnp.float32)

    return share


def augmented(
    batch: Batch, keys: jax.Array, policy: tuple[str, ...], chance: float | jax.Array = 1.0
) -> Batch:
    """The batch as D sees it: every image augmented by its own key, with that probability.

    Fakes of near latents are augmented as the fake beside them.
    """
    if not policy:
        return batch
    image = augment(batch.image, keys, policy, chance)
    near = None if batch.near is None else augment(batch.near, keys, policy, chance)
    return batch._replace(image=image, near=near)


def penalty_inputs(
    score: Callable[[jax.Array, Any], jax.Array],
    params: Any,
    model_state: Mapping[str, Any],
    real: Batch,
    fake: Batch,
    keys: jax.Array,
    all_real: jax.Array,
) -> PenaltyInputs:
    """Inputs of the penalties, from D's logits as a function of images and labels.

    Args:
        score: with D's collections frozen.
        params, model_state: of D.
        real, fake: the images.
        keys: one per pair.
        all_real: this device's real images, of which `real` may be a part.
    """
    return PenaltyInputs(
        score=lambda images: score(images, real.label),
        score_fake=lambda images: score(images, fake.label),
        params=params,
        spectral=model_state.get('spectral', {}),
        real=real.image,
        fake=fake.image,
        keys=keys,
        all_real=all_real,
        near=fake.near,
        mean=parallel.batch_mean,
    )


def outputs_on_both(
    judge: Callable[..., Any],
    dis: Any,
    params: Any,
    real: Batch | None,
    fake: Batch,
    *,
    in_two_passes: bool,
) -> tuple[Any, Any, Any]:
    """A discriminator's outputs on real images and on fakes, and its collections after both.

    One pass over both batches is the faster one, and gives the same outputs unless a pass changes
    what the next one sees: batch statistics, or a power iteration at every pass.

    Args:
        judge: (player, params, images, labels) -> outputs and collections.
        dis: the player.
        params: in place of the player's own.
        real, fake: the images and their labels; without real images there is no output on them.
        in_two_passes: real images first, then the fakes.
    """
    fakes = fake.image, fake.label
    if real is None:
        return None, *judge(dis, params, *fakes)
    reals, num = (real.image, real.label), len(real.image)
    if in_two_passes:
        real_out, model_state = judge(dis, params, *reals)
        fake_out, model_state = judge(dis.replace(model_state=model_state), params, *fakes)
        return real_out, fake_out, model_state
    both = jax.tree.map(lambda *x: jnp.concatenate(x), reals, fakes)
    out, model_state = judge(dis, params, *both)
    real_out = jax.tree.map(lambda x: x[:num], out)
    fake_out = jax.tree.map(lambda x: x[num:], out)
    return real_out, fake_out, model_state


def remembered(
    state: GanState,
    metrics: Mapping[str, jax.Array],
    adaptive: Adaptive | None,
    lecam: LeCam | None,
    batch_size: int,
) -> tuple[GanState, dict[str, jax.Array]]:
    """What a discriminator update leaves in the state beside the players, and scalars to log.

    Args:
        state: during the update.
        metrics: of this device's images: `real_signs`, `real_logits` and `fake_logits`.
        adaptive, lecam: the rules; None for those that are off.
        batch_size: real images of the update, over all devices.
    """
    logged = {}
    if adaptive and state.chance:
        signs = parallel.mean(metrics['real_signs'])
        chance = adaptive.observed(state.chance, signs, batch_size)
        state, logged['augment_chance'] = state.replace(chance=chance), chance.value
    if lecam and state.anchors:
        real, fake = (parallel.mean(metrics[name]) for name in ('real_logits', 'fake_logits'))
        anchors = lecam.observed(state.anchors, real, fake, state.step)
        state, logged['anchor_real'] = state.replace(anchors=anchors), anchors.real / anchors.weight
        logged['anchor_fake'] = anchors.fake / anchors.weight
    return state, logged
