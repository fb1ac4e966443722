"""Models of the Hugging Face Hub where a flag takes a workdir or a file. Imports no JAX."""

import filecmp
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import urllib.parse
from collections.abc import Sequence

from experiments.settings import keys
from snjax.runs import generator_file, hub
from snjax.runs.files import replace_file
from snjax.runs.workdir import CHECKPOINTS, CONFIG_NAME, SCORES_NAME

# Folder of the workdirs that are made of models: owner, name and revision below it.
FOLDER = pathlib.Path('runs', 'hf')


def downloaded(address: str) -> pathlib.Path:
    """The generator of a model, in the cache; raises a ValueError of one line."""
    try:
        return hub.download(hub.parse(address))
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error


def workdir_of(address: str) -> pathlib.Path:
    """A workdir with the generator of a model and its config, and no checkpoints.

    It is made, or brought up to date, as `runs/hf/owner/name/revision`.

    Scores of an older commit are kept as `scores.json.DIGEST`, by the digest of its generator, because
    both may be of one step.

    Raises:
        ValueError: a training is in that folder; or see `hub.download`.
    """
    repo, revision = hub.parse(address)
    # Quoted, so that the branches a/b and a_b have folders of their own.
    folder = FOLDER / repo / urllib.parse.quote(revision or 'main', safe='')
    held = folder / hub.GENERATOR_NAME
    # A training writes its config first, and this function its generator.
    is_begun = (folder / CONFIG_NAME).exists() and not held.exists()
    if is_begun or (folder / CHECKPOINTS).exists():
        raise ValueError(
            f'{address} is read in {folder}, but that is the folder of a training: move it, or give '
            f'--workdir={folder} for the training itself'
        )
    found = downloaded(address)
    folder.mkdir(parents=True, exist_ok=True)
    config, _ = generator_file.about(found)
    is_new = not held.is_file() or not filecmp.cmp(found, held, shallow=False)
    if is_new and (folder / SCORES_NAME).is_file() and held.is_file():
        digest = hashlib.sha256(held.read_bytes()).hexdigest()[:12]
        (folder / SCORES_NAME).replace(folder / f'{SCORES_NAME}.{digest}')
    if is_new:
        shutil.copyfile(found, folder / f'{held.name}.new')
        (folder / f'{held.name}.new').replace(held)
    replace_file(folder / CONFIG_NAME, json.dumps(config, indent=2, sort_keys=True) + '\n')
    return folder


def with_workdir(argv: Sequence[str], mode: str) -> list[str]:
    """The command line with a folder in place of `--workdir=hf://owner/name`.

    Raises:
        ValueError: the mode reads more of a run than its generator, or see `hub.download`.
    """
    words = list(argv)
    for place, (word, following) in enumerate(itertools.pairwise([*argv, ''])):
        found = re.fullmatch(r'--?workdir(?:=(.*))?', word)
        address = following if found is None or found[1] is None else found[1]
        if found is None or not hub.is_address(address):
            continue
        modes = [m for m in keys.MODES_OF_RUNS if m != 'diagnose']
        if mode not in modes:
            raise ValueError(
                f'--workdir={address} is a generator alone, which --mode={", ".join(modes)} read; a '
                'training takes it as --init_from'
            )
        made = str(workdir_of(address))
        words[place if found[1] is not None else place + 1] = (
            f'--workdir={made}' if found[1] is not None else made
        )
    return words
