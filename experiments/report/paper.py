"""Which method of SNGAN's paper a run is, and under which of its settings A to F: told from its config."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from configs import sngan_paper
from experiments.report.leaderboard import leaves
from experiments.report.published import PUBLISHED, Published

METHODS = tuple(sngan_paper.METHODS)
SETTINGS = sngan_paper.SETTINGS
SETTING_KEYS = ('optimizer.lr', 'optimizer.beta1', 'optimizer.beta2', 'n_dis')

# What `published.py` calls the methods of table 2.
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
    """Where a run stands in the paper's comparison: a method, a letter, and the name of a data set, any."""

    method: str
    setting: str
    data: str


def place_of(flat: Mapping[str, Any]) -> Place | None:
    """The place of a run with this config, by full keys; None where it has none.

    The network, its size and the length of the run are not asked for: a small study has the same methods and settings.
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
    """The row of table 2 for a method on a data set, where it has one."""
    name = _PUBLISHED[method]
    rows = [p for p in PUBLISHED if (p.data, p.method, p.protocol) == (data, name, 'paper')]
    return next((p for p in rows if p.network == 'standard CNN'), None)


@functools.cache
def _methods() -> dict[str, dict[str, Any]]:
    """The values by which the paper's methods differ, for each of them."""
    keys = {key for changes in sngan_paper.METHODS.values() for key in changes} | {'method', 'loss'}
    return {
        method: {k: v for k, v in _flat(method).items() if k in keys or k.startswith('penalty.')}
        for method in sngan_paper.METHODS
    }


def _flat(method):
    return dict(leaves(sngan_paper.get_config(method).to_dict()))


def _agrees(flat, wanted):
    return all(flat.get(key) == value for key, value in wanted.items())
