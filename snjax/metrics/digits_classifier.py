"""Extractor `digits`: a small classifier of scikit-learn's digits, fitted in a second on demand.

One hidden layer on 8x8 pixels (scikit-learn's MLPClassifier, seeded), fitted to the 1,297 training
digits of `snjax.metrics.digits`. Its features are the activations of the hidden layer. It needs no
download and shows whether a generator of digits improves; its distances mean nothing for other
images.
"""

import functools
import hashlib
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from snjax.metrics import digits

DIM = 64
CLASSES = tuple(str(i) for i in range(10))
_EPOCHS = 60


class Classifier(NamedTuple):
    """A fitted classifier.

    Attributes:
        variables: kernels and biases of the two layers, float32.
        sha256: of the bytes of the variables.
        held_out_accuracy: share of correct answers on the 500 held-out digits.
    """

    variables: dict[str, Float[np.ndarray, '...']]
    sha256: str
    held_out_accuracy: float


@functools.cache
def fit() -> Classifier:
    """Fits the classifier: the same on one machine, and the same up to rounding on others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    train, held_out = (digits.split()[part] for part in ('train', 'held_out'))
    model = MLPClassifier(
        (DIM,),
        learning_rate_init=3e-3,
        max_iter=_EPOCHS,
        tol=0.0,
        n_iter_no_change=_EPOCHS,
        random_state=0,
    )
    # Products this small are faster on one thread.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)  # it stops after a fixed count
        model.fit(train.pixels, train.labels)
    variables = {
        name: np.asarray(value, np.float32)
        for i in (0, 1)
        for name, value in ((f'kernel_{i}', model.coefs_[i]), (f'bias_{i}', model.intercepts_[i]))
    }
    content = b''.join(variables[name].tobytes() for name in sorted(variables))
    accuracy = float(model.score(held_out.pixels, held_out.labels))
    return Classifier(variables, hashlib.sha256(content).hexdigest(), accuracy)


def apply(
    variables: dict[str, Any], images: UInt8[Array, 'n h w c']
) -> tuple[Float[Array, 'n 64'], Float[Array, 'n 10']]:
    """Features and logits of images of at least 8x8, averaged to 8x8 grey pixels in [0, 1]."""
    grey = images.astype(jnp.float32).mean(axis=-1) / 255
    rows, columns = (jnp.asarray(digits.area_weights(n), jnp.float32) for n in images.shape[1:3])
    exact = lax.Precision.HIGHEST
    small = jnp.einsum('ih,nhw,jw->nij', rows, grey, columns, precision=exact)
    pixels = small.reshape(len(images), -1)
    features = jax.nn.relu(
        jnp.dot(pixels, variables['kernel_0'], precision=exact) + variables['bias_0']
    )
    logits = jnp.dot(features, variables['kernel_1'], precision=exact) + variables['bias_1']
    return features, logits
