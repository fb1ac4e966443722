"""Published scores on CIFAR-10 and STL-10, each with its protocol, for orientation.

The protocol `paper` is SNGAN's (appendix B.1: 10,000 test images, 5,000 fakes). All FIDs are those
of Inception.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One published result. A score is None where it was not published."""

    data: str
    method: str
    network: str
    inception_score: float | None
    fid: float | None
    protocol: str
    source: str


_PAPER = 'Miyato et al. 2018, table 2'
_MIMICRY = 'mimicry, README'
_STUDIO = 'StudioGAN, README: best checkpoint, IS not split'
_COLLECTIONS = 'pytorch-gan-collections, README'

PUBLISHED = (
    Published('cifar10', 'real images', '', 11.24, 7.8, 'paper', _PAPER),
    Published('cifar10', 'wgan', 'standard CNN', 6.41, 42.6, 'paper', _PAPER),
    Published('cifar10', 'gan_gp', 'standard CNN', 6.93, 37.7, 'paper', _PAPER),
    Published('cifar10', 'wgan_gp', 'standard CNN', 6.68, 40.2, 'paper', _PAPER),
    Published('cifar10', 'gan, batch norm', 'standard CNN', 6.27, 56.3, 'paper', _PAPER),
    Published('cifar10', 'gan, layer norm', 'standard CNN', 7.19, 33.9, 'paper', _PAPER),
    Published('cifar10', 'gan, weight norm', 'standard CNN', 6.84, 34.7, 'paper', _PAPER),
    Published('cifar10', 'gan, orthonormal', 'standard CNN', 7.40, 29.0, 'paper', _PAPER),
    Published('cifar10', 'sngan, BCE', 'standard CNN', 7.42, 29.3, 'paper', _PAPER),
    Published('cifar10', 'sngan, hinge', 'standard CNN', 7.58, 25.5, 'paper', _PAPER),
    Published('cifar10', 'gan, orthonormal, hinge', 'ResNet', 7.92, 23.8, 'paper', _PAPER),
    Published('cifar10', 'sngan, hinge', 'ResNet', 8.22, 21.7, 'paper', _PAPER),
    Published('cifar10', 'cgan', 'ResNet', 8.62, 17.5, 'paper', 'projection cGAN, by leaderboards'),
    Published(
        'cifar10', 'wgan_gp', 'ResNet', 7.86, None, 'its own', 'Gulrajani et al. 2017, table 3'
    ),
    Published('cifar10', 'wgan_gp', 'ResNet', 7.33, 22.29, '50k_50k_train', _MIMICRY),
    Published('cifar10', 'sngan, hinge', 'ResNet', 7.97, 16.77, '50k_50k_train', _MIMICRY),
    Published('cifar10', 'sngan, hinge', 'ResNet', None, 23.90, 'paper', _MIMICRY),
    Published('cifar10', 'cgan', 'ResNet', 8.25, 10.84, '50k_50k_train', _MIMICRY),
    Published('cifar10', 'sngan', 'standard CNN', 7.84, 17.81, '50k_50k_train', _COLLECTIONS),
    Published('cifar10', 'sngan', 'ResNet', 8.31, 14.32, '50k_50k_train', _COLLECTIONS),
    Published('cifar10', 'wgan_gp', 'ResNet', 7.95, 16.95, '50k_50k_train', _COLLECTIONS),
    Published('cifar10', 'dcgan', 'DCGAN', 6.11, 48.29, '50k_50k_train', _STUDIO),
    Published('cifar10', 'cgan', 'ResNet', 8.83, 9.01, '50k_50k_train', _STUDIO),
    Published('cifar10', 'sagan', 'ResNet', 8.64, 10.35, '50k_50k_train', _STUDIO),
    Published('stl10', 'real images', '', 26.08, 7.9, 'paper', _PAPER),
    Published('stl10', 'wgan', 'standard CNN', 7.57, 64.2, 'paper', _PAPER),
    Published('stl10', 'wgan_gp', 'standard CNN', 8.42, 55.1, 'paper', _PAPER),
    Published('stl10', 'gan, layer norm', 'standard CNN', 7.61, 75.6, 'paper', _PAPER),
    Published('stl10', 'gan, weight norm', 'standard CNN', 7.16, 73.4, 'paper', _PAPER),
    Published('stl10', 'gan, orthonormal', 'standard CNN', 8.56, 46.7, 'paper', _PAPER),
    Published('stl10', 'sngan, BCE', 'standard CNN', 8.28, 53.1, 'paper', _PAPER),
    Published('stl10', 'sngan, hinge', 'ResNet', 9.10, 40.1, 'paper', _PAPER),
    Published('stl10', 'sngan, hinge', 'ResNet', 8.04, 39.56, '50k_50k_train', _MIMICRY),
)
