"""Every method on CIFAR-10 at full length: the runs of docs/results/cifar10.md, by importance.

    python launch.py --mode=sweep --sweep=configs/sweeps/cifar10.py --workdir=sweeps/cifar10

Published, as inception score and FID of Inception, each by the protocol of its source:

    SNGAN, ResNet, hinge              8.22, 21.7    Miyato et al. 2018, table 2
    SNGAN, standard CNN, hinge        7.58, 25.5    the same
    cGAN, projection, ResNet          8.62, 17.5    the authors' code, by leaderboards
    WGAN-GP, ResNet                   7.86, -       Gulrajani et al. 2017, table 3
    R3GAN's objective on this ResNet  none
    GLO, DCGAN                        none

More of them are in `experiments/report/published.py`. Each method keeps its recipe. Added to all
GANs is a moving average of the generator, about a thousand updates long; the raw weights, which
the papers scored, can be scored as well. Five checkpoints of each run are kept, equally far apart.
The ResNets of SNGAN and cGAN train in bfloat16, and one SNGAN in float32 for comparison; gradients
of gradients and the small networks, which gain little from bfloat16, stay in float32.
"""

EMA = {'optimizer.ema_decay': 0.999}
BFLOAT16 = {'model.dtype': 'bfloat16'}


def get_sweep(h):
    """The runs in the order of their importance."""
    sngan = {'config': 'configs/sngan_cifar.py', 'checkpoint.keep_every': 10_000} | EMA
    cgan = {'config': 'configs/cgan_cifar.py', 'checkpoint.keep_every': 10_000} | EMA
    longer = {'checkpoint.keep_every': 20_000} | EMA
    return [
        sngan | BFLOAT16 | {'seed': 0},
        {'config': 'configs/sngan_cifar_cnn.py:C,paper,hinge'} | longer,
        {'config': 'configs/sngan_cifar_cnn.py:C,code,hinge'} | longer,
        cgan | BFLOAT16,
        {'config': 'configs/wgan_gp_cifar.py'} | longer,
        sngan | {'model.dtype': 'float32'},
        {'config': 'configs/r3gan_cifar.py:resnet'} | longer,
        {'config': 'configs/glo_cifar.py', 'checkpoint.keep_every': 2_000},
        sngan | BFLOAT16 | {'seed': 1},
        sngan | BFLOAT16 | {'seed': 2},
    ]
