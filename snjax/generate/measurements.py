"""Linear operators of inverse problems, as data, and baselines that restore without a generator.

An operator A maps images in [-1, 1], (N, H, W, C), to measurements. For any generator g,
`snjax.generate.inversion.invert` seeks z with A(g(z)) close to them. Every operator is linear and
the same for all images of a run. The random projection is from Bora et al. 2017 (arXiv:1703.08203);
inpainting and super-resolution are older. The baselines restore an image from the same measurement
by a well-kept library, on the host.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key
from PIL import Image

MASKS = ('centre', 'random', 'half')
MAX_MATRIX = 2**28  # floats of a random projection: 1 GiB
_TV_WEIGHTS = np.geomspace(0.1, 4, 12)  # times the noise

Images = Float[np.ndarray, 'n h w c']
Measured = Float[np.ndarray, 'n *shape']


class Options(NamedTuple):
    """Options of the operators; each reads its own.

    Attributes:
        mask: pixels that `inpaint` hides: a square in the centre, random single pixels ('random'),
            or the lower part ('half').
        fraction: hidden fraction of the pixels, rounded to the form of the mask.
        factor: divisor of height and width in `superresolve`.
        noise: standard deviation of the noise in `denoise`, in units of [-1, 1].
        measurements: numbers per image in `compressed_sensing`.
        seed: of the random pixels and of the random projection.
    """

    mask: str = 'centre'
    fraction: float = 0.25
    factor: int = 4
    noise: float = 0.2
    measurements: int = 100
    seed: int = 0


def _nothing(measured: Measured) -> None:
    return None


class Operator(NamedTuple):
    """A linear measurement of images.

    Attributes:
        name: in `OPERATORS`.
        apply: images (n, h, w, c) to measurements (n, ...), differentiable by JAX.
        degrade: `apply` plus the noise of the problem, with one key per image.
        show: measurements to pictures (n, h, w, c), or to None if they are not pictures.
        complete: puts known pixels into restored images; None if no pixel is known exactly.
        baselines: by name, measurements to restored images, without a generator.
    """

    name: str
    apply: Callable[[Array], Array]
    degrade: Callable[[Array, Key[Array, ' n']], Array]
    show: Callable[[Measured], Images | None] = _nothing
    complete: Callable[[Images, Measured], Images] | None = None
    baselines: Mapping[str, Callable[[Measured], Images]] = {}


def _operator(name, apply, **rest) -> Operator:
    """An operator without noise."""
    return Operator(name, apply, lambda images, keys: apply(images), **rest)


# ---- the operators


def identity(image_shape: tuple[int, int, int], options: Options) -> Operator:
    """The whole image; shows how well the range of the generator covers it."""
    return _operator('identity', lambda images: images)


def inpaint(image_shape: tuple[int, int, int], options: Options) -> Operator:
    """Measures the known pixels, (n, known, c), in reading order.

    Raises:
        ValueError: an unknown mask, or a fraction that hides no pixel or all.
    """
    height, width, channels = image_shape
    is_hidden = hidden_pixels(height, width, options)
    known = np.flatnonzero(~is_hidden)

    def apply(images):
        return images.reshape(len(images), height * width, channels)[:, known]

    def put(images, measured):
        filled = np.array(images).reshape(len(images), height * width, channels)
        filled[:, known] = measured
        return filled.reshape(images.shape)

    def fill(measured, value):
        """Images with `value` (n, 1, 1, c) at the hidden pixels."""
        everywhere = np.broadcast_to(value, (len(measured), *image_shape))
        return put(everywhere, measured)

    def grey(measured):
        return fill(measured, np.zeros((), measured.dtype))

    def mean(measured):
        return fill(measured, measured.mean(1)[:, None, None])

    def biharmonic(measured):
        from skimage.restoration import inpaint_biharmonic

        images = grey(measured)
        return np.stack([inpaint_biharmonic(x, is_hidden, channel_axis=-1) for x in images])

    baselines = {'mean of the known': mean, 'biharmonic': biharmonic}
    return _operator('inpaint', apply, show=grey, complete=put, baselines=baselines)


def superresolve(image_shape: tuple[int, int, int], options: Options) -> Operator:
    """Reduces the image by averages over squares of `factor` x `factor` pixels.

    Raises:
        ValueError: a factor that does not divide the image.
    """
    height, width, _ = image_shape
    k = options.factor
    if k < 2 or height % k or width % k:
        raise ValueError(
            f'factor is {k}: a divisor of {math.gcd(height, width)} from 2 is needed, as '
            '--invert.factor=2'
        )

    def apply(images):
        n, _, _, c = images.shape
        return images.reshape(n, height // k, k, width // k, k, c).mean((2, 4))

    def enlarged(measured):
        return measured.repeat(k, 1).repeat(k, 2)

    def bicubic(measured):
        def channel(x):
            return np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BICUBIC))

        planes = np.moveaxis(np.asarray(measured, np.float32), 3, 1)
        large = np.stack([[channel(np.ascontiguousarray(x)) for x in image] for image in planes])
        return np.clip(np.moveaxis(large, 1, 3), -1, 1)

    return _operator('superresolve', apply, show=enlarged, baselines={'bicubic': bicubic})


def denoise(image_shape: tuple[int, int, int], options: Options) -> Operator:
    """Adds N(0, noise^2) to every value of the image.

    Raises:
        ValueError: a noise that is not positive.
    """
    sigma = options.noise
    if not 0 < sigma < math.inf:
        raise ValueError(f'noise is {sigma}: a positive number is needed, as --invert.noise=0.2')

    def degrade(images, keys):
        return images + sigma * jax.vmap(lambda key: jax.random.normal(key, image_shape))(keys)

    baselines = {
        'total variation': lambda noisy: np.stack([_total_variation(x, sigma) for x in noisy]),
        'non-local means': lambda noisy: np.stack([_non_local_means(x, sigma) for x in noisy]),
    }
    return Operator(
        'denoise',
        lambda images: images,
        degrade,
        show=lambda measured: np.clip(measured, -1, 1),
        baselines=baselines,
    )


def compressed_sensing(image_shape: tuple[int, int, int], options: Options) -> Operator:
    """Inner products (n, m) with m random vectors of N(0, 1/m): Bora et al. 2017, section 6.

    Raises:
        ValueError: `measurements` below 1, or a matrix of more than 1 GiB.
    """
    m, size = options.measurements, math.prod(image_shape)
    if m < 1 or m * size > MAX_MATRIX:
        raise ValueError(
            f'measurements is {m}: 1 to {MAX_MATRIX // size} are accepted for images of {size} '
            'values (1 GiB), as --invert.measurements=100'
        )
    rng = np.random.default_rng(options.seed)
    matrix = rng.standard_normal((m, size), np.float32) / np.float32(math.sqrt(m))

    def minimum_norm(measured):
        flat = np.linalg.lstsq(matrix, np.asarray(measured).T, rcond=None)[0].T
        return np.clip(flat.reshape(-1, *image_shape), -1, 1)

    # The matrix is an argument of the compiled program, not a constant inside it.
    apply = Partial(_project, jnp.asarray(matrix))
    return _operator('compressed_sensing', apply, baselines={'minimum norm': minimum_norm})


def _project(matrix, images):
    flat = images.reshape(len(images), -1)
    return jnp.matmul(flat, matrix.T, precision=jax.lax.Precision.HIGHEST)


OPERATORS: dict[str, Callable[[tuple[int, int, int], Options], Operator]] = {
    'identity': identity,
    'inpaint': inpaint,
    'superresolve': superresolve,
    'denoise': denoise,
    'compressed_sensing': compressed_sensing,
}


# ---- their parts


def hidden_pixels(height: int, width: int, options: Options) -> np.ndarray:
    """The mask (height, width) of `inpaint`; True for a hidden pixel.

    Raises:
        ValueError: an unknown mask, or a fraction that hides no pixel or all.
    """
    kind, fraction = options.mask, options.fraction
    if kind not in MASKS:
        raise ValueError(
            f'mask is {kind!r}: accepted are {", ".join(MASKS)}, as --invert.mask=centre'
        )
    is_hidden = np.zeros((height, width), bool)
    if 0 < fraction < 1:
        if kind == 'centre':
            rows, columns = (round(side * math.sqrt(fraction)) for side in (height, width))
            top, left = (height - rows) // 2, (width - columns) // 2
            is_hidden[top : top + rows, left : left + columns] = True
        elif kind == 'half':
            is_hidden[height - round(height * fraction) :] = True
        else:
            order = np.random.default_rng(options.seed).permutation(height * width)
            is_hidden.flat[order[: round(height * width * fraction)]] = True
    if not is_hidden.any() or is_hidden.all():
        raise ValueError(
            f'fraction is {fraction}: above 0 and below 1 is accepted, so that some of '
            f'{height}x{width} pixels are hidden and some known, as --invert.fraction=0.25'
        )
    return is_hidden


def _total_variation(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Total variation (Chambolle 2004), with the weight chosen by the known noise.

    By the discrepancy principle (Morozov 1966) it takes, among a few weights, the one whose
    residual has a root mean square nearest to the noise's standard deviation.
    """
    from skimage.restoration import denoise_tv_chambolle

    made = [denoise_tv_chambolle(noisy, weight=w * sigma, channel_axis=-1) for w in _TV_WEIGHTS]
    miss = [abs(np.sqrt(np.mean((x - noisy) ** 2)) - sigma) for x in made]
    return np.clip(made[int(np.argmin(miss))], -1, 1)


def _non_local_means(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Non-local means (Buades et al. 2005), with the strength of scikit-image's example."""
    from skimage.restoration import denoise_nl_means

    settings: dict[str, Any] = {'patch_size': 5, 'patch_distance': 6, 'fast_mode': True}
    made = denoise_nl_means(noisy, h=0.6 * sigma, sigma=sigma, channel_axis=-1, **settings)
    return np.clip(made.reshape(noisy.shape), -1, 1)  # scikit-image drops the axis of one channel
