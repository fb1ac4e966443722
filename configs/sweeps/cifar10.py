"""Every method on CIFAR-10 at full length: the runs of docs/results/cifar10.md, by importance.

    python launch.py --mode=sweep --sweep=configs/sweeps/cifar10.py --workdir=sweeps/cifar10

10 runs of 10,000 to 100,000 generator updates, for accelerators. Each method keeps its published
recipe. A moving average of the generator is kept beside the raw weights (not for GLO), and five
checkpoints of each run, equally far apart, stay on disk to be scored by `--mode=evaluate`.
"""

SNGAN, CNN = 'configs/sngan_cifar.py', 'configs/sngan_cifar_cnn.py'
EMA = {'optimizer.ema_decay': 0.999}
# Gradients of gradients stay in float32, and so do small networks, which gain little from less.
BFLOAT16 = {'model.dtype': 'bfloat16'}


def get_sweep(h):
    runs = [
        (SNGAN, 50_000, BFLOAT16 | EMA),
        (f'{CNN}:C,paper,hinge', 100_000, EMA),
        (f'{CNN}:C,code,hinge', 100_000, EMA),
        ('configs/cgan_cifar.py', 50_000, BFLOAT16 | EMA),
        ('configs/wgan_gp_cifar.py', 100_000, EMA),
        (SNGAN, 50_000, EMA),
        ('configs/r3gan_cifar.py', 100_000, EMA),
        ('configs/glo_cifar.py', 10_000, {}),
        (SNGAN, 50_000, BFLOAT16 | EMA | {'seed': 1}),
        (SNGAN, 50_000, BFLOAT16 | EMA | {'seed': 2}),
    ]
    return [
        {'config': config, 'checkpoint.keep_every': num_steps // 5, **changes}
        for config, num_steps, changes in runs
    ]
