"""Feature extractors by name, for Frechet distances and other scores of features.

Only Inception's distance is FID. The distance of another extractor is called 'Frechet distance
(extractor)' and compares only with distances of the same extractor; `inception_clean` is Inception
behind the resize of clean-fid.

`patches` has no network: it hands the pixels on, whose scores are those of `snjax.metrics.patches`.
`fitted` is a classifier that is fitted to the run's own labelled training images. A name with a colon
is the import path of a network of the user's own (`snjax.metrics.imported`).
"""

import dataclasses
import functools
import importlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from snjax import parallel
from snjax.data.image_set import ImageSet
from snjax.data.lazy_images import LazyImages
from snjax.host import paths
from snjax.metrics import imported

# Usual names of the files of weights, see `load`.
_FILES = {
    'cifar_resnet56': 'resnet56_cifar10.npz',
    'inception': 'inception-2015-12-05.safetensors',
    'inception_clean': 'inception-2015-12-05.safetensors',
    'dinov2': 'dinov2-large.safetensors',
    'clip': 'clip-vit-large-patch14-336.safetensors',
}
# Those without a file of weights.
_WITHOUT_FILE = ('digits', 'patches', 'fitted')
EXTRACTORS = (*_WITHOUT_FILE, *_FILES)
# Modules of published networks, where their names are not the extractors'.
_MODULES = {'cifar_resnet56': 'cifar_resnet', 'inception_clean': 'inception'}
# Those that see images of any number of channels and bits.
_ANY_IMAGES = ('patches', 'fitted')


class Features(NamedTuple):
    """Outputs of an extractor for n images, in order.

    Attributes:
        features: for distances; the images (n, h, w, c) themselves for `patches`.
        logits: of the extractor's classes; Inception's without bias, as its score takes them.
    """

    features: Num[np.ndarray, 'n *d']
    logits: Float[np.ndarray, 'n k']


