"""Table 2 of SNGAN's paper on CIFAR-10: its methods on the CNN, SN on the ResNet, 3 seeds each.

    python launch.py --mode=sweep --sweep=configs/sweeps/paper_table2.py --workdir=sweeps/table2
    python launch.py --mode=sweep --sweep=configs/sweeps/paper_table2.py:ABCDEF

The argument names the settings of the standard CNN. The paper prints each method's best of A to F;
the default C is the setting of SN's official example. 30 runs with C, 165 with all. The published
numbers are in `configs/sngan_paper.py` and `sngan_cifar.py`.
"""

from configs.sngan_cifar_cnn import SETTINGS
from configs.sngan_paper import METHODS


def get_sweep(h, settings='C'):
    if not settings or not set(settings) <= set(SETTINGS):
        raise ValueError(f'paper_table2.py:{settings}: accepted are some of {"".join(SETTINGS)}')
    cnn = [f'configs/sngan_paper.py:{m},{s},cifar' for m in METHODS for s in settings]
    return h.product({'config': [*cnn, 'configs/sngan_cifar.py']}, {'seed': range(3)})
