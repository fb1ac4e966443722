"""How much the layers of a network stretch their inputs: exact norms, upper bounds, spectra.

For plain arrays, a kernel (height, width, inputs, outputs) or a matrix (inputs, outputs):

    reshaped_norm(kernel)                     # of the matrix that SNGAN's sigma estimates
    operator_norm(kernel, (32, 32), strides=2)         # of the convolution itself
    gram_bound(kernel, (32, 32), strides=2)            # never below it
    spectrum(kernel), spectrum(kernel, (32, 32))       # of the matrix; of the circular convolution
    stable_rank(kernel), effective_rank(kernel)

For a network of layers from `snjax.spectral`, `snjax.nn` or `flax.linen`:

    for path, layer in layer_report(dis, variables, (32, 32, 3), train=False).items():
        print(path, layer.operator, layer.stable_rank)

The reshaped norm is not the convolution's: that of a plain convolution of stride 1 whose kernel
fits into the image lies between it and sqrt(kernel height * kernel width) times it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from snjax import parallel
from snjax.shapes import Array, Float
from snjax.spectral import forms, watch
from snjax.spectral.forms import Padding
from snjax.spectral.fourier import all_blocks
from snjax.spectral.lanczos import N_STEPS

# The bound exceeds the norm by at most the 128th root of the rank: 5 % for 512 channels.
N_ITERATIONS = 6


# ---- of plain arrays


def reshaped_norm(kernel: ArrayLike) -> float:
    """The largest singular value of the matrix (everything but the last axis, outputs)."""
    return float(spectrum(kernel)[0])


def spectrum(
    kernel: ArrayLike, image_shape: Sequence[int] | None = None, *, strides: Any = 1
) -> Float[np.ndarray, ' n']:
    """All singular values, the largest first.

    Args:
        kernel: (..., inputs, outputs).
        image_shape: None for the matrix (everything but the last axis, outputs), as in figure 3 of
            Miyato et al. 2018, in float64. (h, w) for the circular convolution of images of that
            size (Sedghi et al. 2019), which a kernel (a, b, i, o) needs, in float32.
        strides: of that convolution; they divide h and w.

    Raises:
        ValueError: not such a kernel, or strides that do not divide the image.
    """
    if image_shape is None:
        matrix = np.asarray(kernel, np.float64)
        if matrix.ndim < 2:
            raise ValueError(
                f'a kernel {matrix.shape} has no singular values: (..., inputs, outputs) is needed'
            )
        return np.linalg.svd(matrix.reshape(-1, matrix.shape[-1]), compute_uv=False)
    kernel, size = _kernel(kernel), tuple(image_shape[:2])
    pair = forms.pair(strides)
    if size[0] % pair[0] or size[1] % pair[1]:
        raise ValueError(
            f'strides {pair} do not divide an image of {size}: a circular convolution needs that'
        )
    blocks = np.asarray(all_blocks(kernel, size, pair))
    return np.sort(np.linalg.svd(blocks, compute_uv=False), axis=None)[::-1]


def stable_rank(kernel: ArrayLike) -> float:
    """|W|_F^2 / sigma(W)^2 of the reshaped matrix: from 1 to its rank, and 0 for a zero matrix."""
    values = spectrum(kernel)
    return float(np.sum(np.square(values / values[0]))) if values[0] else 0.0


def effective_rank(kernel: ArrayLike) -> float:
    """exp(entropy of the singular values divided by their sum), of the reshaped matrix.

    From 1, one value that is not 0, to their number, all equal (Roy & Vetterli 2007); 0 for a zero
    matrix.
    """
    values = spectrum(kernel)
    shares = values[values > 0] / np.sum(values) if values[0] else values[:0]
    return float(np.exp(-np.sum(shares * np.log(shares)))) if len(shares) else 0.0


def operator_norm(
    kernel: ArrayLike,
    image_shape: Sequence[int],
    *,
    strides: Any = 1,
    padding: Padding = 'SAME',
    transpose: bool = False,
    resample: str | None = None,
    n_steps: int = N_STEPS,
) -> float:
    """The norm of a convolution as a linear map of images, by `snjax.spectral.lanczos`.

    A relative error of 1e-4 or less, from below, at the default number of steps.

    Args:
        kernel: (a, b, inputs, outputs).
        image_shape: (h, w) of the input; further entries are ignored.
        strides: one for both axes, or two.
        padding: 'SAME', 'VALID', 'CIRCULAR' (the image is a torus), or a pair for each axis.
        transpose: of the transposed convolution (`flax.linen.ConvTranspose`) with this kernel.
        resample: 'up' for nearest-neighbour upsampling by 2 before it, 'down' for average pooling
            of 2x2 blocks after it (`snjax.nn.layers.Conv`).
        n_steps: products with the map, and as many with its transpose.

    Raises:
        ValueError: not such a kernel, or `resample` together with strides, another padding or
            `transpose`.
    """
    kernel, size = _kernel(kernel), tuple(image_shape[:2])
    form = forms.checked(strides, padding, transpose, resample)
    return float(forms.norm(kernel, size, form, n_steps))


def gram_bound(
    kernel: ArrayLike,
    image_shape: Sequence[int] | None = None,
    *,
    strides: Any = 1,
    padding: Padding = 'SAME',
    transpose: bool = False,
    resample: str | None = None,
    n_iterations: int = N_ITERATIONS,
) -> float:
    """An upper bound of `operator_norm`, or of `reshaped_norm` without an image, by Gram iteration.

    Circular padding gives a bound that shrinks to the norm with `n_iterations`. Other paddings are
    bounded by the circular convolution of an image with its padding around it, whose norm is larger
    than theirs, by much where the image is not larger than the kernel (`snjax.spectral.fourier`).

    Args:
        kernel, strides, padding, transpose, resample: as for `operator_norm`.
        image_shape: (h, w) of the input; None for the matrix.
        n_iterations: squarings; 6 bring it to within 5 % up to rank 512.

    Raises:
        ValueError: as `operator_norm`.
    """
    if image_shape is None:
        matrix = jnp.asarray(kernel, jnp.float32)
        return float(forms.matrix_bound(matrix.reshape(-1, matrix.shape[-1]), n_iterations))
    kernel, form = _kernel(kernel), forms.checked(strides, padding, transpose, resample)
    return float(forms.bound(kernel, tuple(image_shape[:2]), form, n_iterations))


def _kernel(kernel) -> Array:
    kernel = jnp.asarray(kernel, jnp.float32)
    if kernel.ndim != 4:
        raise ValueError(
            f'a kernel {kernel.shape} is not (height, width, inputs, outputs); for a matrix use '
            'reshaped_norm, spectrum and gram_bound without an image'
        )
    return kernel


# ---- of networks


class LayerReport(NamedTuple):
    """What one layer does to its inputs. Norms and ranks are of the weight as it is applied.

    Attributes:
        kind: 'Conv', 'ConvTranspose', 'Dense', 'Embed', or a norm of activations.
        shape: of the weight; () for a norm of activations.
        input_shape: of one input.
        sigma: what the layer divides its weight by, from the u and v that it keeps; None for a
            layer without them.
        exact: the largest singular value that sigma estimates; None likewise.
        operator: the norm of the layer as a linear map, with strides, padding and resampling
            (`snjax.spectral.watch.Watched`).
        bound: of `operator` from above, by Gram iteration; None for grouped convolutions, norms of
            activations and embeddings.
        spectrum: singular values of the reshaped matrix, the largest first.
        stable_rank, effective_rank: of the reshaped matrix.
    """

    kind: str
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    sigma: float | None
    exact: float | None
    operator: float
    bound: float | None
    spectrum: np.ndarray
    stable_rank: float
    effective_rank: float


def layer_report(
    module: nn.Module,
    variables: Any,
    image_shape: Sequence[int],
    *inputs: Any,
    n_steps: int = N_STEPS,
    n_iterations: int = N_ITERATIONS,
    **kwargs: Any,
) -> dict[str, LayerReport]:
    """Measures every layer of a network that maps images, by path, in the order they are applied.

    Args:
        module: of layers of `snjax.spectral`, `snjax.nn` and `flax.linen`; others are left out.
        variables: that `module.init` returned, or trained ones.
        image_shape: (h, w, c) of one input, or (n,) for a network of vectors.
        inputs, kwargs: what `module` takes beside a batch of one image, such as `train=False`.
        n_steps: of `operator_norm`.
        n_iterations: of `gram_bound`.
    """
    places: dict[str, watch.Place] = {}

    def measure(variables, inputs):
        found = watch.watch(module, variables, *inputs, n_steps=n_steps, **kwargs)
        places.update({path: layer.place for path, layer in found.items()})
        return {path: (layer[1:], _bound_of(layer, n_iterations)) for path, layer in found.items()}

    image = jnp.zeros((1, *image_shape))
    found = parallel.run_once(measure, variables, (image, *inputs))
    return {path: _report(place, *found[path]) for path, place in places.items()}


def _bound_of(layer: watch.Watched, n_iterations: int) -> Array | None:
    weight, place = layer.weight, layer.place
    if place.kind == 'Dense':
        return forms.matrix_bound(weight, n_iterations)
    if place.form is None:
        return None
    return forms.bound(weight, place.input_shape[:2], place.form, n_iterations)


def _report(place: watch.Place, measured: tuple, bound: Array | None) -> LayerReport:
    weight, operator, *estimate = measured
    sigma, exact = (None if x is None else float(x) for x in estimate)
    return LayerReport(
        kind=place.kind,
        shape=() if weight is None else weight.shape,
        input_shape=place.input_shape,
        sigma=sigma,
        exact=exact,
        operator=float(operator),
        bound=None if bound is None else float(bound),
        spectrum=np.zeros(0) if weight is None else spectrum(weight),
        stable_rank=0.0 if weight is None else stable_rank(weight),
        effective_rank=0.0 if weight is None else effective_rank(weight),
    )
