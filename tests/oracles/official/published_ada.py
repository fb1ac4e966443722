"""Images that the augmentations of NVlabs/stylegan2-ada-pytorch (d72cc7d) make, and their draws.

    TORCH_PYTHON tests/oracles/official/published_ada.py --checkouts=DIR --out=FOLDER

`training/augment.py` is run as it is, on a CPU, with every transformation at probability 1. Its
random numbers are recorded: each parameter, and behind it the number that decides whether it is used.
"""

import argparse
import pathlib
import sys

import numpy as np
import torch

# Channels, height and width, as PyTorch has them.
SHAPES = {'square': (3, 24, 24), 'rectangle': (3, 24, 32), 'grey': (1, 24, 24)}
PARTS = {
    'blit': ('xflip', 'rotate90', 'xint'),
    'geom': ('scale', 'rotate', 'aniso', 'xfrac'),
    'color': ('brightness', 'contrast', 'lumaflip', 'hue', 'saturation'),
    'filter': ('imgfilter',),
}


def recorded(function, into):
    """`function` whose results are also kept."""

    def draw(*args, **kwargs):
        value = function(*args, **kwargs)
        into.append(value.double().numpy().ravel())
        return value

    return draw


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--checkouts', type=pathlib.Path, required=True)
    parser.add_argument('--out', type=pathlib.Path, required=True)
    args = parser.parse_args()
    sys.path.insert(0, str(args.checkouts / 'stylegan2-ada-pytorch'))
    from training.augment import AugmentPipe

    torch.manual_seed(0)
    rand, randn = torch.rand, torch.randn
    for name, shape in SHAPES.items():
        for part in (*PARTS, 'bgcf'):
            names = PARTS.get(part) or [n for group in PARTS.values() for n in group]
            pipe = AugmentPipe(**dict.fromkeys(names, 1))
            for turn in range(4):
                image, draws = rand([1, *shape]) * 2 - 1, []
                torch.rand, torch.randn = recorded(rand, draws), recorded(randn, draws)
                out = pipe(image)
                torch.rand, torch.randn = rand, randn
                arrays = {f'draw_{i}': draw for i, draw in enumerate(draws[::2])}
                arrays |= {
                    k: v[0].permute(1, 2, 0) for k, v in {'image': image, 'out': out}.items()
                }
                np.savez(args.out / f'{name}-{part}-{turn}.npz', **arrays)


if __name__ == '__main__':
    main()
