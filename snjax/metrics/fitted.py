"""Extractor `fitted`: a small classifier of the run's own labelled images, fitted in minutes.

For images that no published classifier knows. A 3x3 convolution, three 4x4 ones of stride 2, mean
pooling (the features) and one dense layer, trained on nine tenths of the set by Adam. The accuracy
on the last tenth says how far its features can be trusted and stands in every manifest. Distances
compare only where the weights are the same: their hash stands there too.
"""

import functools
import hashlib
import io
import json
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, UInt

from snjax import parallel
from snjax.data.image_set import ImageSet
from snjax.data.lazy_images import LazyImages
from snjax.host.folders import cache_folder
from snjax.image_format import to_floats
from snjax.nn import layers
from snjax.nn.normalization import activation_layer_norm
from snjax.runs.files import replace_file

SIZE = 32  # px; larger images are resized
WIDTHS = (32, 64, 128, 128)  # the last is the number of features
_FORMAT = 1  # to be raised with every change of the network or of its fitting
_BATCH = 128
_UPDATES = 1500
_RATE = 2e-3


class Classifier(NamedTuple):
    """A fitted classifier.

    Attributes:
        variables: of the network.
        sha256: of the bytes of the variables.
        held_out_accuracy: share of correct answers on the tenth that it was not fitted to.
    """

    variables: dict[str, Any]
    sha256: str
    held_out_accuracy: float


class Network(nn.Module):
    """Features (n, 128) and logits (n, num_classes) of images (n, h, w, c) in [-1, 1]."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, 'n h w c']) -> tuple[Float[Array, 'n 128'], Array]:
        for i, width in enumerate(WIDTHS):
            size, stride = (4, 2) if i else (3, 1)
            x = layers.Conv(width, size, strides=stride, use_bias=False, name=f'conv{i + 1}')(x)
            x = nn.relu(activation_layer_norm(train=True, name=f'norm{i + 1}', dtype=None)(x))
        features = x.mean(axis=(1, 2))
        return features, layers.Dense(self.num_classes, name='classify')(features)


def apply(
    variables: dict[str, Any], images: UInt[Array, 'n h w c']
) -> tuple[Float[Array, 'n 128'], Float[Array, 'n k']]:
    """Features and logits of images; those above 32 px are resized, bilinear and antialiased."""
    x = to_floats(images)
    n, h, w, c = x.shape
    if max(h, w) > SIZE:
        x = jax.image.resize(x, (n, min(h, SIZE), min(w, SIZE), c), 'bilinear')
    num_classes = variables['params']['classify']['bias'].shape[0]
    found: Any = Network(num_classes).apply(variables, x)
    return found


def classifier(image_set: ImageSet, cache_dir: str | None = None) -> Classifier:
    """The classifier of a set, from the cache or fitted anew.

    Args:
        image_set: with two classes or more.
        cache_dir: folder of the cache; None for the default one.

    Raises:
        ValueError: the set has no classes.
    """
    if len(image_set.class_names) < 2:
        raise ValueError(
            f"eval.extractor is 'fitted', but {image_set.name} has no classes to fit a classifier "
            'to: use --config.eval.extractor=patches, which needs none'
        )
    key = json.dumps([_FORMAT, image_set.sha256, parallel.backend(), jax.__version__])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder(cache_dir) / f'classifier-{image_set.name}-{digest}.npz'
    if not parallel.any_process(not path.is_file()):
        return _read(path.read_bytes())
    variables, accuracy = _fit(image_set)
    content = io.BytesIO()
    arrays: dict[str, Any] = flatten_dict(variables, sep='/')
    np.savez(content, allow_pickle=False, accuracy=accuracy, **arrays)
    if parallel.is_main():
        replace_file(path, content.getvalue())
    return _read(content.getvalue())


def _read(content: bytes) -> Classifier:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in sorted(file.files)}
    accuracy = float(arrays.pop('accuracy'))
    digest = hashlib.sha256(b''.join(arrays[name].tobytes() for name in arrays)).hexdigest()
    return Classifier(unflatten_dict(arrays, sep='/'), digest, accuracy)


def _fit(image_set: ImageSet) -> tuple[dict[str, Any], float]:
    """Variables and held-out accuracy."""
    order = np.random.default_rng(0).permutation(len(image_set.images))
    held_out, train = np.split(order, [max(1, len(order) // 10)])
    images, labels = image_set.images, image_set.labels
    network = Network(len(image_set.class_names))
    # The weights do not depend on height and width.
    blank = jnp.zeros((1, SIZE, SIZE, images.shape[-1]))
    variables: Any = jax.jit(network.init)(jax.random.key(0), blank)
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, _UPDATES))
    state = variables, optimizer.init(variables)

    def update(state, batch, targets):
        variables, opt_state = state

        def loss(variables):
            _, logits = apply(variables, batch)
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(variables), opt_state)
        return optax.apply_updates(variables, updates), opt_state

    batches = _batches(images, labels, train)
    program = parallel.compile(jax.jit(update).lower(state, *next(batches)))
    for _ in range(_UPDATES):
        state = program(state, *next(batches))
    variables = jax.tree.map(np.asarray, state[0])
    return variables, _accuracy(variables, images, labels, held_out)


def _batches(images: UInt[np.ndarray, 'n h w c'] | LazyImages, labels: Int[np.ndarray, ' n'], rows):
    """Endless batches of images and labels."""
    rng = np.random.default_rng(1)
    while True:
        chosen = np.sort(rng.choice(rows, _BATCH, replace=len(rows) < _BATCH))
        yield np.asarray(images[chosen]), labels[chosen]


def _accuracy(variables, images, labels, rows) -> float:
    logits = functools.partial(jax.jit(lambda v, x: apply(v, x)[1]), variables)
    right = 0
    for start in range(0, len(rows), _BATCH):
        part = np.sort(rows[start : start + _BATCH])
        right += int(
            (np.asarray(logits(np.asarray(images[part]))).argmax(-1) == labels[part]).sum()
        )
    return right / len(rows)
