"""Diversity inside classes: mean distance between two images of a class, in a run and in its set.

If a generator collapses inside classes, as AC-GANs tend to, its distance falls far below that of
the real images. The distance is the root mean square difference of pixels in [-1, 1], averaged over
all pairs of a class and then over classes. A mean distance does not notice a class that consists of
a few images far from each other. `recall` does: it is the share of a class's real images that lie
in a ball around one of its samples (improved recall of Kynkaanniemi et al. 2019 on pixels, k = 3).
`real_recall` puts other real images in place of the samples, and so is an upper bound in practice.

    python -m benchmarks.class_diversity runs/cgan runs/acgan [--num=50] [--seed=0]
"""

import argparse
import json
import pathlib

import numpy as np

import snjax
from snjax.metrics.manifold import precision_recall


def mean_distance(images: np.ndarray) -> float:
    """Mean RMS difference over all pairs of images (n, H, W, C); NaN for fewer than two images."""
    n = len(images)
    flat = images.reshape(n, -1).astype(np.float64)
    squares = (flat**2).sum(1)
    squared = squares[:, None] + squares - 2 * flat @ flat.T
    upper = np.sqrt(np.maximum(squared[np.triu_indices(n, 1)], 0) / flat.shape[1])
    return float(upper.mean()) if n > 1 else float('nan')


def recall(real: np.ndarray, fake: np.ndarray) -> float:
    """Share of a class's real images near a sample (recall); NaN for fewer than four images."""
    if min(len(real), len(fake)) < 4:
        return float('nan')
    return precision_recall(*(x.reshape(len(x), -1) for x in (real, fake))).recall


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 3) if known.size else None


def diversity(workdir: pathlib.Path, num: int, seed: int) -> dict[str, object]:
    """Distances and recall of `num` samples and up to `num` training images per class, averaged.

    Raises:
        ValueError: the run has no classes.
    """
    trained = snjax.load(workdir)
    if not trained.num_classes:
        raise ValueError(f'{workdir} has no classes: give a conditional run')
    real = trained.training_set()
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(trained.num_classes):
        ours = trained.sample(num, seed=seed + k, labels=k)
        members = np.flatnonzero(real.labels == k)
        chosen = rng.choice(members, min(num, len(members)), replace=False)
        theirs = real.images[np.sort(chosen)].astype(np.float32) / 127.5 - 1
        rest = rng.permutation(np.setdiff1d(members, chosen))[:num]
        others = real.images[np.sort(rest)].astype(np.float32) / 127.5 - 1
        recalls = (recall(theirs, ours), recall(theirs, others))
        rows.append((mean_distance(ours), mean_distance(theirs), *recalls))
    fake, there, found, reachable = np.array(rows).T
    return {
        'workdir': str(workdir),
        'method': trained.config['method'],
        'step': trained.step,
        'samples_per_class': num,
        'seed': seed,
        'samples': round(float(np.nanmean(fake)), 4),
        'real': round(float(np.nanmean(there)), 4),
        'ratio': round(float(np.nanmean(fake) / np.nanmean(there)), 3),
        'smallest_ratio': round(float(np.nanmin(fake / there)), 3),
        'recall': _mean(found),
        'real_recall': _mean(reachable),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path)
    parser.add_argument('--num', type=int, default=50, help='samples per class')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    try:
        for workdir in args.workdirs:
            print(json.dumps(diversity(workdir, args.num, args.seed)))
    except (ValueError, FileNotFoundError) as error:
        parser.exit(2, f'class_diversity: {error}\n')


if __name__ == '__main__':
    main()
