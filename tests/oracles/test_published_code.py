"""Generators that the codes of others made and saved: `make oracles CHECKOUTS=DIR`.

`official/published_torch.py` and `official/published_chainer.py` say what is run, with the
interpreters of `official/fixtures.py`.
"""

import os
import subprocess

import numpy as np
import pytest

from configs import base
from oracles.official.fixtures import HERE
from snjax.generate import published
from snjax.generate.load import from_tree

NETWORKS = {
    'mimicry': {
        **{f'{kind}_{size}': size for kind in ('sngan', 'wgan_gp') for size in (32, 48, 64, 128)},
        **{f'{kind}_{size}': size for kind in ('cgan_pd', 'sagan') for size in (32, 128)},
    },
    'pfnet': {f'pfnet_{n}_{classes}': n for n in (32, 64, 128, 256) for classes in (0, 3)},
    'biggan': {
        'biggan_cifar': 32,
        **{f'biggan_{size}': size for size in (32, 64, 128, 256)},
        **{f'deep_{size}': size for size in (128, 256)},
    },
}
SCRIPTS = {
    'mimicry': ('published_torch.py', 'TORCH_PYTHON'),
    'pfnet': ('published_chainer.py', 'CHAINER_PYTHON'),
    'biggan': ('published_biggan.py', 'TORCH_PYTHON'),
}
FILES = {
    'mimicry': ('netG/netG_7_steps.pth', 'netG/older.pth'),
    'pfnet': ('ResNetGenerator_7.npz',),
    'biggan': ('G_ema.pth',),
}


@pytest.fixture(scope='module')
def made(pytestconfig, tmp_path_factory):
    """Folders of what each code made, on first use."""
    checkouts, folders = pytestconfig.getoption('--checkouts'), {}

    def folder_of(code):
        script, variable = SCRIPTS[code]
        if checkouts is None or variable not in os.environ:
            pytest.skip(f'needs --checkouts=DIR and {variable}')
        if code not in folders:
            folders[code] = tmp_path_factory.mktemp(code)
            flags = f'--checkouts={checkouts.resolve()}', f'--out={folders[code]}'
            env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'XLA_FLAGS')}
            subprocess.run([os.environ[variable], HERE / script, *flags], env=env, check=True)
        return folders[code]

    return folder_of


def of_biggan(c, name, size):
    c.model.architecture = 'biggan_deep' if name.startswith('deep') else 'biggan'
    c.model.variant = 'cifar' if name == 'biggan_cifar' else 'paper'
    c.model.gen_normalization = 'spectral'
    c.model.num_classes, c.model.head = 3, 'projection'
    c.model.attention = 0 if name == 'biggan_cifar' else min(64, size // 2)
    sizes = {
        'biggan_64': (10, 8),
        'biggan_128': (12, 4),
        'biggan_256': (14, 4),
        'biggan_32': (8, 16),
    }
    c.model.dim_z, c.model.gen_width = sizes.get(name, (8, 8))
    return c.to_dict()


def config_of(name, size):
    c = base.get_config()
    if name.startswith(('biggan', 'deep')):
        c.data.image_size = size
        return of_biggan(c, name, size)
    c.data.image_size, c.model.dim_z = size, 8
    c.model.gen_width = 4
    if not name.startswith('pfnet'):
        c.model.variant = 'mimicry'
        c.model.gen_width = 4 if size in (64, 128) else 8
    if name.startswith(('cgan_pd', 'sagan')) or name.endswith('_3'):
        c.model.num_classes, c.model.head = 3, 'projection'
    if name.startswith('sagan'):
        c.model.gen_normalization = 'spectral'
        c.model.attention = {32: 16, 128: 32}[size]
    return c.to_dict()


@pytest.mark.parametrize(
    ('code', 'name'), [(code, name) for code, names in NETWORKS.items() for name in names]
)
def test_a_published_generator_makes_the_images_of_its_code(made, code, name):
    folder = made(code) / name
    (where,) = folder.rglob('made.npz')
    with np.load(where) as arrays:
        z, y, expected = (arrays[key] for key in ('z', 'y', 'images'))
    assert expected.std() > 0.1
    config = config_of(name, NETWORKS[code][name])
    for file in FILES[code]:
        found = published.read(folder / file, config)
        assert found.step == (None if code == 'biggan' else 7)
        states = {k: v for k, v in found.variables.items() if k != 'params'}
        tree = {'gen': {'params': found.variables['params'], 'model_state': states}}
        run = from_tree(config, found.step or 7, tree)
        images = run.generate(z, y.astype(np.int32) if y.size else None)
        print(f'{name} {file}: {np.abs(images - expected).max():.1e}')
        np.testing.assert_allclose(images, expected, atol=1e-4)
