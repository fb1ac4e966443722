"""What the discriminator of a GAN is at one state: how steep, how far it separates, what G gets.

For `--mode=diagnose`, and for `diagnostics.every` while training. D and G are seen as in
evaluation: with running statistics, u and v frozen, images not augmented.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.acgan import AcGan
from experiments.gan import Gan, GanState
from snjax import parallel
from snjax.image_format import to_floats
from snjax.latents.sampling import class_labels, generate, latents
from snjax.models import Discriminator
from snjax.models.heads import EMBEDDED
from snjax.models.lipschitz import product_bound
from snjax.objectives.class_losses import one_device
from snjax.objectives.lower_bounds import largest_ratios
from snjax.spectral.watch import Watched, watch
from snjax.training.adversarial import Batch, Noise, soft_labels
from snjax.training.conditioning import blank_labels, labels_in_turn
from snjax.training.player import Player


class Effort(NamedTuple):
    """How much is computed.

    Attributes:
        num: images of each kind.
        starts: of the ascent, the steepest of all images.
        ascent_steps: of each.
        norm_steps: of `snjax.spectral.lanczos`.
    """

    num: int
    starts: int
    ascent_steps: int
    norm_steps: int


# While training: layers' norms may be 1 % too low.
LIGHT = Effort(num=32, starts=8, ascent_steps=8, norm_steps=24)


class Measurement:
    """Scalars of states by name, on fixed real images and fixed z; compiled at the first use.

    `docs/usage/diagnose.md` says what each name means.

    Args:
        method: the GAN.
        pixels: real images (num, h, w, c).
        classes: of the images (num,); ignored without classes.
        effort: what to spend.
    """

    def __init__(self, method: Gan, pixels: np.ndarray, classes: np.ndarray, effort: Effort):
        self._method, self._effort = measurable(method), effort
        self._data = jnp.asarray(pixels), jnp.asarray(classes)
        self._programs: list[Any] = []

    def __call__(self, state: GanState) -> dict[str, float]:
        """Measures one replica of a state."""
        arguments = state, *self._data
        if not self._programs:
            parts = (_layers, False), (_behaviour, True)
            # The layers' norms take long to compile and little to compute.
            self._programs = [
                parallel.compile(
                    jax.jit(functools.partial(part, self._method, self._effort)).lower(*arguments),
                    quickly=not often,
                )
                for part, often in parts
            ]
        found = {}
        for program in self._programs:
            found |= {name: float(x) for name, x in jax.device_get(program(*arguments)).items()}
        return found | upper_bound(self._method.dis, found)


def measurable(method: Gan) -> Gan:
    """The same GAN for one device and in a form whose layers can be seen."""
    # A loss that compares with the mean of the batch takes that of the images at hand.
    loss = method.loss._replace(batch_wide=False)
    dis = method.dis.clone(remat=False) if getattr(method.dis, 'remat', False) else method.dis
    method = dataclasses.replace(method, loss=loss, dis=dis)
    if isinstance(method, AcGan) and getattr(method.dis, 'head', '') in EMBEDDED:
        alone = functools.partial(method.class_loss, whole=one_device)
        method = dataclasses.replace(method, class_loss=alone)
    return method


def upper_bound(dis: Any, found: Mapping[str, float]) -> dict[str, float]:
    """`lipschitz/upper` from the norms `operator/...`; {} where there is no finite bound."""
    norms = {k.removeprefix('operator/'): v for k, v in found.items() if k.startswith('operator/')}
    bound = product_bound(dis, norms) if isinstance(dis, Discriminator) else math.inf
    return {'lipschitz/upper': bound} if math.isfinite(bound) else {}


def _layers(method: Gan, effort: Effort, state: GanState, pixels, classes):
    """The norm of each layer of D, and by how much its sigma is wrong where it has one."""
    one = jax.tree.map(lambda x: x[:1], _real(method, state, pixels, classes))
    inputs = one.image, one.label
    found = watch(method.dis, state.dis.variables, *inputs, n_steps=effort.norm_steps, train=False)
    norms = {f'operator/{path}': layer.operator for path, layer in found.items()}
    return norms | {f'sigma_error/{path}': x for path, x in _errors(found).items()}


def _errors(found: Mapping[str, Watched]) -> dict[str, Any]:
    return {
        path: layer.sigma / layer.exact - 1
        for path, layer in found.items()
        if layer.sigma is not None and layer.exact is not None
    }


def layer_errors(method: Gan, n_steps: int) -> Callable[[GanState], dict[str, float]]:
    """A function from states to sigma / exact - 1 of each layer of D that keeps u and v."""
    image = jnp.zeros((1, *method.image_shape))
    labels = blank_labels(1, method.num_classes, method.num_conditions)

    @jax.jit
    def errors(variables):
        return _errors(watch(method.dis, variables, image, labels, n_steps=n_steps, train=False))

    def measure(state):
        return {name: float(x) for name, x in errors(state.dis.variables).items()}

    return measure


def _behaviour(method: Gan, effort: Effort, state: GanState, pixels, classes):
    """How steep D is, what it says, and what G gets of it."""
    real = _real(method, state, pixels, classes)
    noise = _noise(method, state.step, effort.num)

    def images_of(params):
        variables = {'params': params, **state.gen.model_state}
        return generate(method.gen, variables, noise.z, noise.label)

    made, to_params = jax.vjp(images_of, state.gen.params)
    fake = Batch(made, noise.label)
    share = jnp.linspace(0, 1, effort.num)[:, None, None, None]
    between = Batch(real.image + share * (fake.image - real.image), real.label)
    images, labels, _ = jax.tree.map(lambda *x: jnp.concatenate(x), real, fake, between)
    out, to_images = jax.vjp(lambda x: _discriminate(method, state.dis, x, labels), images)
    logits, to_out = jax.vjp(method.logits, out)
    gradients = to_images(*to_out(jnp.ones_like(logits)))[0]
    found = _steepness(logits, gradients)
    starts = jnp.argsort(-_lengths(gradients))[: effort.starts]
    chosen = None if labels is None else jnp.tile(labels[starts], (2, *(1,) * (labels.ndim - 1)))
    ratios = largest_ratios(
        lambda x: method.logits(_discriminate(method, state.dis, x, chosen)),
        images[starts],
        gradients[starts],
        n_steps=effort.ascent_steps,
    )
    found['lipschitz/lower'] = jnp.max(ratios)

    # What G gets.
    real_out, fake_out = (
        jax.tree.map(lambda x, part=part: jnp.split(x, 3)[part], out) for part in (0, 1)
    )
    slope = jax.grad(
        lambda out: method.gen_loss(
            out, real_out if method.loss.relativistic else None, fake.label
        )[0]
    )(fake_out)
    padded = jax.tree.map(lambda x: jnp.concatenate([0 * x, x, 0 * x]), slope)
    reaches = jnp.split(to_images(padded)[0], 3)[1]
    (grads,) = to_params(reaches)
    rate = method.learning_rate(state.step)
    moved = state.gen.descend(grads, method.optimizer, rate, state.step)
    after = images_of(moved.params)
    length = _lengths(after - made)
    said = method.logits(_discriminate(method, state.dis, after, fake.label))
    rise = said - jnp.split(logits, 3)[1]
    found['gen/image_gradient'] = jnp.mean(_lengths(reaches)) * effort.num
    found['gen/image_gradient_min'] = jnp.min(_lengths(reaches)) * effort.num
    found['gen/parameter_gradient'] = optax.tree.norm(grads)
    found['gen/move'] = jnp.mean(length)
    found['gen/slope_along_move'] = jnp.sum(rise) / jnp.maximum(jnp.sum(length), 1e-30)
    return found


def _discriminate(method: Gan, dis: Player, images: jax.Array, labels: Any) -> Any:
    return method.dis.apply(dis.variables, images, labels, train=False)


def _real(method: Gan, state: GanState, pixels: jax.Array, classes: jax.Array) -> Batch:
    return Batch(to_floats(pixels), _labels(method, classes, state.step))


def _labels(method: Gan, classes: jax.Array, step: jax.Array) -> Any:
    """What D sees of classes or numbers, as in training."""
    if not method.num_classes:
        return classes if method.num_conditions else None
    if method.class_share is None:
        return classes
    return soft_labels(classes, method.num_classes, method.class_share(step))


def _noise(method: Gan, step: jax.Array, num: int) -> Noise:
    """The same z and classes at every step."""
    ids, key = jnp.arange(num), jax.random.key(0)
    z = latents(jax.random.fold_in(key, 0), ids, method.dim_z, method.latent)
    if method.num_conditions:
        return Noise(z, labels_in_turn(None, num, 0, method.num_conditions, method.grid_rows))
    label_rng, num_classes = jax.random.fold_in(key, 1), max(1, method.num_classes)
    classes = class_labels(label_rng, ids, num_classes, method.class_counts)
    return Noise(z, _labels(method, classes, step))


def _steepness(logits: jax.Array, gradients: jax.Array) -> dict[str, jax.Array]:
    """Slopes at three kinds of images, logits, and the active terms of the hinge loss."""
    kinds = ('real', 'fake', 'between')
    said, steep = (
        dict(zip(kinds, jnp.split(x, 3), strict=True)) for x in (logits, _lengths(gradients))
    )
    found = {f'slope/{kind}': jnp.mean(x) for kind, x in steep.items()}
    found |= {f'slope/{kind}_max': jnp.max(x) for kind, x in steep.items()}
    for kind in ('real', 'fake'):
        found[f'logits/{kind}'] = jnp.mean(said[kind])
        found[f'logits/{kind}_min'] = jnp.min(said[kind])
        found[f'logits/{kind}_max'] = jnp.max(said[kind])
    found['hinge/real_active'] = jnp.mean(said['real'] < 1)
    found['hinge/fake_active'] = jnp.mean(said['fake'] > -1)
    return found


def _lengths(x):
    return jnp.sqrt(jnp.sum(jnp.square(x), (1, 2, 3)))
