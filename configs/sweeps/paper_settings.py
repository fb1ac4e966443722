"""Figures 1 and 2 of SNGAN's paper: robustness to hyper-parameters, settings A to F.

3 methods x 6 settings x 3 seeds.

    python launch.py --mode=sweep --sweep=configs/sweeps/paper_settings.py --workdir=sweeps/settings
    python launch.py --mode=sweep --sweep=configs/sweeps/paper_settings.py:digits

The argument is the set of `configs/sngan_paper.py`: cifar (default), stl or digits. 54 runs; the
paper has more methods and 100,000 updates per run. The digits take about two hours of one CPU core,
an hour on two with --slots=2 (from 4 to 34 updates a second and 20 s to start each run, measured
2026-11-26 on one core of an x86-64 machine).
"""

from configs.sngan_cifar_cnn import SETTINGS
from configs.sngan_paper import SETS

METHODS = ('sngan', 'wgan_gp', 'weight_clipping')


def get_sweep(h, image_set='cifar'):
    if image_set not in SETS:
        raise ValueError(f'paper_settings.py:{image_set}: accepted are {", ".join(SETS)}')
    files = [f'configs/sngan_paper.py:{m},{s},{image_set}' for m in METHODS for s in SETTINGS]
    return h.product({'config': files}, {'seed': range(3)})
