"""What the modes of a finished run share: their options, and where the run's data lie."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snjax import from_config

if TYPE_CHECKING:
    from snjax.data import ImageSet
    from snjax.generate.trained import TrainedGenerator

Options = (
    Any  # an ml_collections.ConfigDict of configs/modes/, whose attributes no type checker knows
)
# Keys of the group `data` that say where data lie; another machine may have other places.
PLACES = ('data_dir', 'cache_dir', 'path')
NO_PLACES: Mapping[str, str] = {}


def choose(key: str, value: str, accepted: Iterable[str]) -> str:
    """Returns `value` if it is one of `accepted`.

    Args:
        key: the option with its mode, as 'sample.what'.
        value: what was asked for.
        accepted: the values there are.

    Raises:
        ValueError: it is another; the message names the nearest.
    """
    accepted = list(accepted)
    if value in accepted:
        return value
    near = difflib.get_close_matches(str(value), accepted, n=1, cutoff=0.5)
    hint = f'; did you mean --{key}={near[0]}?' if near else ''
    raise ValueError(f'{key} is {value!r}: accepted are {", ".join(accepted)}{hint}')


def training_set(trained: 'TrainedGenerator', places: Mapping[str, str]) -> 'ImageSet':
    """The images that a run was trained on.

    Args:
        trained: the run.
        places: keys of `PLACES` that replace the run's own.
    """
    return from_config.image_set(trained.config, **places)
