"""From any image to a square uint8 array: colour, size, and many at once.

Every set goes through the same steps, so that a folder of PNG files and a TFDS set of the same
images give the same arrays:

1. 16-bit grey is scaled to 8 bits (v * 255 / 65535, rounded). Pixels of 32 bits, whole or floating,
   have no known range and are refused.
2. Transparency is composited on white, the background of most viewers.
3. Colour becomes grey (ITU-R 601 luma, Pillow's 'L') or grey becomes RGB by repetition.
4. The shorter side is resized to the wanted size by Pillow's antialiased bilinear filter, as in the
   official SNGAN code's preparation of ImageNet, and the centre is cropped. An image of the wanted
   size is unchanged.
"""

import concurrent.futures
import io
import os
import time
from collections.abc import Callable

import numpy as np
from absl import logging
from jaxtyping import UInt8
from PIL import Image

from snjax import host

_CHUNK = 256
_2_16 = 2**16
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274  # tags of TIFF and EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SECONDS_BETWEEN_REPORTS = 15.0


def to_colour(image: Image.Image, channels: int) -> Image.Image:
    """Steps 1 to 3: an 8-bit image of mode 'L' (`channels` 1) or 'RGB' (`channels` 3)."""
    if image.mode == 'F' or image.mode.startswith('F;'):
        raise ValueError('floating-point pixels have no known range; save it with 8 or 16 bits')
    if image.mode.startswith('I'):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    mode = 'L' if channels == 1 else 'RGB'
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Grey pixels of 16 bits as 8 bits, white where the file has a transparent value."""
    # Pillow opens a TIFF of 32 bits and, in some versions, a PNG of 16 bits with the same mode.
    tags = getattr(image, 'tag_v2', None) or {}
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    wide = np.asarray(image).astype(np.int64)
    if (
        bits[0] if isinstance(bits, tuple) else bits
    ) > 16 or not 0 <= wide.min() <= wide.max() < _2_16:
        raise ValueError('pixels of more than 16 bits have no known range; save it with 8 or 16')
    transparent = image.info.get('transparency')
    if isinstance(transparent, int):
        wide = np.where(wide == transparent, _2_16 - 1, wide)
    return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    """The image rotated by its EXIF orientation; unchanged if that cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a malformed block says nothing about the pixels
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def to_square(image: Image.Image, image_size: int) -> Image.Image:
    """Step 4: resizes the shorter side to `image_size` pixels, then crops the centre."""
    width, height = image.size
    if width == height == image_size:
        return image
    scale = image_size / min(width, height)
    width = max(image_size, round(width * scale))
    height = max(image_size, round(height * scale))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - image_size) // 2, (height - image_size) // 2
    return image.crop((left, top, left + image_size, top + image_size))


def to_array(image: Image.Image, image_size: int, channels: int) -> UInt8[np.ndarray, 'h w c']:
    """All steps for one opened image."""
    image = to_square(to_colour(image, channels), image_size)
    return np.asarray(image).reshape(image_size, image_size, channels)


def decode(
    source: bytes | os.PathLike, image_size: int, channels: int, *, upright: bool = False
) -> UInt8[np.ndarray, 'h w c']:
    """Decodes one image.

    Args:
        source: the encoded bytes, or a file.
        image_size: height and width of the result, pixels.
        channels: 1 or 3.
        upright: rotate the image by its EXIF orientation. Photographs in a folder need it; TFDS
            sets do not, because TFDS's own decoder ignores the orientation.

    Raises:
        Exception: a broken image; Pillow's plugins raise many types.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        if upright:
            image = _upright(image)
        return to_array(image, image_size, channels)


def fit_arrays(
    images: UInt8[np.ndarray, 'n h w c'], image_size: int, channels: int
) -> UInt8[np.ndarray, 'n s s d']:
    """All steps for images in memory with 1 (grey), 3 (RGB) or 4 (RGBA) channels."""
    if images.shape[1:] == (image_size, image_size, channels):
        return images
    fitted = np.empty((len(images), image_size, image_size, channels), np.uint8)

    def convert(start, stop):
        for i in range(start, stop):
            pixels = images[i, :, :, 0] if images.shape[3] == 1 else images[i]
            fitted[i] = to_array(Image.fromarray(pixels), image_size, channels)

    in_chunks(len(images), convert, what='images resized')
    return fitted


def in_chunks(count: int, work: Callable[[int, int], None], *, what: str) -> None:
    """Calls `work(start, stop)` for consecutive ranges that cover 0..count, on several threads.

    Pillow and the file system release the interpreter lock, so threads decode in parallel. The
    first error in the order of the ranges is raised; ranges that have not begun are dropped.

    Args:
        count: number of images.
        work: stores the results of images start..stop; must be safe to call from several threads on
            disjoint ranges.
        what: ends the progress line, '<done> of <count> <what>'.
    """
    ranges = [(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    last_report = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(host.num_cores()) as pool:
        tasks = [pool.submit(work, *limits) for limits in ranges]
        try:
            for (_, stop), task in zip(ranges, tasks, strict=True):
                task.result()
                if time.monotonic() - last_report > _SECONDS_BETWEEN_REPORTS:
                    last_report = time.monotonic()
                    logging.info('%d of %d %s', stop, count, what)
        finally:
            pool.shutdown(cancel_futures=True)
