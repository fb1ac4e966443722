"""ADA's augmentations as their authors' code computes them: `make oracles CHECKOUTS=DIR`.

`official/published_ada.py` says what is run, with the interpreter TORCH_PYTHON of
`official/fixtures.py`.
"""

import os
import pathlib
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles.official.fixtures import HERE
from snjax.objectives import ada


class Recorded(ada.Draws):
    """The random numbers of the published code, in their order."""

    def __init__(self, numbers):
        super().__init__(jax.random.key(0), 1.0)
        self.numbers = numbers

    def uniform(self, low, high, **kwargs):
        value = low + (high - low) * self.numbers.pop(0)
        return jnp.asarray(value if kwargs.get('shape') else value[0], jnp.float32)

    def normal(self, std, **kwargs):
        value = std * self.numbers.pop(0)
        return jnp.asarray(value if kwargs.get('shape') else value[0], jnp.float32)

    def whole(self, num):
        return jnp.float32(np.floor(num * self.numbers.pop(0)[0]))


def ours(image, part, numbers):
    parts = ada.PIPELINES['bgcf'] if part == 'bgcf' else (part,)
    draws, size, affine = Recorded(numbers), image.shape[:2], jnp.eye(3)
    for name, maps in {'blit': ada.blitting, 'geom': ada.geometry}.items():
        affine = affine @ maps(draws, *size) if name in parts else affine
    image = ada.warp(image, affine) if {'blit', 'geom'} & set(parts) else image
    for name, change in {'color': ada.color, 'filter': ada.filtered}.items():
        if name in parts:
            if name == 'color' and image.shape[-1] == 1:  # the code draws no hue and saturation
                numbers[3:3] = [np.zeros(1), np.zeros(1)]
            image = change(image, draws)
    assert not numbers
    return image


@pytest.fixture(scope='module')
def made(pytestconfig, tmp_path_factory):
    checkouts, folder = pytestconfig.getoption('--checkouts'), tmp_path_factory.mktemp('ada')
    if checkouts is None or 'TORCH_PYTHON' not in os.environ:
        pytest.skip('needs --checkouts=DIR and TORCH_PYTHON')
    flags = f'--checkouts={checkouts.resolve()}', f'--out={folder}'
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'XLA_FLAGS')}
    script = HERE / 'published_ada.py'
    subprocess.run([os.environ['TORCH_PYTHON'], script, *flags], env=env, check=True)
    return sorted(pathlib.Path(folder).glob('*.npz'))


def test_images_are_those_of_the_published_code(made):
    errors = {}
    for path in made:
        with np.load(path) as arrays:
            numbers = [arrays[f'draw_{i}'] for i in range(len(arrays.files) - 2)]
            found = ours(jnp.asarray(arrays['image']), path.stem.split('-')[1], numbers)
            errors[path.stem] = float(np.abs(found - arrays['out']).max())
    print(max(errors.values()), errors)
    assert len(errors) == 60 and max(errors.values()) < 1e-4, errors
