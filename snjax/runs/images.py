"""Images in [-1, 1] as 8-bit pixels, grids, PNG files and animations.

Everything here runs on the host, in NumPy and Pillow. The pixel rule is that of the official SNGAN
code (github.com/pfnet-research/sngan_projection, `evaluation.py`): clip(127.5 x + 127.5, 0, 255),
cut to an integer. It truncates, it doesn't round to nearest, so a value just below a pixel's level
shows as the level beneath it.
"""

import io
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jax import Array
from jaxtyping import Float, UInt, UInt8, UInt16
from PIL import Image

from snjax.image_format import DEPTHS, bits_of, half_range, to_8_bits
from snjax.runs.files import replace_file

ANIMATION_SUFFIXES = ('.gif', '.webp')
# Units in which the formats store the time of a frame.
_TICK_MS = {'.gif': 10, '.webp': 1}
# Frames per second: viewers show frames of a GIF of less than 20 ms for 100 ms; the time of a frame
# has 16 bits (GIF) or 24.
_FPS = {'.gif': (0.002, 50), '.webp': (0.0001, 1000)}


def to_uint8(images: Float[Array | np.ndarray, '*shape']) -> UInt8[np.ndarray, '*shape']:
    """Turns images in [-1, 1] into 8-bit pixels, see `to_pixels`."""
    return to_pixels(images, 8)


def to_pixels(
    images: Float[Array | np.ndarray, '*shape'], bits: int
) -> UInt8[np.ndarray, '*shape'] | UInt16[np.ndarray, '*shape']:
    """Turns images in [-1, 1] into pixels of 8 or 16 bits, as the official SNGAN code does.

    Computes clip(127.5 x + 127.5, 0, 255) in float32 and truncates: -1 -> 0, 0 -> 127, 1 -> 255; of
    16 bits clip(32767.5 x + 32767.5, 0, 65535).

    Args:
        images: floats of any width and shape, (N, H, W, C) as a rule; values outside [-1, 1] are
            clipped.
        bits: 8 for uint8, 16 for uint16.

    Returns:
        Pixels of the same shape.

    Raises:
        ValueError: if `images` are not floats or hold NaN, which has no pixel value.
    """
    images = np.asarray(images)
    # bfloat16 is an extension type to NumPy (kind 'V'), so integers are named rather than floats.
    if images.dtype.kind in 'biuc':
        raise ValueError(f'images are {images.dtype}; floats in [-1, 1] are needed')
    dtype = DEPTHS[bits]
    half = np.float32(half_range(dtype))
    pixels = images.astype(np.float32) * half + half
    if np.isnan(pixels).any():
        raise ValueError(f'{np.isnan(pixels).sum()} of {pixels.size} image values are NaN')
    return np.clip(pixels, 0.0, 2 * half).astype(dtype)


