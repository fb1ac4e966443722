"""Tests of snjax.runs.images."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from snjax.runs import images

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16, jnp.bfloat16])
def test_to_uint8_values(dtype):
    values = np.array([-1, -0.5, 0, 0.5, 1, -2, 2, -np.inf, np.inf]).astype(dtype)
    # 127.5 x + 127.5 = 0, 63.75, 127.5, 191.25, 255, then clipped; truncated, never rounded up.
    np.testing.assert_array_equal(images.to_uint8(values), [0, 63, 127, 191, 255, 0, 255, 0, 255])


def test_to_uint8_returns_every_level_scaled_by_127_5():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(
        images.to_uint8(levels.astype(np.float32) / np.float32(127.5) - np.float32(1)), levels
    )


def test_to_uint8_takes_jax_arrays_and_keeps_shape():
    result = images.to_uint8(jnp.zeros((2, 3, 3, 1)))
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.full((2, 3, 3, 1), 127))


@pytest.mark.parametrize(
    ('values', 'message'),
    [(np.zeros(3, np.uint8), 'uint8'), (np.array([0.0, np.nan]), '1 of 2 image values are NaN')],
)
@pytest.mark.usefixtures('own_errors')
def test_to_uint8_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        images.to_uint8(values)


def test_grid_places_images_row_by_row_with_padding_between():
    sheet = images.grid(PIXELS, columns=3, padding=2)
    assert sheet.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    seen = np.zeros(sheet.shape[:2], bool)
    for i, image in enumerate(PIXELS):
        rows = slice(6 * (i // 3), 6 * (i // 3) + 4)
        columns = slice(8 * (i % 3), 8 * (i % 3) + 6)
        np.testing.assert_array_equal(sheet[rows, columns], image)
        seen[rows, columns] = True
    assert not sheet[~seen].any()  # the padding and the sixth cell


@pytest.mark.parametrize(
    ('num', 'columns', 'padding', 'shape'),
    [
        (1, None, 2, (4, 6)),
        (2, None, 0, (4, 12)),
        (5, None, 0, (8, 18)),
        (64, None, 1, (39, 55)),
        (3, 8, 2, (4, 62)),
    ],
)
def test_grid_shapes(num, columns, padding, shape):
    sheet = images.grid(np.ones((num, 4, 6, 1), np.uint8), columns=columns, padding=padding)
    assert sheet.shape == (*shape, 1)
    assert sheet.sum() == num * 4 * 6


@pytest.mark.parametrize(
    ('bad', 'options', 'message'),
    [
        (PIXELS.astype(np.float32), {}, 'float32; uint8 is needed'),
        (PIXELS[0], {}, r'\(4, 6, 3\); \(N, H, W, C\)'),
        (PIXELS[..., :2], {}, r'\(5, 4, 6, 2\)'),
        (PIXELS[:0], {}, '0 images'),
        (PIXELS, {'columns': 0}, 'columns=0'),
        (PIXELS, {'padding': -1}, 'padding=-1'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_grid_refuses(bad, options, message):
    with pytest.raises(ValueError, match=message):
        images.grid(bad, **options)


@pytest.mark.parametrize('channels', [1, 3])
def test_png_holds_the_pixels_and_is_the_same_every_time(tmp_path, channels):
    image = PIXELS[0, ..., :channels]
    first, second = tmp_path / 'new' / 'a.png', tmp_path / 'b.png'
    images.save_png(first, image)
    second.write_bytes(b'an older file')
    images.save_png(second, image.copy())
    read = np.asarray(Image.open(first))
    np.testing.assert_array_equal(read if channels == 3 else read[..., None], image)
    assert first.read_bytes() == second.read_bytes() == images.encode_png(image)
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a.png', 'b.png', 'new']


def test_save_png_lays_out_a_batch(tmp_path):
    images.save_png(tmp_path / 'grid.png', PIXELS)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / 'grid.png')), images.grid(PIXELS)
    )


def test_save_png_leaves_the_old_file_and_nothing_else_when_it_cannot_write(tmp_path):
    (tmp_path / 'taken.png').mkdir()
    with pytest.raises(OSError):
        images.save_png(tmp_path / 'taken.png', PIXELS[0])
    assert [path.name for path in tmp_path.iterdir()] == ['taken.png']


def test_webp_animation_is_lossless(tmp_path):
    images.save_animation(tmp_path / 'a.webp', PIXELS, fps=8)
    with Image.open(tmp_path / 'a.webp') as animation:
        assert animation.n_frames == 5
        for i, frame in enumerate(PIXELS):
            animation.seek(i)
            np.testing.assert_array_equal(np.asarray(animation.convert('RGB')), frame)
            assert animation.info['duration'] == 125  # known once the frame is decoded


def test_gif_animation_keeps_grey_levels_and_time(tmp_path):
    frames = [np.full((8, 8, 1), level, np.uint8) for level in (0, 90, 255)]
    images.save_animation(tmp_path / 'a.gif', frames, fps=20)
    with Image.open(tmp_path / 'a.gif') as animation:
        assert animation.n_frames == 3
        assert animation.info['loop'] == 0
        for i, frame in enumerate(frames):
            animation.seek(i)
            assert animation.info['duration'] == 50
            np.testing.assert_array_equal(np.asarray(animation.convert('L')), frame[..., 0])


@pytest.mark.parametrize(
    ('name', 'frames', 'fps', 'message'),
    [
        ('a.mp4', PIXELS, 10, r"'a.mp4' must end in one of \('.gif', '.webp'\)"),
        ('a.gif', PIXELS[:0], 10, '0 frames'),
        ('a.gif', PIXELS, 0, 'fps=0'),
    ],
)
@pytest.mark.usefixtures('own_errors')
def test_animation_refuses(tmp_path, name, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        images.save_animation(tmp_path / name, frames, fps=fps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('fps', [0.01, 3, 24, 30, 49.9])
def test_a_gif_is_as_long_as_its_frames_per_second_say(tmp_path, fps):
    frames = np.stack([np.full((8, 8, 1), 20 * i, np.uint8) for i in range(10)])
    images.save_animation(tmp_path / 'a.gif', frames, fps=fps)
    with Image.open(tmp_path / 'a.gif') as gif:
        times = []
        for i in range(gif.n_frames):
            gif.seek(i)
            times.append(gif.info['duration'])
    assert len(times) == 10 and min(times) >= 20
    assert sum(times) == pytest.approx(10_000 / fps, abs=10)


@pytest.mark.parametrize(('name', 'fps'), [('a.gif', 60), ('a.gif', 1e-3), ('a.webp', 2000)])
def test_speeds_that_a_format_cannot_show_are_refused(tmp_path, name, fps):
    with pytest.raises(ValueError, match=rf'fps={fps:g}: \.{name[2:]} shows .* per second'):
        images.save_animation(tmp_path / name, PIXELS, fps=fps)
    assert not (tmp_path / name).exists()