@dataclasses.dataclass(frozen=True)
class Yardstick:
    """A second score of fakes, beside the same score of references.

    References are sets of known quality: held-out real images, and samples of useless models.

    Attributes:
        name: the protocol of its row in `scores.json`.
        channels: numbers of image channels that it accepts.
        score: uint8 images (n, h, w, c) to an object with `values`, `manifest`, `details` and
            `lines()`, as `snjax.metrics.digits.DigitsScore`.
    """

    name: str
    channels: tuple[int, ...]
    score: Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network and its weights.

    Attributes:
        name: one of `EXTRACTORS`, or an import path.
        variables: its weights.
        function: `(variables, images) -> (features, logits)`, which JAX traces.
        sha256: of the weights.
        resize: how images are resized to the input size, in words.
        classes: names of the logits' classes, to compare with those of a data set; () if no data
            set here has them.
        yardstick: a second score at the end of a training, or None.
        title: what stands in the brackets of 'Frechet distance (...)'; '' for the name.
        about: more entries for the manifests of scores.
    """

    name: str
    variables: Any
    function: Callable[[Any, Any], tuple[Any, Any]]
    sha256: str
    resize: str
    classes: tuple[str, ...] = ()
    yardstick: Yardstick | None = None
    title: str = ''
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_pixels(self) -> bool:
        """Whether its features are the images themselves, compared by `snjax.metrics.patches`."""
        return self.name == 'patches'

    @property
    def is_inception(self) -> bool:
        """Whether the Frechet distance of this extractor is FID."""
        return self.name == 'inception'

    def __call__(self, images: Any) -> Any:
        """Starts the computation of (features, logits) on the devices and does not wait for it.

        The number of images is a multiple of the number of devices.
        """
        program, variables = self._program
        return program(variables, images)

    @functools.cached_property
    def _program(self):
        return parallel.OverBatches(self.function), parallel.replicate(self.variables)

    def of(self, batches: Iterable[tuple[Any, int]]) -> Features:
        """Features of (images, count) pairs; the first `count` images of each batch count."""
        pending: list[tuple[Any, int]] = []
        done = []
        for images, count in batches:
            pending.append((self(images), count))
            if len(pending) > 2:  # keeps the device busy and its memory small
                done.append(_fetched(*pending.pop(0)))
        done += [_fetched(*item) for item in pending]
        return Features(*map(np.concatenate, zip(*done, strict=True)))


def _fetched(out, count):
    return [np.asarray(x)[:count] for x in out]


def batches_of(
    images: np.ndarray | LazyImages, batch_size: int
) -> Iterable[tuple[np.ndarray, int]]:
    """Yields (batch, count) of one shape; copies of an image fill up the last batch."""
    for start in range(0, len(images), batch_size):
        part = np.asarray(images[start : start + batch_size])
        filler = np.repeat(part[:1], batch_size - len(part), axis=0)
        yield np.concatenate([part, filler]), len(part)


def check_name(name: str) -> None:
    """Raises a ValueError of one line for an unknown extractor."""
    if name not in EXTRACTORS and not imported.is_path(name):
        raise ValueError(
            f'eval.extractor is {name!r}: accepted are {", ".join(EXTRACTORS)}, and '
            'package.module:function of your own'
        )


def check_images(name: str, channels: int, bits: int) -> None:
    """Raises a ValueError of one line for images that a published network does not see."""
    if (
        name not in _ANY_IMAGES
        and not imported.is_path(name)
        and (channels not in (1, 3) or bits != 8)
    ):
        raise ValueError(
            f"eval.extractor is {name!r}, which sees images of 1 or 3 channels with 8 bits, and the set's "
            f'have {channels} with {bits}: use patches, which takes any images, or fitted, for images '
            'with classes'
        )


def load(
    name: str,
    weights: str | os.PathLike[str] = '',
    *,
    training_set: Callable[[], ImageSet] | None = None,
    cache_dir: str | None = None,
) -> Extractor:
    """Loads an extractor.

    Args:
        name: one of `EXTRACTORS`, or an import path.
        weights: the file of weights, or the folder that holds it under its usual name; empty for
            `$SNJAX_WEIGHTS`, or else `~/.cache/snjax/weights`. `digits`, `patches` and `fitted`
            need none.
        training_set: the images that `fitted` is fitted to.
        cache_dir: where the fitted network is kept; see `snjax.metrics.reference.Reference`.

    Raises:
        ValueError: an unknown name, another or a damaged file, or a set without classes.
        FileNotFoundError: no such file; the message says where to get it.
    """
    check_name(name)
    if name == 'digits':
        return _digits()
    if name == 'patches':
        return _patches()
    if name == 'fitted':
        if training_set is None:
            raise ValueError("the extractor 'fitted' needs the images that it is fitted to")
        return _fitted(training_set(), cache_dir)
    if imported.is_path(name):
        own = imported.load(name, os.fspath(weights))
        return Extractor(name, own.variables, own.apply, own.sha256, 'that of its own')
    return _PUBLISHED[name](name, _weights_path(name, weights))


def check_weights(name: str, weights: str | os.PathLike[str] = '') -> None:
    """Checks that the weights that `load` would read are there, without reading them.

    Args:
        name, weights: as for `load`.

    Raises:
        ValueError: an unknown name, or no such function of your own.
        FileNotFoundError: no such file; the message says where to get it.
    """
    check_name(name)
    if imported.is_path(name):
        imported.find(name)
    elif name not in _WITHOUT_FILE:
        module = importlib.import_module(f'snjax.metrics.{_MODULES.get(name, name)}')
        module.WEIGHTS.check_exists(_weights_path(name, weights))


def _weights_path(name: str, weights: str | os.PathLike[str]) -> pathlib.Path:
    folder = weights or os.environ.get('SNJAX_WEIGHTS') or '~/.cache/snjax/weights'
    path = paths.expanded(folder, 'eval.weights')
    is_file = path.suffix in ('.npz', '.safetensors') or (path.exists() and not path.is_dir())
    return path if is_file else path / _FILES[name]


def _digits():
    from snjax.metrics import digits, digits_classifier

    fitted = digits_classifier.fit()
    return Extractor(
        'digits',
        fitted.variables,
        digits_classifier.apply,
        fitted.sha256,
        'area average to 8x8, grey',
        digits_classifier.CLASSES,
        Yardstick('digits yardstick', (1,), lambda images: digits.DigitsYardstick().score(images)),
    )


def _patches():
    def pixels(_, images):
        return images, jnp.zeros((len(images), 1))

    return Extractor('patches', {}, pixels, '', 'none')


def _fitted(image_set, cache_dir):
    from snjax.metrics import fitted

    found = fitted.classifier(image_set, cache_dir)
    return Extractor(
        'fitted',
        found.variables,
        fitted.apply,
        found.sha256,
        'at most 32 px, bilinear with antialiasing',
        image_set.class_names,
        title=f'classifier of {image_set.name}',
        about={'held_out_accuracy': found.held_out_accuracy, 'fitted_to': image_set.sha256},
    )


def _cifar_resnet56(name, path):
    from snjax.metrics import cifar_resnet

    loaded = cifar_resnet.load(path)
    resize = '32x32, bilinear with antialiasing where another size'
    classes = cifar_resnet.CLASSES
    return Extractor(name, loaded.variables, cifar_resnet.apply, loaded.sha256, resize, classes)


def _inception(name, path):
    from snjax.metrics import inception

    loaded = inception.load(path)
    clean = name == 'inception_clean'
    resized = inception.resize_clean if clean else inception.resize_tf1

    def function(variables, images):
        out = inception.apply(variables, images, resized=resized)
        return out.pool3, out.logits_unbiased

    resize = "299x299, TensorFlow 1's bilinear (no antialiasing)"
    if clean:
        resize = "299x299, PIL's bicubic in float32 with antialiasing (clean-fid)"
    title = "Inception, clean-fid's resize" if clean else ''
    return Extractor(name, loaded.variables, function, loaded.sha256, resize, title=title)


def _vision_transformer(name, path):
    loaded = importlib.import_module(f'snjax.metrics.{name}').load(path)
    side = f'{loaded.size}x{loaded.size}'
    resize = f"{side}, PIL's bicubic with antialiasing and 8 bits"
    if name == 'clip':
        resize += ', of the largest centred square'

    return Extractor(
        name, loaded.variables, loaded.apply, loaded.sha256, resize, title=loaded.title
    )


_PUBLISHED = {
    'cifar_resnet56': _cifar_resnet56,
    'inception': _inception,
    'inception_clean': _inception,
    'dinov2': _vision_transformer,
    'clip': _vision_transformer,
}
