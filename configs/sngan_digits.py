"""The demo: SNGAN on the 1,797 handwritten digits of scikit-learn, offline, minutes on a CPU.

Reproduces no row of a paper: the paper's standard CNN at 16 px and a fraction of its width.

    python launch.py --config=configs/sngan_digits.py --workdir=runs/digits
    python launch.py --mode=sweep --config=configs/sngan_digits.py --workdir=sweeps/digits # 12 runs
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    c = base.get_config()
    c.num_steps = 3200
    c.batch_size = 32
    c.gen_batch_size = 32
    c.n_dis = 1
    c.update_order = 'dis_first'
    c.steps_per_call = 1

    c.model.architecture = 'sngan_cnn'
    c.model.gen_width = 16
    c.model.dis_width = 16
    c.model.dim_z = 64

    c.data.name = 'digits'
    c.data.image_size = 16
    c.data.channels = 1
    c.data.dequantize = False

    c.optimizer.lr = 5e-4
    c.optimizer.beta1 = 0.5
    c.optimizer.beta2 = 0.9
    c.optimizer.decay_start = 1600
    c.optimizer.decay_end = 3200
    c.optimizer.ema_decay = 0.99

    c.checkpoint.every = 400
    c.log.every = 20
    c.log.histograms_every = 400
    c.sampling.every = 100
    c.eval.extractor = 'digits'
    c.eval.every = 400
    return c


def get_sweep(h):
    return h.product({'optimizer.lr': [2e-4, 5e-4, 1e-3], 'n_dis': [1, 2]}, {'seed': [0, 1]})
