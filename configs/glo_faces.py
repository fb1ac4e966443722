"""GLO on your own images, of any size: a folder and its subfolders, a zip archive, or Parquet.

    python launch.py --config=configs/glo_faces.py:faces --workdir=runs/glo_faces
    python launch.py --config=configs/glo_faces.py:faces,128 --workdir=runs/glo_faces128

The argument is PATH or PATH,SIZE with a size of 32, 64 (default), 128 or 256 px; images are resized
and cropped to it. Reproduces no row of a paper: the recipe of `glo_cifar.py`, started from
principal components. An epoch is (number of images) / 128 updates; 25 to 50 epochs are usual.
"""

from ml_collections import ConfigDict

from configs import glo_cifar, sngan_folder
from snjax.data import sets
from snjax.image_format import sides


def get_config(argument: str = '') -> ConfigDict:
    path, size = sngan_folder.path_and_size(argument, 'glo_faces.py')
    c = glo_cifar.get_config()
    c.num_steps = 10_000
    c.data.name = sets.name_of(path)
    c.data.path = path
    c.data.image_size = size
    c.glo.initial = 'pca'
    if min(sides(size)) > 64:
        c.glo.levels = 4
    return c
