"""Tests of snjax.runs.video: films are read back by ffmpeg; without it one line says what to do."""

import subprocess
import sys

import numpy as np
import pytest

from experiments.modes.sample_files import SampleOutput, check_moving, write
from snjax.runs import video

LEVELS = (20, 90, 160, 235)


@pytest.fixture
def ffmpeg():
    reason = 'imageio-ffmpeg (extra video) is not installed'
    return pytest.importorskip('imageio_ffmpeg', reason=reason).get_ffmpeg_exe()


def read(ffmpeg, path, height, width):
    """Frames (t, height, width, 3) of a film, and what ffmpeg says of it."""
    command = [ffmpeg, '-i', str(path), *'-f rawvideo -pix_fmt rgb24 -'.split()]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return frames.astype(int), done.stderr.decode()


@pytest.mark.parametrize('channels', [1, 3])
def test_a_film_shows_its_frames_in_order_enlarged_to_even_sides(ffmpeg, tmp_path, channels):
    frames = np.zeros((4, 15, 27, channels), np.uint8)
    for t, level in enumerate(LEVELS):
        frames[t, :, :9], frames[t, :, 9:] = level, 255 - level
    video.save(tmp_path / 'a.mp4', frames, fps=8)
    found, about = read(ffmpeg, tmp_path / 'a.mp4', 150, 270)
    assert 'Video: h264' in about and 'yuv420p' in about and ' 8 fps' in about
    assert len(found) == 4
    for frame, level in zip(found, LEVELS, strict=True):
        assert np.abs(frame[:, :80] - level).max() <= 6
        assert np.abs(frame[:, 100:] - (255 - level)).max() <= 6
    assert [path.name for path in tmp_path.iterdir()] == ['a.mp4']
    video.save(tmp_path / 'large.mp4', np.zeros((2, 257, 301, 1), np.uint8), fps=1.5)
    assert len(read(ffmpeg, tmp_path / 'large.mp4', 258, 302)[0]) == 2


def test_grids_of_rows_become_a_film(ffmpeg, tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (3, 2, 8, 12, 5), np.uint8)  # 5 channels
    (path,) = write(tmp_path / 'walk', SampleOutput('', '', rows), 'mp4', fps=10)
    # Two by two cells of 8x12 with gaps of 2 are 18x26, and 10 times as large at 256 px or more.
    assert path.name == 'walk.mp4' and len(read(ffmpeg, path, 180, 260)[0]) == 2


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    with pytest.raises(ValueError, match=r"^sample\.format is mp4: .*'snjax\[video\]'[^\n]*$"):
        check_moving('mp4', 10)


def test_speeds_that_no_player_shows_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', sys)  # any module: nothing is written
    with pytest.raises(ValueError, match=r'fps=1000: \.mp4 shows 0\.1 to 240 frames per second'):
        check_moving('mp4', 1000)
