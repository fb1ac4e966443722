"""Signs that a GAN collapses, measured at every log beside the losses, which do not show it.

* `diversity`: how far a fake is from the fake nearest to it, over the same among real images, as a
  mean of a few dozen images, in pixels. 0: all fakes are alike (in each class, where there are
  classes); about 1: as different as photos of the set are.
* `saturation`: the share of D's logits, on real images and fakes, at which D's own loss has no
  slope left (below 1 % of the slope that one image can have). 1: D learns nothing more.
* `dis_accuracy`: the share of pairs of a real image and a fake that D ranks rightly. 1: D tells all
  fakes; 0.5: none.

They are computed by a program of their own, so that no bit of the training depends on them, and not
more often than every `INTERVAL` updates, so that they cost less than 1 %. A sign that stays past its
bound for `PATIENCE` measurements in a row is a warning, once until it has recovered.
The bounds are between what healthy and collapsed runs on digits show (docs/reliability.md).
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snjax import parallel
from snjax.image_format import to_floats
from snjax.latents.sampling import seed_key

PATIENCE, INTERVAL = 10, 50
_MIN_IMAGES = 8  # fewer say nothing
_NO_SLOPE = 0.01


class Bound(NamedTuple):
    """When a sign is one of collapse: `is_bad(values of a log)`, and the words of the warning."""

    is_bad: Callable[[Mapping[str, float]], bool]
    words: str


BOUNDS = {
    'diversity': Bound(
        lambda v: v['diversity'] < 0.7, 'samples are more alike than real images are'
    ),
    'saturation': Bound(
        lambda v: v['saturation'] > 0.95 and v['dis_accuracy'] > 0.999,
        'the discriminator tells every fake and its loss has no slope left',
    ),
}


def signs(
    fake: jax.Array,
    real: jax.Array,
    fake_logits: jax.Array,
    real_logits: jax.Array,
    dis_loss: Callable[[jax.Array, jax.Array], jax.Array],
) -> dict[str, jax.Array]:
    """The signs of this module, scalars, from images (n, H, W, C) and logits (n,) of both kinds.

    Args:
        fake, real: images; without classes in any order, else of the same classes.
        fake_logits, real_logits: D's.
        dis_loss: of `(real_logits, fake_logits)`, a mean over images.
    """
    slopes = jax.grad(dis_loss, argnums=(0, 1))(real_logits, fake_logits)
    slopes = jnp.abs(jnp.concatenate(slopes)) * len(real_logits)
    return {
        'diversity': nearest_distance(fake) / nearest_distance(real),
        'saturation': jnp.mean(slopes < _NO_SLOPE),
        'dis_accuracy': jnp.mean(real_logits[:, None] > fake_logits[None]),
    }


def nearest_distance(images: jax.Array) -> jax.Array:
    """Mean distance of an image to the nearest other one, per pixel value (root mean square)."""
    flat = images.reshape(len(images), -1).astype(jnp.float32)
    flat -= jnp.mean(flat, axis=0)
    product = jnp.matmul(flat, flat.T, precision='highest')
    squares = jnp.diagonal(product)
    distances = squares[:, None] + squares[None] - 2 * product
    distances = jnp.where(jnp.eye(len(flat), dtype=bool), jnp.inf, distances)
    return jnp.mean(jnp.sqrt(jnp.maximum(jnp.min(distances, axis=1), 0) / flat.shape[1]))


class Sentinel:
    """Measures the signs of one run and says when they last.

    Args:
        watch: `(state, rng, images, labels) -> signs`, a method's (`experiments.gan.Gan.watch`).
        pixels, labels: the training set, of which a few images spread over it are compared.
        num: of images of each kind.
        seed: of the run.
    """

    def __init__(
        self, watch: Callable[..., Any], pixels: Any, labels: np.ndarray, *, num: int, seed: int
    ):
        index = np.unique(np.linspace(0, len(pixels) - 1, num).astype(int))
        images = to_floats(np.stack([np.asarray(pixels[i]) for i in index]))
        self._given = images, np.asarray(labels)[index]
        self._watch, self._rng = watch, seed_key(seed, 'sentinel')
        self._program: Callable[..., Any] | None = None
        self._bad = {name: collections.deque(maxlen=PATIENCE) for name in BOUNDS}
        self._warned: set[str] = set()

    @staticmethod
    def is_due(step: int, log_every: int) -> bool:
        """Whether a log at this step measures the signs: every log, or the first in `INTERVAL`."""
        return step // INTERVAL > (step - log_every) // INTERVAL

    def measure(self, state: Any, step: int) -> dict[str, float]:
        """The signs of a state on one device; compiled at the first call."""
        arguments = state, jax.random.fold_in(self._rng, step), *self._given
        program = self._program
        if program is None:
            lowered = jax.jit(self._watch).lower(*arguments)
            program = self._program = parallel.compile(lowered)
        return {name: float(x) for name, x in jax.device_get(program(*arguments)).items()}

    def judge(self, values: Mapping[str, float]) -> str:
        """A warning in one line, if the signs of this log make one due; '' otherwise."""
        due = []
        for name, bound in BOUNDS.items():
            self._bad[name].append(bound.is_bad(values))
            lasts = len(self._bad[name]) == PATIENCE and all(self._bad[name])
            if lasts and name not in self._warned:
                self._warned.add(name)
                due.append(bound.words)
            elif not any(self._bad[name]):
                self._warned.discard(name)
        if not due:
            return ''
        numbers = ', '.join(f'{name} {value:.3f}' for name, value in values.items())
        return f'this run may have collapsed: {"; ".join(due)}, for {PATIENCE} measurements ({numbers})'


def of(method: Any, pixels: Any, labels: np.ndarray, *, num: int, seed: int) -> Sentinel | None:
    """The sentinel of a method that has `watch`; None without it, or for too few images."""
    watch = getattr(method, 'watch', None)
    if watch is None or min(num, len(pixels)) < _MIN_IMAGES:
        return None
    return Sentinel(watch, pixels, labels, num=num, seed=seed)
