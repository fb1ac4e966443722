"""Configs hold the published values (sources in their docstrings)."""

import pytest

from helpers.named_configs import load, values

# Appendix B.2 and the official configs/sn_cifar10_unconditional.yml: ResNet runs have these in
# common.
RESNET = {
    'method': 'sngan',
    'loss': 'hinge',
    'n_dis': 5,
    'batch_size': 64,
    'gen_batch_size': 128,
    'update_order': 'gen_first',
    'optimizer.name': 'adam',
    'optimizer.lr': 2e-4,
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.9,
    'optimizer.eps': 1e-8,
    'optimizer.ema_decay': 0.0,
    'model.architecture': 'resnet',
    'model.dim_z': 128,
    'model.latent': 'normal',
    'model.dtype': 'float32',
    'model.n_power_iterations': 1,
    'data.dequantize': True,
    'data.flip': False,
}
BIGGAN = {
    'method': 'biggan',
    'loss': 'hinge',
    'update_order': 'dis_first',
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.999,
    'optimizer.ema_decay': 0.9999,
    'model.architecture': 'biggan',
    'model.gen_normalization': 'spectral',
    'model.head': 'projection',
    'data.dequantize': False,
    'data.flip': False,
}


# PyTorch-StudioGAN 947b35e: src/config.py, and what src/configs/CIFAR10 changes for both.
STUDIO_GAN = {
    **BIGGAN,
    'method': 'acgan',
    'num_steps': 100_000,
    'n_dis': 5,
    'batch_size': 64,
    'gen_batch_size': 64,
    'optimizer.lr': 2e-4,
    'optimizer.dis_lr': 0.0,
    'optimizer.beta1': 0.5,
    'optimizer.eps': 1e-6,
    'optimizer.ema_start': 1000,
    'model.normalization': 'spectral',
    'model.dim_z': 80,
    'model.dim_embed': 512,
    'model.attention': 16,
    'model.gen_width': 4 * 96,
    'model.dis_width': 2 * 96,
    'acgan.margin': 0.98,
    'data.flip': True,
}


def class_loss(head, weight, temperature):
    values = {'dis_weight': weight, 'gen_weight': weight, 'temperature': temperature}
    return {'model.head': head, **{f'acgan.{k}': v for k, v in values.items()}}


def biggan(batch, parts, n_dis, lr, dis_lr, eps, ema_start):
    return {
        'batch_size': batch,
        'gen_batch_size': batch,
        'accumulate': parts,
        'n_dis': n_dis,
        'optimizer.lr': lr,
        'optimizer.dis_lr': dis_lr,
        'optimizer.eps': eps,
        'optimizer.ema_start': ema_start,
    }


