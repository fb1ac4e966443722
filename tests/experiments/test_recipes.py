"""The one-line recipes are those of the method files, and every one makes a GAN."""

import importlib

import pytest

from configs import base
from experiments import build
from experiments.settings.recipes import RECIPES


@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_makes_a_gan_with_its_values(name):
    config = base.get_config()
    config.update_from_flattened_dict(
        {'method': 'gan', 'loss': 'non_saturating', 'model.normalization': 'none'} | RECIPES[name]
    )
    config.gen_batch_size = config.batch_size
    gan = build.method(config)
    weights = {k.removeprefix('penalty.'): w for k, w in RECIPES[name].items() if 'penalty' in k}
    assert gan.penalties == weights
    assert gan.clip == RECIPES[name].get('clip', 0)


@pytest.mark.parametrize('name', [n for n, recipe in RECIPES.items() if 'method' in recipe])
def test_a_recipe_has_what_its_method_fixes(name):
    recipe = {'model.normalization': 'none'} | RECIPES[name]
    fixed = importlib.import_module(f'experiments.{recipe["method"]}').FIXED
    assert {key: recipe[key] for key in fixed} == fixed
