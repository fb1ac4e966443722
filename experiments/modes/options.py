"""Options and data places shared by sample, invert and evaluate."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.settings import check

if TYPE_CHECKING:
    from snjax.data import ImageSet
    from snjax.generate.trained import TrainedGenerator

# An ml_collections.ConfigDict of configs/modes/, whose attributes no type checker knows.
Options = Any
# The keys are those of `experiments.settings.keys.PLACES`, without 'data.'.
NO_PLACES: Mapping[str, Any] = {}


# As `choose('sample.what', ...)`: the full key of an option begins with the mode.
choose = functools.partial(check.choose, flag='--')


def training_set(trained: 'TrainedGenerator', places: Mapping[str, Any]) -> 'ImageSet':
    """The images that a run was trained on.

    Args:
        trained: the run.
        places: replace the run's own, as `{'data_dir': '/data'}`.

    Raises:
        ValueError: it is not there, or has changed.
    """
    return trained.training_set(**places)
