"""How classes enter the generator, on digits: the runs of docs/results/projection_acgan.md.

    python launch.py --mode=sweep --sweep=configs/sweeps/conditioning.py --workdir=sweeps/conditioning

The demo (`configs/sngan_digits.py`) with a projection discriminator and ten classes of about 180
images, three seeds each:

    batch norm      a row of gamma and beta per class (Miyato and Koyama 2018)
    concat          the class beside z
    gradual         batch norm, but classes come in between updates 400 and 1,200
                    (after Shahbazi et al. 2022, arXiv:2201.06578)
    unconditional   no classes
"""

CLASSES = {'method': 'cgan', 'model.head': 'projection', 'model.num_classes': 10}
KINDS = {
    'batch_norm': CLASSES,
    'concat': CLASSES | {'model.gen_conditioning': 'concat'},
    'gradual': CLASSES | {'model.conditioning_start': 400, 'model.conditioning_end': 1200},
    'unconditional': {},
}


def get_sweep(h):
    runs = [{'config': 'configs/sngan_digits.py', **kind} for kind in KINDS.values()]
    return h.product(runs, {'seed': range(3)})
