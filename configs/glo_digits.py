"""GLO on the 1,797 handwritten digits of scikit-learn: offline, a minute on a laptop's CPU.

Bojanowski et al. 2018 (arXiv:1707.05776) show no digits of this set; the network is their DCGAN at
16 px and a quarter of the width.

    python launch.py --config=configs/glo_digits.py --workdir=runs/glo_digits

Measured (2026-11-26, 2 CPU cores, means of seeds 0 to 2): 1,000 samples of the fitted Gaussian show
all ten digits, the rarest in 6.5 %, with a precision of .58; the demo's SNGAN, seed 0, 5.9 % and
.61 (docs/results/glo.md).
"""

from ml_collections import ConfigDict

from configs import glo_cifar


def get_config() -> ConfigDict:
    c = glo_cifar.get_config()
    c.num_steps = 2800  # 50 epochs
    c.batch_size = 32
    c.steps_per_call = 1

    c.model.gen_width = 16
    c.model.dim_z = 32
    c.model.running_variance = 'biased'  # as in the runs of docs/results/glo.md

    c.data.name = 'digits'
    c.data.image_size = 16
    c.data.channels = 1

    c.checkpoint.every = 400
    c.log.every = 20
    c.log.histograms_every = 400
    c.sampling.every = 200
    c.eval.extractor = 'digits'
    return c
