r"""How well and how sharply GLO runs reconstruct their images, and how steadily their loss fell.

One row per run:

* `epochs_rising`: number of epochs whose mean logged loss is above that of the epoch before.
* `train_psnr`, `train_ssim`: means over training images, from their rows of the table; dB.
* `sharpness`: gradient energy (mean squared difference of neighbouring pixels) of the
  reconstructions over that of the originals; 1 for equally sharp images.
* `encoded`: PSNR of the images that `--mode=invert --invert.operator=identity` has written, by
  split. Held-out images against training images that were encoded the same way show memorization.

    python -m benchmarks.glo_reconstruction runs/glo_a runs/glo_b [--num=500] [--step=...] \
        [--data_dir=...]
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np

import snjax
from snjax.generate.glo import TrainedGlo
from snjax.metrics.distortion import distortion


def gradient_energy(images: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels of images (n, H, W, C), in both directions."""
    return float(np.mean([np.mean(np.diff(images, axis=axis) ** 2) for axis in (1, 2)]))


def epoch_losses(lines: list[dict[str, float]]) -> np.ndarray:
    """Mean logged loss of each whole epoch, from a run's metrics."""
    epochs: dict[int, list[float]] = {}
    for line in lines:
        if 'train/rec_loss' in line:
            # The step that ends an epoch belongs to it.
            epochs.setdefault(int(np.ceil(line['train/epoch'])), []).append(line['train/rec_loss'])
    return np.array([np.mean(epochs[key]) for key in sorted(epochs)])


def row(workdir: pathlib.Path, num: int, data_dir: str | None, step: int | None) -> dict[str, Any]:
    """The row of one run.

    Raises:
        ValueError: the run is no GLO run.
    """
    trained = snjax.load(workdir, step)
    if not isinstance(trained, TrainedGlo):
        raise ValueError(f'{workdir} is no GLO run')
    image_set = trained.training_set(data_dir=data_dir)
    index = np.sort(np.random.default_rng(0).permutation(len(trained.table))[:num])
    real = image_set.images[index].astype(np.float32) / 127.5 - 1
    made = trained.reconstruct(index)
    found = distortion(real, made)
    lines = [json.loads(x) for x in (workdir / 'metrics.jsonl').read_text().splitlines()]
    losses = epoch_losses([line for line in lines if line['step'] <= trained.step])
    return {
        'workdir': str(workdir),
        'step': trained.step,
        'dim_z': trained.table.shape[1],
        'loss': trained.config['glo']['loss'],
        'initial': trained.config['glo']['initial'],
        'images': len(index),
        'epochs': len(losses),
        'epochs_rising': int(np.sum(np.diff(losses) > 0)),
        'losses': [round(float(x), 4) for x in losses],
        'train_psnr': round(float(found.psnr.mean()), 2),
        'train_ssim': round(float(found.ssim.mean()), 3),
        'sharpness': round(gradient_energy(made) / gradient_energy(real), 3),
        'encoded': _encoded(workdir, trained.step),
    }


def _encoded(workdir: pathlib.Path, step: int) -> dict[str, float]:
    found = {}
    for path in sorted((workdir / 'inverted').glob(f'identity*_step{step}_*.json')):
        record = json.loads(path.read_text())
        found[record['source']['split']] = round(record['means']['restored']['psnr'], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
    parser.add_argument('--num', type=int, default=500, help='training images')
    parser.add_argument('--data_dir', default=None)
    parser.add_argument('--step', type=int, default=None, help='checkpoint; the newest if left out')
    args = parser.parse_args()
    try:
        for workdir in args.workdirs:
            print(json.dumps(row(workdir, args.num, args.data_dir, args.step)))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f'glo_reconstruction: {error}\n')


if __name__ == '__main__':
    main()
