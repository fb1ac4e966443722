"""What the modes of a finished run share: their options, and where the run's data lie."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.settings import check
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


# `choose('sample.what', ...)`: keys of a mode's options have the mode in them.
choose = functools.partial(check.choose, flag='--')


def training_set(trained: 'TrainedGenerator', places: Mapping[str, str]) -> 'ImageSet':
    """The images that a run was trained on.

    Args:
        trained: the run.
        places: keys of `PLACES` that replace the run's own.
    """
    return from_config.image_set(trained.config, **places)
