"""The place of a run in the comparison of SNGAN's paper (Miyato et al. 2018), by its config."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from configs import sngan_paper
from experiments.report.published import PUBLISHED, Published
from snjax.runs.config_file import flatten

METHODS = tuple(sngan_paper.METHODS)
SETTINGS = sngan_paper.SETTINGS
SETTING_KEYS = ('optimizer.lr', 'optimizer.beta1', 'optimizer.beta2', 'n_dis')

# Names of the methods of table 2 in `published.py`.
_PUBLISHED = {
    'weight_clipping': 'wgan',
    'gan_gp': 'gan_gp',
    'wgan_gp': 'wgan_gp',
    'batch_norm': 'gan, batch norm',
    'layer_norm': 'gan, layer norm',
    'weight_norm': 'gan, weight norm',
    'orthonormal': 'gan, orthonormal',
    'sngan': 'sngan, BCE',
    'sngan_hinge': 'sngan, hinge',
}


class Place(NamedTuple):
    """A method of the paper, the letter of a setting A to F, and the name of any data set."""

    method: str
    setting: str
    data: str


def place_of(flat: Mapping[str, Any]) -> Place | None:
    """The place of a run with this config; None if the paper has no such method or setting.

    The network, its size and the length of the run do not matter, so that a small study has the
    same methods and settings.

    Args:
        flat: the config by full keys.
    """
    methods = [m for m, wanted in _methods().items() if _agrees(flat, wanted)]
    letters = [
        letter
        for letter, values in SETTINGS.items()
        if _agrees(flat, dict(zip(SETTING_KEYS, values, strict=True)))
    ]
    if not methods or not letters or flat.get('optimizer.dis_lr', 0):
        return None
    return Place(methods[0], letters[0], flat['data.name'])


def published(method: str, data: str) -> Published | None:
    """The row of table 2 for a method on a data set; None if the table has none."""
    name = _PUBLISHED[method]
    rows = [p for p in PUBLISHED if (p.data, p.method, p.protocol) == (data, name, 'paper')]
    return next((p for p in rows if p.network == 'standard CNN'), None)


@functools.cache
def _methods() -> dict[str, dict[str, Any]]:
    """For each method of the paper, the values in which it differs from the others."""
    telling = {key for changes in sngan_paper.METHODS.values() for key in changes}
    telling |= {'method', 'loss'}
    flat = {m: flatten(sngan_paper.get_config(m).to_dict()) for m in METHODS}
    return {
        m: {k: v for k, v in values.items() if k in telling or k.startswith('penalty.')}
        for m, values in flat.items()
    }


def _agrees(flat, wanted):
    return all(flat.get(key) == value for key, value in wanted.items())
