"""MP4 films of frames, by the ffmpeg that the package imageio-ffmpeg brings (`snjax[video]`)."""

import contextlib
import importlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from snjax.runs.files import replace_file

_INSTALL = "pip install 'snjax[video]', or pip install 'imageio-ffmpeg>=0.6'"
_LEAST = 256  # px; players blur what is smaller, and half of the colours' resolution is lost
_FPS = 0.1, 240


def check(fps: float | int) -> None:
    """Raises an error of one line, before anything is computed, where no film can be written.

    Raises:
        ModuleNotFoundError: imageio-ffmpeg is not installed.
        ValueError: of the frames per second, 0.1 to 240.
    """
    _library()
    if not _FPS[0] <= fps <= _FPS[1]:
        raise ValueError(
            f'fps={fps:g}: .mp4 shows {_FPS[0]:g} to {_FPS[1]:g} frames per second; change '
            '--sample.fps'
        )


def save(
    path: str | os.PathLike[str], frames: UInt8[np.ndarray, 't h w c'], fps: float | int
) -> None:
    """Writes frames as an H.264 film in the colours that all players show, whole or not at all.

    Small frames are enlarged by a whole factor, each pixel to a square, and edges are made even by
    repeating the last row or column, since H.264's common form has even sides.

    Args:
        path: ends in .mp4.
        frames: pixels, T images of (H, W, C), C 1 or 3; T at least 1.
        fps: frames per second, see `check`.

    Raises:
        ModuleNotFoundError, ValueError: see `check`; or ffmpeg failed.
    """
    check(fps)
    ffmpeg = _library()
    _, height, width, _ = frames.shape
    factor = max(1, -(-_LEAST // max(height, width)))
    odd = [(0, 0), (0, height * factor % 2), (0, width * factor % 2), (0, 0)]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, 'film.mp4')
        size = width * factor + odd[2][1], height * factor + odd[1][1]
        with open(Path(folder, 'errors'), 'w+b') as errors:
            # Not `imageio_ffmpeg.write_frames`, which runs Python in a fork of a process whose
            # other threads are JAX's: that may hang.
            command = [ffmpeg.get_ffmpeg_exe(), *_arguments(size, fps), str(made)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors) as process:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # its exit status says why
                    for frame in frames:  # one by one: enlarged, all would take much memory
                        large = frame.repeat(factor, 0).repeat(factor, 1)
                        large = np.pad(large, odd[1:], mode='edge')
                        process.stdin.write(np.broadcast_to(large, (*large.shape[:2], 3)).tobytes())
                    process.stdin.close()
            if process.returncode:
                errors.seek(0)
                words = ' '.join(errors.read().decode(errors='replace').split())
                raise ValueError(f'{path} cannot be written, says ffmpeg: {words[-300:]}')
        replace_file(path, made.read_bytes())


def _arguments(size: tuple[int, int], fps: float | int) -> list[str]:
    """ffmpeg's, all but the file: raw frames in, H.264 of a quality near to lossless out."""
    width, height = size
    raw = f'-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps} -i -'
    film = '-an -c:v libx264 -crf 15 -pix_fmt yuv420p -movflags +faststart'
    return f'-y -loglevel error {raw} {film}'.split()


def _library() -> Any:
    try:
        return importlib.import_module('imageio_ffmpeg')
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'an .mp4 needs imageio-ffmpeg: {_INSTALL}') from error
