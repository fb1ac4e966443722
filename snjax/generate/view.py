"""What a loaded run shows of itself: its logs, scores, checkpoints, pictures, encodings."""

import functools
import importlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from snjax import from_config
from snjax.generate.pictures import show
from snjax.latents.sampling import Labels, check_labels, seed_key
from snjax.runs import scores_file
from snjax.runs.checkpoint import load_tree
from snjax.runs.files import read_lines
from snjax.runs.workdir import BEST, CHECKPOINTS, METRICS_NAME, SCORES_NAME, steps_in
from snjax.training.conditioning import grid_columns, spread_rows

if TYPE_CHECKING:
    from PIL.Image import Image

    from snjax.data import ImageSet
    from snjax.generate.inversion import Inversion
    from snjax.generate.measurements import Operator

_SHOWN = ('fid', 'frechet_distance', 'swd')  # the score that `repr` names
# Entries of a manifest that `scores` gives beside the scores.
_PROTOCOL = ('step', 'checkpoint', 'extractor', 'protocol', 'weights', 'batch_statistics')


class RunView:
    """Base of `TrainedGenerator`: what it tells and shows.

    Attributes: those of `TrainedGenerator`.
    """

    config: Mapping[str, Any]
    step: int
    raw: Mapping[str, Any] | None
    ema: Mapping[str, Any] | None
    workdir: pathlib.Path | None
    folder: str
    file: pathlib.Path | None

    def __repr__(self) -> str:
        """Five lines: what was trained, on what, how far, what is kept, and the newest score."""
        facts, me = from_config.facts(self.config), self._me()
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(me.params))
        classes = f'{me.num_classes} classes' if me.num_classes else 'no classes'
        classes = f'{me.num_conditions} conditions' if me.num_conditions else classes
        there = {'EMA': self.ema, 'raw': self.raw}
        weights = ' and '.join(kind for kind, variables in there.items() if variables)
        kept = ', '.join(map(str, self.checkpoints)) or 'none'
        best = ', '.join(map(str, steps_in(self._path(BEST)))) if self.workdir else ''
        lines = [
            f'{facts.method} on {facts.data}, {facts.shape}, {classes}: {self.workdir or self.file}',
            f'step {self.step} of {facts.num_steps}, seed {facts.seed}; weights: {weights}',
            f'generator: {facts.architecture}, {size:,} parameters; z: {me.inputs.dim_z} values, '
            f'{me.inputs.latent}',
            f'checkpoints: {kept}' + (f'; best: {best}' if best else ''),
            self._score_line(),
        ]
        return '\n  '.join(lines)

    @property
    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints that the run has kept; `snjax.load(workdir, step)` loads one."""
        return steps_in(self.workdir / CHECKPOINTS) if self.workdir else []

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The rows of `scores.json`, newest last: the scores by name, and how they were measured.

        `pandas.DataFrame(run.scores)` is a table of them.
        """
        if self.workdir is None:
            return []
        rows = scores_file.read(self.workdir / SCORES_NAME)
        return [{k: row.manifest.get(k) for k in _PROTOCOL} | row.scores for row in rows]

    def curve(self, tag: str) -> tuple[Int[np.ndarray, ' n'], Float[np.ndarray, ' n']]:
        """Steps and values of a logged scalar, such as 'train/dis_loss'.

        Raises:
            ValueError: nothing has this tag.
        """
        points = [(step, value) for step, found, value in self._points() if found == tag]
        if not points:
            tags = sorted({found for _, found, _ in self._points()})
            raise ValueError(f'tag {tag!r}: this run has {", ".join(tags) or "no logs"}')
        steps, values = zip(*points, strict=True)
        return np.asarray(steps), np.asarray(values, float)

    def metrics(self) -> Any:
        """All logged scalars as a pandas frame with the columns step, tag and value.

        `run.metrics().pivot(index='step', columns='tag', values='value')` has a column for each.

        Raises:
            ModuleNotFoundError: pandas is not installed; `curve` does without.
        """
        try:
            pandas = importlib.import_module('pandas')
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "run.metrics() needs pandas: pip install pandas; run.curve('train/dis_loss') does "
                'without',
                name='pandas',
            ) from error
        return pandas.DataFrame(self._points(), columns=['step', 'tag', 'value'])

    def sigmas(self) -> dict[str, float]:
        """Sigma of every spectrally normalized layer of the discriminator, at this checkpoint.

        Raises:
            ValueError: the run has no such layers, or is not of a workdir.
        """
        from snjax.spectral import sigmas

        if self.workdir is None:
            raise ValueError('sigmas are in the checkpoints of a run: load it by snjax.load')
        where = ('dis', 'model_state', 'spectral')
        try:
            _, tree = load_tree(self._path(self.folder), self.step, prefix=where)
        except ValueError as error:
            raise ValueError(f'{self.workdir} has no sigmas ({error})') from error
        found = sigmas(jax.device_put(tree))
        return {name: float(value) for name, value in found.items()}

    def show(self, images: Any = 64, *, columns: int | None = None) -> 'Image':
        """Images as one picture, which a notebook displays: see `snjax.show`.

        Args:
            images: images, or how many to sample.
            columns: images per row.
        """
        if not isinstance(images, int):
            return show(images, columns=columns)
        me = self._me()
        return show(me.sample(images), columns=columns or grid_columns(0, me.num_conditions))

    @functools.cached_property
    def conditions(self) -> Float[np.ndarray, 'n k'] | None:
        """Rows of numbers of the training images, at most 10,000 of them; None if they are not
        known, as of an exported file.
        """
        from snjax.runs import conditions_file

        found = conditions_file.read(self.workdir) if self.workdir else None
        return found[0] if found else None

    def labels(self, given: Labels | None, num: int) -> np.ndarray | None:
        """Labels of `num` images as the generator takes them; see `generate`.

        Raises:
            ValueError: other labels than the generator takes, or none where it needs some.
        """
        me = self._me()
        if given is None and me.num_conditions and self.conditions is not None:
            given = np.resize(spread_rows(self.conditions), (num, me.num_conditions))
        return check_labels(given, num, me.num_classes, me.num_conditions)

    def training_set(
        self,
        *,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        path: str | None = None,
        accept_changed: bool = False,
    ) -> 'ImageSet':
        """Loads the images that the run was trained on, as its config names them, as pixels.

        `training_set().floats()` are images in [-1, 1], as `sample` gives them.

        Args:
            data_dir, cache_dir, path: replace the places in the config, which may not exist on this
                machine; None keeps them.
            accept_changed: warn of another set than the run was trained on, instead of refusing it.

        Raises:
            ValueError: the set is not there, or is another one than the run was trained on.
        """
        places = {'data_dir': data_dir, 'cache_dir': cache_dir, 'path': path}
        given = {key: place for key, place in places.items() if place is not None}
        image_set = from_config.image_set(self.config, **given)
        self.check_set(image_set, accept_changed=accept_changed)
        return image_set

    def check_set(self, image_set: 'ImageSet', *, accept_changed: bool = False) -> None:
        """Raises a ValueError for another set than the run was trained on, where that is known."""
        if self.workdir is not None:
            # Imported here: sampling alone need not wait for the readers of data sets.
            from snjax.runs import set_file

            set_file.check(self.workdir, image_set, accept_changed=accept_changed)

    def invert(
        self,
        images: Float[Array | np.ndarray, 'n *shape'],
        operator: 'Operator | None' = None,
        *,
        labels: Int[np.ndarray, ' n'] | Float[np.ndarray, 'n k'] | None = None,
        seed: int = 0,
        weights: str = 'auto',
        num_restarts: int = 4,
        **options: Any,
    ) -> 'Inversion':
        """Finds latents whose images are like `images`, or have the measurements of an operator.

        Args:
            images: in [-1, 1]; with an operator, what it measured of them (`operator.degrade`).
            operator: of `snjax.generate.measurements`; None for the whole image.
            labels: classes of the images; None for a conditional run tries one class per start. A run
                with conditions needs numbers (n, num_conditions).
            seed: of the starts.
            weights: see `TrainedGenerator.variables`.
            num_restarts: starts per image.
            **options: further arguments of `snjax.generate.inversion.invert`, such as `num_steps`.
        """
        from snjax.generate import inversion, measurements

        me = self._me()
        if operator is None:
            _, height, width, channels = np.shape(images)
            whole = height, width, channels
            operator = measurements.identity(whole, measurements.Options())
        classes = None
        if me.num_classes:
            tried = np.arange(num_restarts) % me.num_classes
            given = tried[None] if labels is None else np.asarray(labels)[:, None]
            classes = np.broadcast_to(given, (len(images), num_restarts))
        elif me.num_conditions:  # those of a grid would be of other images
            numbers = check_labels(labels, len(images), 0, me.num_conditions)
            assert numbers is not None  # with conditions it returns some, or raises
            classes = np.broadcast_to(
                numbers[:, None], (len(images), num_restarts, me.num_conditions)
            )
        return inversion.invert(
            inversion.generator(me, weights),
            np.asarray(images, np.float32),
            operator,
            self._prior(),
            rng=seed_key(seed, 'sample'),
            labels=classes,
            num_restarts=num_restarts,
            **options,
        )

    def _prior(self) -> Any:
        from snjax.generate import inversion

        inputs = self._me().inputs
        return inversion.PRIORS[inputs.latent](inputs.dim_z)

    def _me(self) -> Any:
        """This object, as the class that it is the base of."""
        return self

    def _path(self, name: str) -> pathlib.Path:
        assert self.workdir is not None
        return self.workdir / name

    def _points(self) -> list[tuple[int, str, float]]:
        if self.workdir is None:
            return []
        return [
            (point['step'], tag, float(value))
            for _, point in read_lines(self.workdir / METRICS_NAME).good
            for tag, value in point.items()
            if tag not in ('step', 'wall_time')
        ]

    def _score_line(self) -> str:
        for row in reversed(self.scores):
            for name in _SHOWN:
                if name in row:
                    how = f'{row["extractor"]}, {row["protocol"]}, step {row["step"]}'
                    return f'{name.replace("_", " ")}: {row[name]:.4g} ({how})'
        return 'no scores'
