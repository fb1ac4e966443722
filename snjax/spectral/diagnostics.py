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

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from snjax import parallel
from snjax.nn import convolution, layers
from snjax.nn.power_of_two import power_of_two
from snjax.spectral import watch
from snjax.spectral.fourier import all_blocks, gram_iteration, torus_bound
from snjax.spectral.lanczos import N_STEPS, map_norm

# The bound exceeds the norm by at most the 128th root of the rank: 5 % for 512 channels.
N_ITERATIONS = 6
Padding = str | Sequence[tuple[int, int]]


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
    pair = _pair(strides)
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
    form = _checked(strides, padding, transpose, resample)
    return float(_operator_norm(kernel, size, *form, n_steps))


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
        return float(_matrix_bound(matrix.reshape(-1, matrix.shape[-1]), n_iterations))
    kernel, form = _kernel(kernel), _checked(strides, padding, transpose, resample)
    return float(_bound(kernel, tuple(image_shape[:2]), *form, n_iterations))


def _matrix_bound(matrix, n_iterations):
    scale = power_of_two(matrix)
    return gram_iteration(matrix / scale, n_iterations) * scale


def _bound(kernel, size, strides, padding, transpose, resample, n_iterations):
    kernel, torus, strides = _on_torus(kernel, size, strides, padding, transpose, resample)
    scale = power_of_two(kernel)
    return torus_bound(kernel / scale, torus, strides, n_iterations) * scale


def _on_torus(kernel, size, strides, padding, transpose, resample):
    """A convolution (kernel, size, strides) of a torus whose norm bounds that of a layer."""
    taps = kernel.shape[:2]
    if resample == 'down':
        kernel, strides = convolution.box(kernel) / 4, (2, 2)
        size = [n + k - 1 for n, k in zip(size, taps, strict=True)]
    elif resample == 'up':  # the transpose of pooling by sums after the transposed kernel
        kernel, strides = convolution.box(kernel.swapaxes(2, 3)), (2, 2)
        size = [2 * n + k - 1 for n, k in zip(size, taps, strict=True)]
    elif transpose:
        kernel = kernel.swapaxes(2, 3)
        more = [0 if padding == 'CIRCULAR' else k - 1 for k in taps]
        size = [n * s + k for n, s, k in zip(size, strides, more, strict=True)]
    elif padding != 'CIRCULAR':
        pairs = padding
        if isinstance(padding, str):
            pairs = jax.lax.padtype_to_pads(size, taps, strides, padding)
        size = [n + low + high for n, (low, high) in zip(size, pairs, strict=True)]
    return kernel, tuple(-(-n // s) * s for n, s in zip(size, strides, strict=True)), strides


@functools.partial(jax.jit, static_argnums=range(1, 7))
def _operator_norm(kernel, size, strides, padding, transpose, resample, n_steps):
    if padding == 'CIRCULAR' and transpose:  # the norm of its transpose, a convolution of the torus
        kernel, transpose = kernel.swapaxes(2, 3), False
        size = tuple(n * s for n, s in zip(size, strides, strict=True))
    if padding == 'CIRCULAR':
        around = [((k - 1) // 2, k // 2) for k in kernel.shape[:2]]

        def apply(x, w):
            x = jnp.pad(x, [(0, 0), *around, (0, 0)], mode='wrap')
            return convolution.conv(x, w, strides=strides, padding='VALID')

    elif resample:
        apply = convolution.upsample_conv if resample == 'up' else convolution.conv_pool
    else:
        form = convolution.conv_transpose if transpose else convolution.conv
        apply = functools.partial(form, strides=strides, padding=padding)
    return map_norm(layers.Linear(apply, (*size, kernel.shape[2])), kernel, n_steps)


def _kernel(kernel) -> Array:
    kernel = jnp.asarray(kernel, jnp.float32)
    if kernel.ndim != 4:
        raise ValueError(
            f'a kernel {kernel.shape} is not (height, width, inputs, outputs); for a matrix use '
            'reshaped_norm, spectrum and gram_bound without an image'
        )
    return kernel


def _pair(strides: Any) -> tuple[int, int]:
    return (strides, strides) if isinstance(strides, int) else tuple(strides)


def _checked(strides, padding, transpose, resample):
    strides = _pair(strides)
    padding = padding if isinstance(padding, str) else tuple(map(tuple, padding))
    if resample not in (None, 'up', 'down'):
        raise ValueError(f"resample is {resample!r}: 'up', 'down' and None are accepted")
    if resample and (strides != (1, 1) or padding != 'SAME' or transpose):
        raise ValueError(
            f"resample={resample!r} is of a convolution with strides 1 and padding 'SAME', not "
            f'strides={strides}, padding={padding!r}, transpose={transpose}'
        )
    return strides, padding, transpose, resample


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
        return _matrix_bound(weight, n_iterations)
    if place.form is None:
        return None
    return _bound(weight, place.input_shape[:2], *place.form, n_iterations)


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
