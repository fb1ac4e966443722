"""`launch.py --mode=compare`: scores of images of any origin against real ones, without a run.

The options are in `configs/modes/compare.py`.
"""

import json
import pathlib
import re
from typing import Any

import numpy as np
from absl import flags

from experiments.modes.lines import say
from experiments.modes.options import Options, choose
from experiments.settings import ranges
from experiments.settings.scores import options_of
from snjax import data, parallel
from snjax.data import ImageSet, folder_files, pixels, sets
from snjax.data.npz import IMAGES
from snjax.data.npz_file import shape_of
from snjax.generate.fakes import Variant
from snjax.host import paths
from snjax.image_format import canonical, is_size, words
from snjax.metrics import comparison, extractors
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.protocols import Protocol
from snjax.runs.files import replace_file

_IMAGES_KEPT = 2000  # for MS-SSIM
# What a manifest says of a generator.
_OF_A_RUN = ('weights', 'batch_statistics')
# Keys of runs in messages of what runs use, too.
_KEY = re.compile(r'(--)?(?:config\.)?\b(?:eval|evaluate|data)\.(\w+)')


def main(given: flags.FlagValues, workdir: pathlib.Path) -> None:
    """Runs `--mode=compare` with the flags of `launch.py`."""
    if given.workdir:
        raise ValueError(
            f'--workdir={workdir}: --mode=compare scores images without a run; leave it out, and give '
            'a file for the scores, as --out=scores.json'
        )
    run_compare(given.compare, given.out or '')


def run_compare(options: Options, out: str = '') -> dict[str, Any]:
    """Scores images, prints the scores, and writes them where asked.

    Args:
        options: see `configs/modes/compare.py`.
        out: a JSON file for scores, error bars and everything that they depend on; '' for none.

    Returns:
        What `out` holds: 'scores', 'intervals' and 'manifest'.

    Raises:
        ValueError, FileNotFoundError: an option is not accepted, or images or weights are missing;
            one line.
    """
    try:
        return _compare(options, out)
    except ValueError as error:
        raise ValueError(_with_own_keys(str(error), options)) from error


def _with_own_keys(message: str, options: Options) -> str:
    def renamed(found: re.Match[str]) -> str:
        dashes, key = found[1] or '', found[2]
        return f'{dashes}compare.{key}' if key in options else found[0]

    return _KEY.sub(renamed, message)


def _compare(options: Options, out: str) -> dict[str, Any]:
    ranges.check('compare', options)
    if ':' not in options.extractor:  # an import path is looked for below
        choose('compare.extractor', options.extractor, extractors.EXTRACTORS)
    choose('compare.fit', options.fit, pixels.FITS)
    for key in ('fakes', 'real'):
        if not options[key]:
            raise ValueError(
                f'compare.{key} is empty: give a folder, a zip archive, an .npz or a .parquet file'
                + (', or the name of a set, as cifar10/test' if key == 'real' else '')
            )
    extractors.check_images(options.extractor, options.channels, bits=8)
    if options.extractor != 'fitted':
        extractors.check_weights(options.extractor, options.weights)
    size = options.image_size or _size_of(paths.expanded(options.fakes, '--compare.fakes'))
    fake, real = (_load(options, options[key], size) for key in ('fakes', 'real'))
    extractor = extractors.load(options.extractor, options.weights, training_set=lambda: real)
    evaluator = Evaluator(extractor, lambda split: real, options_of(options))
    protocol = Protocol(f'{real.split}/all/{len(fake.images)}', real.split, None, len(fake.images))
    evaluator.check([protocol])
    found = _scored(evaluator, protocol, fake)
    found['manifest'] |= {'size': words(size), 'fit': options.fit}
    if parallel.is_main():
        _print(found, extractor, fake, real)
        if out:
            replace_file(paths.expanded(out, '--out'), json.dumps(found, indent=2) + '\n')
            say(f'scores and everything that they depend on at {out}')
    return found


def _scored(evaluator: Evaluator, protocol: Protocol, fake: ImageSet) -> dict[str, Any]:
    real, batch = evaluator.reference(protocol.split), evaluator.options.batch_size
    features = evaluator.extractor.of(extractors.batches_of(fake.images, batch))
    # Classes count where both have the same.
    same = fake.class_names and fake.class_names == real.image_set.class_names
    scored = ScoredSet(
        features, fake.labels if same else None, np.asarray(fake.images[:_IMAGES_KEPT])
    )
    values = evaluator.compare(protocol, scored)
    bars = {}
    if evaluator.options.half_samples:
        bars = evaluator.error_bars(protocol, scored, values)
    manifest = evaluator.manifest(protocol, Variant('raw', 'running'))
    manifest = {key: value for key, value in manifest.items() if key not in _OF_A_RUN}
    manifest |= {'fakes': fake.name, 'fake_sha256': fake.sha256, 'pixels': '8 bits, as given'}
    return {'scores': values, 'intervals': bars, 'manifest': manifest}


def _print(
    found: dict[str, Any], extractor: extractors.Extractor, fake: ImageSet, real: ImageSet
) -> None:
    manifest = found['manifest']
    say(
        f'{len(fake.images)} images against {manifest["real_count"]} real ones '
        f'({manifest["real"]}), {manifest["size"]} px, extractor {extractor.name}'
    )
    titles = {key: title for title, key in comparison.columns(extractor).items()}
    for key, value in found['scores'].items():
        bar = found['intervals'].get(key)
        text = f'  [{bar[0]:.4g}, {bar[1]:.4g}]' if bar else ''
        say(f'{titles.get(key, key.replace("_", " "))}: {value:.4g}{text}')
    if 'warning' in manifest:
        say(f'warning: {manifest["warning"]}')


def _load(options: Options, place: str, size: Any) -> ImageSet:
    """A folder, an archive or a file, or a set of TFDS by its name and split."""
    form = {'image_size': canonical(size), 'channels': options.channels, 'fit': options.fit}
    path = paths.expanded(place, '--compare')
    if path.exists():
        name = sets.name_of(str(path))
        return data.load(name, path=str(path), **form)
    # Names of TFDS have slashes themselves, as imagenet_resized/64x64.
    name, _, split = place.rpartition('/') if '/' in place else (place, '', 'train')
    try:
        return data.load(name, split=split, **form)
    except ValueError as error:
        raise ValueError(
            f'{place} is no file or folder, and as the name of a set: {error}'
        ) from error


def _size_of(path: pathlib.Path) -> tuple[int, int]:
    """Height and width of the first image."""
    if not path.exists():
        raise FileNotFoundError(f'--compare.fakes: there is no {path}')
    if path.suffix == '.npz':
        shape = shape_of(path, IMAGES)
        if len(shape) not in (3, 4) or not is_size(shape[1:3]):
            raise ValueError(
                f'images in {path} have shape {shape}: (N, H, W) or (N, H, W, C) is accepted'
            )
        return shape[1], shape[2]
    if path.is_dir():
        names, _ = folder_files.find(path)
        if names:
            return pixels.upright_size(path / names[0])
    raise ValueError(f'--compare.image_size is needed for {path}, as --compare.image_size=32')
