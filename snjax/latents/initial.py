"""Initial latents of GLO, one per image of the set (Bojanowski et al. 2018, arXiv:1707.05776).

In many dimensions, N(0, I) projected onto the unit ball is spread over the sphere, and N(0, I / d),
whose norms are near 1, over a shell around it. Principal components put images that look alike near
each other before the first step; the public port tneumann/minimal_glo calls that crucial.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt

from snjax.data.lazy_images import LazyImages
from snjax.latents.priors import project

INITIAL_LATENTS = ('scaled_normal', 'normal', 'pca', 'whitened_pca')
_SEED = 0  # of the randomized decompositions
_MAX_BYTES = 2**31  # of the images as float32; more are read in blocks


def initial_latents(
    name: str, rng: Key[Array, ''], images: UInt[np.ndarray | LazyImages, 'n h w c'], dim_z: int
) -> Float[Array, 'n d']:
    """A latent for every image, in the unit ball.

    Args:
        name: `'scaled_normal'`, N(0, I / dim_z); `'normal'`, N(0, I), which in many dimensions ends
            on the sphere; `'pca'`, the principal components of the pixels, with mean squared norm
            1; `'whitened_pca'`, the same with equal variances. All are projected onto the ball.
        rng: key of the normal draws.
        images: the training set; may be mapped from a file.
        dim_z: length of a latent; for components, at most the number of pixels and of images.

    Raises:
        ValueError: the name is unknown, or there are fewer components than `dim_z`.
    """
    shape = len(images), dim_z
    if name == 'scaled_normal':
        return project(jax.random.normal(rng, shape) / np.sqrt(dim_z))
    if name == 'normal':
        return project(jax.random.normal(rng, shape))
    check_initial(name, images, dim_z)
    is_white = name == 'whitened_pca'
    like = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert isinstance(images, np.ndarray)  # by `check_initial`
    # On the host and at run time, so that asking for shapes alone does not wait for it.
    return project(jax.pure_callback(lambda: principal_components(images, dim_z, is_white), like))


def check_initial(name: str, images: UInt[np.ndarray | LazyImages, 'n h w c'], dim_z: int) -> None:
    """Raises the ValueErrors of `initial_latents`."""
    if name not in INITIAL_LATENTS:
        raise ValueError(
            f'glo.initial is {name!r}: accepted are {", ".join(INITIAL_LATENTS)} '
            '(--config.glo.initial)'
        )
    if 'pca' in name and not isinstance(images, np.ndarray):
        raise ValueError(
            f'glo.initial={name} reads all images several times, and data.stream=decode decodes '
            'them anew each time: use --config.data.stream=on or --config.glo.initial=scaled_normal'
        )
    most = min(len(images), int(np.prod(images.shape[1:])))
    if 'pca' in name and dim_z > most:
        raise ValueError(
            f'glo.initial={name} of {len(images)} images of {images[0].size} values has {most} '
            f'components, fewer than model.dim_z {dim_z}: use --config.model.dim_z={most} or '
            '--config.glo.initial=scaled_normal'
        )


def principal_components(
    images: UInt[np.ndarray, 'n h w c'], num: int, whiten: bool, max_bytes: int = _MAX_BYTES
) -> Float[np.ndarray, 'n d']:
    """The images' first `num` principal components, scaled so that the mean squared norm of a row
    is 1.

    By randomized SVD (Halko et al. 2011; scikit-learn) if the pixels as float32 take at most
    `max_bytes`. Otherwise incrementally (Ross et al. 2008), block by block, which is a little less
    precise.

    Args:
        images: may be mapped from a file.
        num: number of components.
        whiten: gives every component the same variance; components beyond the images' rank are
            noise.
        max_bytes: see above.
    """
    from sklearn.decomposition import PCA, IncrementalPCA  # takes a second to import

    flat = images.reshape(len(images), -1)
    if 4 * flat.size <= max_bytes:
        pca = PCA(num, svd_solver='randomized', random_state=_SEED)
        z = pca.fit_transform(flat.astype(np.float32))
    else:
        pca = IncrementalPCA(num)
        blocks = _blocks(len(flat), max(5 * num, 1000))
        for block in blocks:
            pca.partial_fit(flat[block].astype(np.float32))
        z = np.concatenate([pca.transform(flat[block].astype(np.float32)) for block in blocks])
    z = np.asarray(z, np.float32)
    if whiten:
        # Not by scikit-learn: its incremental form amplifies the noise in place of missing
        # components.
        z = z / np.maximum(np.sqrt(np.mean(np.square(z), axis=0)), np.finfo(np.float32).tiny)
    scale = np.sqrt(np.mean(np.sum(np.square(z), axis=1)))
    return z / np.maximum(scale, np.finfo(np.float32).tiny)  # 0 if all images are equal


def _blocks(num: int, size: int) -> list[slice]:
    """Slices of at least `size` rows; the last takes the rest, as a block needs that many rows."""
    starts = list(range(0, max(num - size, 0) + 1, size))
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], num], strict=True)]
