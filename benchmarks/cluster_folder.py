"""Makes a folder of many small classes from unlabelled images: k-means clusters of their pixels.

It stands in for sets with many classes of few images, such as faces by character: images that are
close in colour and pose share a class. Images are reduced to 16x16, then to their first principal
components. Each cluster keeps the images nearest to its centre. Files are linked, not copied.

    python -m benchmarks.cluster_folder --images=faces --out=clusters --num_classes=110 --most=90
"""

import argparse
import pathlib

import numpy as np
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from snjax.data.folder_files import IMAGE_SUFFIXES


def features(files: list[pathlib.Path]) -> np.ndarray:
    """Principal components (N, 32) of the images at 16x16."""
    small = [np.asarray(Image.open(f).convert('RGB').resize((16, 16))) for f in files]
    pixels = np.stack(small).reshape(len(files), -1) / 255
    return PCA(min(32, len(files)), random_state=0).fit_transform(pixels)


def clusters(points: np.ndarray, num_classes: int, fewest: int, most: int) -> list[np.ndarray]:
    """Positions of the images of each cluster, nearest to its centre first, at most `most` of each.

    K-means makes more clusters than asked for, because those under `fewest` images are dropped; the
    largest `num_classes` stay.

    Raises:
        ValueError: if fewer clusters are large enough.
    """
    found = KMeans(num_classes * 5 // 4, n_init=4, random_state=0).fit(points)
    distances = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    order = np.argsort(distances, kind='stable')
    groups = [order[found.labels_[order] == k][:most] for k in range(found.n_clusters)]
    groups = sorted((g for g in groups if len(g) >= fewest), key=len, reverse=True)
    if len(groups) < num_classes:
        raise ValueError(
            f'{len(groups)} clusters have {fewest} images or more, {num_classes} are wanted: ask for fewer '
            '(--num_classes) or smaller ones (--fewest)'
        )
    return groups[:num_classes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=pathlib.Path, required=True, help='a folder of images')
    parser.add_argument('--out', type=pathlib.Path, required=True, help='the folder to make')
    parser.add_argument('--num_classes', type=int, default=110)
    parser.add_argument('--fewest', type=int, default=10, help='images of the smallest class')
    parser.add_argument('--most', type=int, default=90, help='images of the largest class')
    args = parser.parse_args()
    files = sorted(f for f in args.images.rglob('*') if f.suffix.lower() in IMAGE_SUFFIXES)
    try:
        groups = clusters(features(files), args.num_classes, args.fewest, args.most)
    except ValueError as error:
        parser.exit(2, f'cluster_folder: {error}\n')
    for k, group in enumerate(groups):
        folder = args.out / f'{k:03d}'
        folder.mkdir(parents=True)
        for i in group:
            (folder / files[i].name).symlink_to(files[i].resolve())
    sizes = [len(g) for g in groups]
    print(
        f'{sum(sizes)} images in {len(groups)} classes of {min(sizes)} to {max(sizes)}: {args.out}'
    )


if __name__ == '__main__':
    main()