PUBLISHED = [
    (
        'sngan_cifar',
        (),
        {
            'num_steps': 50_000,
            'optimizer.decay_start': 0,
            'optimizer.decay_end': 50_000,
            'model.gen_width': 256,
            'model.dis_width': 128,
            'data.name': 'cifar10',
            'data.split': 'train',
            'data.image_size': 32,
        },
    ),
    (
        'sngan_cifar',
        ('100k',),
        {'num_steps': 100_000, 'optimizer.decay_start': 0, 'optimizer.decay_end': 100_000},
    ),
    (
        'sngan_stl',
        (),
        {
            'num_steps': 100_000,
            'model.gen_width': 64,
            'model.dis_width': 64,
            'data.name': 'stl10',
            'data.split': 'unlabelled',
            'data.image_size': 48,
        },
    ),
    (
        'sngan_imagenet',
        (),
        {
            'num_steps': 450_000,
            'optimizer.decay_start': 400_000,
            'optimizer.decay_end': 450_000,
            'model.gen_width': 64,
            'model.dis_width': 64,
            'data.name': 'imagenet2012',
            'data.image_size': 128,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'args', 'expected'), PUBLISHED)
def test_resnet_runs_have_the_published_values(name, args, expected):
    expected = RESNET | expected
    assert values(load(name, *args), expected) == expected


# What the runs of R3GAN's authors have in common.
R3GAN = {
    'method': 'r3gan',
    'loss': 'relativistic_pairing',
    'update_order': 'dis_first',
    'n_dis': 1,
    'model.fake_classes': 'real',
    'penalty.through_augment': True,
    'model.architecture': 'r3gan',
    'model.dim_z': 64,
    'model.dtype': 'bfloat16',
    'optimizer.lr': 2e-4,
    'optimizer.beta1': 0.0,
    'optimizer.beta2': 0.9,
    'optimizer.eps': 1e-8,
    'burn_in.lr': 5e-5,
    'burn_in.beta2': 0.99,
    'burn_in.ema': True,
    'burn_in.augment': True,
    'data.flip': True,
    'data.dequantize': False,
}


def r3gan(batch, *, gamma, chance, ema, images):
    return {
        'batch_size': batch,
        'gen_batch_size': batch,
        'penalty.r1': gamma,
        'penalty.r2': gamma,
        'burn_in.gamma': pytest.approx(gamma / 10),
        'burn_in.steps': images / batch,
        'optimizer.ema_decay': pytest.approx(0.5 ** (batch / ema), abs=1e-12),
        'data.augment_chance': chance,
    }


# What a config changes of its source's values: recipes of the official codes and papers named in
# the docstrings.
OTHERS = [
    (
        'wgan_gp_cifar',
        ('resnet',),
        {
            'method': 'wgan_gp',
            'loss': 'wasserstein',
            'penalty.gradient': 10.0,
            'update_order': 'dis_first',
            'n_dis': 5,
            'num_steps': 100_000,
            'gen_batch_size': 128,
            'optimizer.lr': 2e-4,
            'optimizer.beta1': 0.0,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 100_000,
            'model.variant': 'wgan_gp',
            'model.normalization': 'none',
            'model.gen_width': 128,
            'model.dis_width': 128,
            'data.dequantize': True,
        },
    ),
    ('wgan_gp_cifar', ('resnet,256',), {'model.gen_width': 256, 'model.dis_width': 128}),
    (
        'wgan_gp_cifar',
        ('cnn',),
        {
            'num_steps': 200_000,
            'gen_batch_size': 64,
            'optimizer.lr': 1e-4,
            'optimizer.beta1': 0.5,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 0,
            'model.architecture': 'wgan_gp_cnn',
            'model.gen_width': 128,
        },
    ),
    (
        'wgan_cifar',
        (),
        {'optimizer.name': 'rmsprop', 'optimizer.lr': 5e-5, 'clip': 0.01, 'n_dis': 5},
    ),
    (
        'dcgan_cifar',
        (),
        {
            'loss': 'non_saturating',
            'n_dis': 1,
            'optimizer.lr': 2e-4,
            'optimizer.beta1': 0.5,
            'optimizer.beta2': 0.999,
            'model.variant': 'code',
            'model.latent': 'uniform',
            'model.normalization': 'batch',
        },
    ),
    ('lsgan_cifar', (), {'loss': 'least_squares', 'model.normalization': 'batch'}),
    ('dragan_cifar', (), {'loss': 'non_saturating', 'penalty.dragan': 10.0}),
    ('cgan_cifar', (), RESNET | {'method': 'cgan', 'num_steps': 50_000, 'model.num_classes': 10}),
    (
        'cgan_imagenet',
        (),
        RESNET
        | {
            'method': 'cgan',
            'num_steps': 450_000,
            'optimizer.decay_start': 400_000,
            'model.num_classes': 1000,
        },
    ),
    (
        'cgan_flowers',
        (),
        {'num_steps': 50_000, 'model.num_classes': 102, 'model.first_stride2': True},
    ),
    ('acgan_cifar', (), {'model.head': 'acgan', 'acgan.dis_weight': 1.0, 'acgan.gen_weight': 0.1}),
    ('acgan_cifar', ('contragan',), STUDIO_GAN | class_loss('contragan', 1.0, 1.0)),
    (
        'acgan_cifar',
        ('reacgan',),
        STUDIO_GAN
        | class_loss('reacgan', 0.5, 0.5)
        | {'batch_size': 128, 'gen_batch_size': 128, 'optimizer.lr': 0.00028284271247461903},
    ),
    (
        'sagan_imagenet',
        (),
        {
            'n_dis': 1,
            'batch_size': 256,
            'gen_batch_size': 256,
            'num_steps': 1_000_000,
            'optimizer.lr': 1e-4,
            'optimizer.dis_lr': 4e-4,
            'optimizer.beta1': 0.0,
            'optimizer.beta2': 0.9,
            'optimizer.decay_end': 0,
            'model.attention': 32,
            'model.gen_normalization': 'spectral',
        },
    ),
    (
        'r3gan_cifar',
        ('resnet',),
        {
            'loss': 'relativistic_pairing',
            'model.normalization': 'none',
            'model.architecture': 'resnet',
            'penalty.through_augment': False,
            'burn_in.steps': 0,
        },
    ),
    # The presets of R3GAN's train.py; its ends are in images.
    ('r3gan_cifar', (), R3GAN | r3gan(512, gamma=0.05, chance=0.55, ema=5e6, images=2e7)),
    (
        'r3gan_imagenet',
        ('32',),
        R3GAN | r3gan(4096, gamma=0.5, chance=0.5, ema=5e7, images=2e8) | {'model.gen_width': 1536},
    ),
    ('r3gan_imagenet', ('64',), r3gan(4096, gamma=1, chance=0.4, ema=5e7, images=2e8)),
    ('r3gan_folder', ('ffhq,64',), r3gan(256, gamma=2, chance=0.3, ema=5e5, images=2e7)),
    ('r3gan_folder', ('ffhq,256',), r3gan(256, gamma=150, chance=0.3, ema=5e5, images=2e7)),
    # The authors' launch_cifar_ema.sh and launch_BigGAN_bs256x8.sh, and the paper's appendix C.
    ('biggan_cifar', (), BIGGAN | biggan(50, 1, 4, 2e-4, 0.0, 1e-8, 1000) | {'num_steps': 125_000}),
    (
        'biggan_imagenet',
        ('128',),
        BIGGAN
        | biggan(2048, 8, 2, 5e-5, 2e-4, 1e-8, 0)
        | {'penalty.gen_orthogonal': 1e-4, 'model.dim_z': 120, 'model.attention': 64},
    ),
    ('biggan_imagenet', ('128,code',), BIGGAN | biggan(2048, 8, 1, 1e-4, 4e-4, 1e-6, 20_000)),
    ('biggan_imagenet', ('256',), {'model.dim_z': 140, 'model.gen_width': 96}),
    ('biggan_imagenet', ('256,deep',), biggan(2048, 8, 2, 2.5e-5, 2.5e-5, 1e-8, 0)),
]


@pytest.mark.parametrize(('name', 'args', 'expected'), OTHERS)
def test_other_runs_have_the_values_of_their_sources(name, args, expected):
    assert values(load(name, *args), expected) == expected
