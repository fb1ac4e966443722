"""From any image to an array of the wanted size: colour, size, and many at once.

Every set goes through the same steps, so that a folder of PNG files and a TFDS set of the same
images give the same arrays:

1. 16-bit grey is scaled to 8 bits (v * 255 / 65535, rounded), unless 16 are wanted, of one channel.
   Pixels of 32 bits, whole or floating, have no known range and are refused.
2. Transparency is composited on white, the background of most viewers, unless 2 or 4 channels are
   wanted, of which it is the last.
3. Colour becomes grey (ITU-R 601 luma, Pillow's 'L') or grey becomes RGB by repetition.
4. The image is resized by Pillow's antialiased bilinear filter, as in the official SNGAN code's
   preparation of ImageNet, by a name in `FITS`: 'crop', until it covers the wanted size, and the
   centre is cropped (of squares: the shorter side is resized); 'pad', until it lies inside, and the
   rest is black on both sides; 'stretch', to the wanted size, whatever its shape. An image of the
   wanted size is unchanged.
"""

import concurrent.futures
import io
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import UInt8, UInt16
from PIL import Image

from snjax import host
from snjax.image_format import DEPTHS, ImageSize, canonical, said, sides, to_8_bits

# Pillow's modes by the number of channels.
_MODES = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}
# How images of another shape are made to fit, `data.fit` of a config.
FITS = ('crop', 'pad', 'stretch')
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
Pixels = UInt8[np.ndarray, 'h w c'] | UInt16[np.ndarray, 'h w c']


class Form(NamedTuple):
    """What images are made into.

    Attributes:
        image_size: pixels of a square's side, or (height, width).
        channels: see `to_colour`; more than 4 are taken from arrays alone, as they are.
        fit: how an image of another size is made to fit, a name in `FITS`.
        bits: of a pixel's value: 8, or 16 of one channel or of arrays.
    """

    image_size: ImageSize
    channels: int
    fit: str = 'crop'
    bits: int = 8

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, (H, W, C)."""
        return (*sides(self.image_size), self.channels)

    @property
    def dtype(self) -> np.dtype:
        """Of pixels: uint8 or uint16."""
        return DEPTHS[self.bits]

    @property
    def key(self) -> dict[str, Any]:
        """What decides the content of an array; what is usual is left out, as in older caches."""
        key: dict[str, Any] = {'image_size': canonical(self.image_size), 'channels': self.channels}
        key |= {'fit': self.fit} if self.fit != 'crop' else {}
        return key | ({'bits': self.bits} if self.bits != 8 else {})

    @property
    def label(self) -> str:
        """Part of a file's name: '32x3', '48x64x3'."""
        return f'{said(self.image_size)}x{self.channels}' + (
            f'x{self.bits}bit' if self.bits != 8 else ''
        )


def to_colour(image: Image.Image, channels: int) -> Image.Image:
    """Steps 1 to 3: an 8-bit image of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 channels (RGBA)."""
    image = _of_8_bits(image)
    if channels in (2, 4):
        if image.mode == _MODES[channels]:
            return image
        image = image.convert('RGBA')  # sees also a transparent colour of a palette
        return image if channels == 4 else image.convert('LA')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    mode = _MODES[channels]
    return image if image.mode == mode else image.convert(mode)


def _of_8_bits(image: Image.Image) -> Image.Image:
    _check_known(image)
    return Image.fromarray(to_8_bits(_wide(image))) if image.mode.startswith('I') else image


def _check_known(image: Image.Image) -> None:
    if image.mode == 'F' or image.mode.startswith('F;'):
        raise ValueError('floating-point pixels have no known range; save it with 8 or 16 bits')


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """One channel as floats from 0 to 65535; an image of 8 bits is scaled by 257."""
    _check_known(image)
    if image.mode.startswith('I'):
        return Image.fromarray(_wide(image).astype(np.float32))
    return Image.fromarray(np.asarray(to_colour(image, 1)).astype(np.float32) * 257)


def _wide(image: Image.Image) -> UInt16[np.ndarray, 'h w']:
    """Grey pixels of 16 bits, white where the file has a transparent value."""
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
    return wide.astype(np.uint16)


