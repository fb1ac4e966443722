"""A generator as a model on the Hugging Face Hub: its files and its card (`TrainedGenerator.push`)."""

import importlib
import json
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from snjax import from_config
from snjax.runs import hub
from snjax.runs.workdir import CONFIG_NAME

if TYPE_CHECKING:
    from snjax.generate.trained import TrainedGenerator

GRID_NAME, CARD_NAME = 'grid.png', 'README.md'
_SHOWN = 64  # samples in the grid
_CARD = """---
{metadata}
---

# {repo}

![{shown} samples]({grid})

*{shown} samples of seed 0, the first that were drawn.*

{facts}

## Scores

{scores}

## Use

```python
import snjax  # pip install 'snjax[train,hub]'

run = snjax.load('hf://{repo}')
images = run.sample(64)  # float32 in [-1, 1], {shape}
```

`{generator}` holds the arrays and the config for any program that reads safetensors.

<details><summary>{config_name}</summary>

```json
{config}
```

</details>
"""


def push(
    trained: 'TrainedGenerator',
    repo: str,
    weights: str = 'auto',
    *,
    private: bool | None = None,
    license: str = '',
    message: str = '',
) -> str:
    """See `TrainedGenerator.push`."""
    hub.check_can_push(repo)
    kept = trained.kept(weights)
    with tempfile.TemporaryDirectory(prefix='snjax-push-') as name:
        write(trained, pathlib.Path(name), repo, weights, license)
        message = message or f'Step {trained.step}, weights {kept}, by snjax {_version()}'
        return str(hub.upload(pathlib.Path(name), repo, private=private, message=message))


def write(
    trained: 'TrainedGenerator', folder: pathlib.Path, repo: str, weights: str, license: str
) -> None:
    """Writes what is pushed: the generator, its config, a grid of samples, and the card."""
    trained.export(folder / hub.GENERATOR_NAME, weights)
    trained.show(trained.sample(_SHOWN, weights=weights)).save(folder / GRID_NAME)
    config = json.dumps(from_config.without_places(trained.config), indent=2, sort_keys=True)
    (folder / CONFIG_NAME).write_text(config + '\n')
    (folder / CARD_NAME).write_text(_card(trained, repo, weights, license, config))


def _card(trained: 'TrainedGenerator', repo: str, weights: str, license: str, config: str) -> str:
    facts = from_config.facts(trained.config)
    shape = from_config.images_shape(trained.config, _SHOWN).shape
    labels = f'{trained.num_classes} classes' if trained.num_classes else 'none'
    labels = f'{trained.num_conditions} numbers' if trained.num_conditions else labels
    params = jax.tree.leaves(trained.variables(weights)['params'])
    rows = {
        'method': facts.method,
        'training set': f'{facts.data}, {facts.shape}',
        'generator': f'{facts.architecture}, {sum(np.size(leaf) for leaf in params):,} parameters',
        'z': f'{trained.inputs.dim_z} values, {trained.inputs.latent}',
        'conditions': labels,
        'generator updates': f'{trained.step} of {facts.num_steps}',
        'weights': {'ema': 'moving average', 'raw': 'as trained'}[trained.kept(weights)],
        'seed': facts.seed,
        'snjax': _version(),
    }
    return _CARD.format(
        metadata=_metadata(trained, license),
        repo=repo,
        shown=_SHOWN,
        grid=GRID_NAME,
        facts='\n'.join(['| | |', '|---|---|', *(f'| {k} | {v} |' for k, v in rows.items())]),
        scores=_scores(trained, trained.kept(weights)),
        shape=shape,
        generator=hub.GENERATOR_NAME,
        config_name=CONFIG_NAME,
        config=config,
    )


def _version() -> str:
    return importlib.import_module('snjax').__version__  # which imports this package on first use


def _metadata(trained: 'TrainedGenerator', license: str) -> str:
    """What the hub lists the model by, as YAML."""
    is_plain = not (trained.num_classes or trained.num_conditions)
    data = hub.library('a model card').ModelCardData(
        license=license or None,
        library_name='snjax',
        pipeline_tag='unconditional-image-generation' if is_plain else None,
        tags=['jax', 'flax', 'gan', from_config.facts(trained.config).method],
    )
    return data.to_yaml().strip()


def _scores(trained: 'TrainedGenerator', kept: str) -> str:
    """The scores of these weights at this step, each with how it was measured."""
    rows: list[dict[str, Any]] = [
        row for row in trained.scores if row['step'] == trained.step and row['weights'] == kept
    ]
    lines = ['| score | | features | protocol |', '|---|---|---|---|']
    for row in rows:
        how = f'{row["extractor"]} | {row["protocol"]}'
        named = {k: v for k, v in row.items() if isinstance(v, float)}
        lines += [f'| {name} | {value:.4g} | {how} |' for name, value in named.items()]
    if len(lines) > 2:
        return '\n'.join(lines)
    return 'None was measured of these weights at this step.'