def shown(pixels: UInt[np.ndarray, '*n h w c']) -> UInt8[np.ndarray, '*n h w d']:
    """Pixels as pictures draw them: 8 bits of 1 (grey) or 3 channels (RGB).

    16 bits are scaled to 8. Of 2 or 4 channels the last is alpha, composited on white. Of more, the
    first three are red, green and blue.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype == np.uint16:
        pixels = to_8_bits(pixels)
    channels = pixels.shape[-1]
    if channels in (1, 3):
        return pixels
    if channels > 4:
        return pixels[..., :3]
    colour, alpha = (x.astype(np.uint32) for x in np.split(pixels, [channels - 1], axis=-1))
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def has_png(channels: int, bits: int) -> bool:
    """Whether a PNG holds such an image as it is: 1 to 4 channels of 8 bits, or 1 of 16."""
    return channels <= (4 if bits == 8 else 1)


def grid(
    images: UInt8[np.ndarray, 'n h w c'], *, columns: int | None = None, padding: int = 2
) -> UInt8[np.ndarray, 'grid_h grid_w c']:
    """Lays images out in rows, left to right, then top to bottom.

    Args:
        images: pixels, (N, H, W, C), C 1 or 3; see `shown`.
        columns: images per row; by default the smallest number that makes the grid at least as wide
            as high (in images).
        padding: black pixels between neighbours; none at the border. The official code has 0.

    Returns:
        One image, (rows H + (rows - 1) padding, columns W + (columns - 1) padding, C). Cells past
        the last image are black.

    Raises:
        ValueError: for other shapes or types, no images, `columns` < 1, `padding` < 0.
    """
    images = _pixels(images, ndim=4)
    num, height, width, channels = images.shape
    if num == 0:
        raise ValueError('a grid of 0 images was asked for; it takes at least 1')
    columns = math.ceil(math.sqrt(num)) if columns is None else columns
    if columns < 1 or padding < 0:
        raise ValueError(f'grid takes columns >= 1 and padding >= 0, not {columns=}, {padding=}')
    rows = math.ceil(num / columns)
    cells = np.zeros((rows * columns, height + padding, width + padding, channels), np.uint8)
    cells[:num, :height, :width] = images
    cells = cells.reshape(rows, columns, height + padding, width + padding, channels)
    sheet = cells.swapaxes(1, 2).reshape(rows * (height + padding), -1, channels)
    return sheet[: sheet.shape[0] - padding, : sheet.shape[1] - padding]


def encode_png(image: UInt[np.ndarray, 'h w c'], *, is_drawn: bool = True) -> bytes:
    """Encodes pixels (H, W, C); with one Pillow, the same pixels give the same bytes.

    Args:
        image: C 1 or 3 of 8 bits.
        is_drawn: whether that is so; otherwise all forms of `has_png` are kept as they are.
    """
    buffer = io.BytesIO()
    _pillow(_pixels(image, ndim=3, is_drawn=is_drawn)).save(buffer, format='PNG')
    return buffer.getvalue()


def save_png(
    path: str | os.PathLike[str],
    image: UInt[np.ndarray, 'h w c'] | UInt8[np.ndarray, 'n h w c'],
) -> None:
    """Writes a PNG, whole or not at all: a reader never sees half a file.

    Args:
        path: the file; missing folders are made, an existing file is replaced.
        image: pixels, (H, W, C), see `has_png`, or (N, H, W, C) for the default `grid` of them.

    Raises:
        ValueError: for other shapes or types.
    """
    image = np.asarray(image)
    is_grid = image.ndim == 4
    replace_file(path, encode_png(grid(image) if is_grid else image, is_drawn=is_grid))


def save_animation(
    path: str | os.PathLike[str],
    frames: UInt8[np.ndarray, 't h w c'] | Sequence[UInt8[np.ndarray, 'h w c']],
    *,
    fps: float | int = 10,
) -> None:
    """Writes frames as an endless animation, whole or not at all.

    Args:
        path: ends in .webp (lossless) or .gif (256 colours per frame; shows a frame for whole
            hundredths of a second, so frames differ in time where 100 / `fps` is no whole number).
        frames: pixels, T images of (H, W, C), C 1 or 3.
        fps: frames per second, 0.002 to 50 for .gif, 0.0001 to 1000 for .webp.

    Raises:
        ValueError: for another suffix, other shapes or types, no frames, `fps` out of range.
    """
    path = Path(path)
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        raise ValueError(f'animation {path.name!r} must end in one of {ANIMATION_SUFFIXES}')
    check_fps(path.suffix.lower(), fps)
    if len(frames) == 0:
        raise ValueError('an animation takes at least 1 frame, not 0 frames')
    first, *rest = (_pillow(frame) for frame in _pixels(np.asarray(frames), ndim=4))
    buffer = io.BytesIO()
    first.save(
        buffer,
        format=path.suffix[1:].upper(),
        save_all=True,
        append_images=rest,
        duration=_durations(len(frames), fps, _TICK_MS[path.suffix.lower()]),
        loop=0,
        lossless=True,
    )
    replace_file(path, buffer.getvalue())


def check_fps(suffix: str, fps: float | int) -> None:
    """Raises a ValueError for a speed that '.gif' or '.webp' cannot show."""
    least, most = _FPS[suffix]
    if not least <= fps <= most:
        raise ValueError(
            f'fps={fps:g}: {suffix} shows {least:g} to {most:g} frames per second; change the '
            'number, or use .webp (--sample.fps, --sample.format)'
        )


def _durations(num: int, fps: float | int, tick: int) -> list[int]:
    """Milliseconds of each frame, in whole ticks whose sum stays as near to num / fps as it can."""
    ends = [round(i * 1000 / fps / tick) * tick for i in range(num + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]


def _pixels(images, ndim: int, *, is_drawn: bool = True) -> np.ndarray:
    """Returns `images` as an array; ValueError unless uint8, of rank `ndim` and grey or RGB.

    What is not drawn but kept as it is may have all forms of `has_png`.
    """
    images = np.asarray(images)
    if not is_drawn and images.ndim == ndim and images.dtype in DEPTHS.values():
        if has_png(images.shape[-1], bits_of(images.dtype)):
            return images
    if images.dtype != np.uint8:
        raise ValueError(
            f'images are {images.dtype}; uint8 is needed (see snjax.runs.images.to_uint8)'
        )
    if images.ndim != ndim or images.shape[-1] not in (1, 3):
        layout = '(N, H, W, C)' if ndim == 4 else '(H, W, C)'
        raise ValueError(f'images have shape {images.shape}; {layout} with C 1 or 3 is needed')
    return images


def _pillow(image: np.ndarray) -> Image.Image:
    """Pillow's view of pixels (H, W, C); it wants grey images without the channel axis."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