def _upright(image: Image.Image) -> Image.Image:
    """The image rotated by its EXIF orientation; unchanged if that cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a malformed block says nothing about the pixels
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def upright_size(path: os.PathLike) -> tuple[int, int]:
    """Height and width of the image in a file, rotated by its EXIF orientation.

    Raises:
        ValueError: a broken image; one line.
    """
    try:
        with Image.open(path) as image:
            image = _upright(image)
            return image.height, image.width
    except Exception as error:  # Pillow's plugins raise many types
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path} cannot be decoded ({reason}): remove or replace it') from error


def fitted(image: Image.Image, image_size: ImageSize, fit: str) -> Image.Image:
    """Step 4: resizes to `image_size` in the way that `fit` names."""
    (height, width), (old_width, old_height) = sides(image_size), image.size
    if (old_height, old_width) == (height, width):
        return image
    if fit == 'stretch':
        return image.resize((width, height), Image.Resampling.BILINEAR)
    scales = height / old_height, width / old_width
    scale = max(scales) if fit == 'crop' else min(scales)
    limit = max if fit == 'crop' else min
    size = limit(width, round(old_width * scale)), limit(height, round(old_height * scale))
    image = image.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))  # black outside the image


def to_array(
    image: Image.Image, image_size: ImageSize, channels: int, fit: str = 'crop', bits: int = 8
) -> Pixels:
    """All steps for one opened image; arguments as in `Form`."""
    form = Form(image_size, channels, fit, bits)
    if bits == 8:
        return np.asarray(fitted(to_colour(image, channels), image_size, fit)).reshape(form.shape)
    return _rounded(fitted(_grey_of_16_bits(image), image_size, fit), form.dtype)[..., None]


def _rounded(plane: Image.Image, dtype: np.dtype) -> np.ndarray:
    """A plane of floats as whole numbers of a type."""
    return np.rint(np.asarray(plane)).clip(0, np.iinfo(dtype).max).astype(dtype)


def decode(source: bytes | os.PathLike, form: Form, *, upright: bool = False) -> Pixels:
    """Decodes one image.

    Args:
        source: the encoded bytes, or a file.
        form: of the result.
        upright: rotate the image by its EXIF orientation. Photographs in a folder need it; TFDS
            sets do not, because TFDS's own decoder ignores the orientation.

    Raises:
        Exception: a broken image; Pillow's plugins raise many types.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        if upright:
            image = _upright(image)
        return to_array(image, *form)


def fit_arrays(
    images: UInt8[np.ndarray, 'n h w c'] | UInt16[np.ndarray, 'n h w c'],
    image_size: ImageSize,
    channels: int,
    fit: str = 'crop',
    bits: int = 8,
) -> UInt8[np.ndarray, 'n s t d'] | UInt16[np.ndarray, 'n s t d']:
    """All steps for images in memory with up to 16 channels; further arguments as in `Form`.

    Up to 4 channels of 8 bits are converted to one another as those of files are (2 are grey and
    alpha, 4 RGBA). Others are resized channel by channel.

    Raises:
        ValueError: the images have another number of channels that cannot be converted.
    """
    form, there = Form(image_size, channels, fit, bits), images.shape[3]
    if images.shape[1:] == form.shape and images.dtype == form.dtype:
        return images
    is_colour = bits == 8 and max(there, channels) <= max(_MODES)
    if not is_colour and there != channels:
        raise ValueError(
            f'images have {there} channels of {8 * images.itemsize} bits, which are not converted to '
            f'{channels} of {bits}: set --config.data.channels={there}'
        )
    found = np.empty((len(images), *form.shape), form.dtype)

    def convert(start, stop):
        for i in range(start, stop):
            one = images[i]
            if is_colour:
                one = one if one.dtype == np.uint8 else to_8_bits(one)
                one = Image.fromarray(one[..., 0] if there == 1 else one)
                found[i] = to_array(one, *form)
                continue
            one = one.astype(np.float32) * (
                np.float32(np.iinfo(form.dtype).max / np.iinfo(images.dtype).max)
            )
            for c in range(channels):
                plane = fitted(Image.fromarray(np.ascontiguousarray(one[..., c])), image_size, fit)
                found[i, ..., c] = _rounded(plane, form.dtype)

    in_chunks(len(images), convert, what='images resized')
    return found


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
