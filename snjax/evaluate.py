"""Scores of samples, with the protocol they were taken by, for the terminal, `scores.json` and TensorBoard."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

EXTRACTORS = ('', 'digits')
MIN_SAMPLES = 4


@dataclasses.dataclass
class Scores:
    """What one extractor says of one set of samples.

    Attributes:
        values: the scores, by name.
        manifest: everything that the values depend on (JSON types).
        lines: for the terminal.
    """

    values: dict[str, float]
    manifest: dict[str, Any]
    lines: list[str]


def check_extractor(name: str, num_samples: int) -> None:
    """Raises a ValueError of one line for an extractor that is not there, or too few samples for it."""
    if num_samples < MIN_SAMPLES:
        raise ValueError(
            f'eval.num_samples is {num_samples}: at least {MIN_SAMPLES} are needed, for the third nearest neighbour'
        )
    if name not in EXTRACTORS:
        raise ValueError(
            f'eval.extractor is {name!r}: accepted are {", ".join(e or "empty (none)" for e in EXTRACTORS)}'
        )


def score(extractor: str, samples: Float[np.ndarray, 'n h w c']) -> Scores:
    """Scores images in [-1, 1].

    Raises:
        ValueError: the extractor is unknown or does not take such images.
    """
    check_extractor(extractor, len(samples))
    # scikit-learn takes a second to import, and only this needs it.
    from snjax.metrics.digits import DigitsYardstick

    found = DigitsYardstick().score(samples)
    values = {
        'classes_found': float(found.classes_found),
        'smallest_class_share': found.smallest_class_share,
        'precision': found.precision,
        'recall': found.recall,
    }
    details = found.to_dict()
    manifest = details['manifest'] | {
        'class_shares': details['class_shares'],
        'references': {k: v['precision'] for k, v in details['references'].items()},
    }
    return Scores(values, manifest, found.lines())


def write(path: pathlib.Path, scores: Scores) -> None:
    """Writes `scores.json` whole or not at all."""
    text = json.dumps({'scores': scores.values, 'manifest': scores.manifest}, indent=2)
    new = path.with_suffix('.json.new')
    new.write_text(text + '\n')
    os.replace(new, path)
