"""The runs of the results page in order of importance, each a config and what is changed in it. Imports no JAX."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.modes import sweep
from snjax.sweeps import definition

ROOT = pathlib.Path(__file__).parents[2]
NUM_CHECKPOINTS = 5
EXTRACTOR = 'cifar_resnet56'
# A thousand updates old, about; the raw weights, which are what was published, are scored as well.
_EMA = {'optimizer.ema_decay': 0.999}
_BFLOAT16 = {'model.dtype': 'bfloat16'}


@dataclasses.dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        number: of its kind, the order of importance.
        name: of its files.
        title: for people; rows of one title are seeds of one kind.
        config: as `launch.py --config` takes it.
        changes: keys of the config.
        published: (method, network) in `experiments.report.published`, of the same recipe.
        smoke: what a tiny run changes further.
    """

    number: int
    name: str
    title: str
    config: str
    changes: Mapping[str, Any]
    published: Sequence[tuple[str, str]] = ()
    smoke: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_SNGAN = (('sngan, hinge', 'ResNet'), ('sngan', 'ResNet'))
_CNN = (('sngan, hinge', 'standard CNN'), ('sngan', 'standard CNN'))


def _sngan(number: int, seed: int) -> Row:
    return Row(
        number,
        f'sngan_resnet_seed{seed}',
        'SNGAN, ResNet, hinge, bfloat16',
        'configs/sngan_cifar.py',
        {**_BFLOAT16, **_EMA, 'seed': seed},
        _SNGAN,
    )


# Gradients of gradients stay in float32, and so do the small networks, which gain little from less.
ROWS = (
    _sngan(1, 0),
    Row(
        2,
        'sngan_cnn_paper',
        "SNGAN, standard CNN of the paper's table, hinge",
        'configs/sngan_cifar_cnn.py:C,paper,hinge',
        _EMA,
        _CNN,
    ),
    Row(
        2,
        'sngan_cnn_code',
        'SNGAN, standard CNN of the official code, hinge',
        'configs/sngan_cifar_cnn.py:C,code,hinge',
        _EMA,
        _CNN,
    ),
    Row(
        3,
        'cgan_resnet',
        'Projection cGAN, ResNet, hinge, bfloat16',
        'configs/cgan_cifar.py',
        _BFLOAT16 | _EMA,
        (('cgan', 'ResNet'),),
    ),
    Row(
        4,
        'wgan_gp_resnet',
        'WGAN-GP, ResNet',
        'configs/wgan_gp_cifar.py',
        _EMA,
        (('wgan_gp', 'ResNet'),),
    ),
    Row(
        5,
        'sngan_resnet_float32',
        'SNGAN, ResNet, hinge, float32',
        'configs/sngan_cifar.py',
        {'model.dtype': 'float32', **_EMA},
        _SNGAN,
    ),
    Row(6, 'r3gan', "R3GAN's objective on SNGAN's ResNet", 'configs/r3gan_cifar.py', _EMA),
    Row(7, 'glo', 'GLO, DCGAN', 'configs/glo_cifar.py', {}, ()),
    _sngan(8, 1),
    _sngan(8, 2),
)

_SMOKE = {
    'num_steps': 10,
    'steps_per_call': 1,
    'batch_size': 8,
    'gen_batch_size': 8,
    'model.gen_width': 8,
    'model.dis_width': 8,
    'model.dim_z': 16,
    'data.split': 'train[:1000]',
    'log.every': 1,
    'log.histograms_every': 0,
    'sampling.every': 10,
    'sampling.num': 16,
    'checkpoint.every': 2,
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is: the published lengths, or tiny ones to see that all parts work.

    Attributes:
        is_smoke: tiny.
        protocols: of the scores; the last is the one of the curves.
        num_samples: images that are kept.
        batch_size: fakes in one call of the scoring.
        extractor: of the scores.
        set_changes: keys of every row's config, as another data set.
    """

    is_smoke: bool = False
    protocols: Sequence[str] = ('paper', '50k_50k_train')
    num_samples: int = 50_000
    batch_size: int = 512  # which any usual number of devices divides
    extractor: str = EXTRACTOR
    set_changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def item(self, row: Row) -> dict[str, Any]:
        """What `launch.py` is told of a row: the config and all that is changed in it."""
        changes = dict(row.changes)
        if self.is_smoke:
            changes |= {**_SMOKE, **row.smoke}
        changes |= self.set_changes
        item = {'config': row.config, **changes}
        num_steps = sweep.resolve(item | {'config': str(ROOT / row.config)})['num_steps']
        return item | {'checkpoint.keep_every': num_steps // NUM_CHECKPOINTS}


SMOKE = Scale(
    is_smoke=True,
    protocols=('test[:500]/all/100', 'train[:1000]/all/200'),
    num_samples=100,
    batch_size=48,
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A row at a scale: everything that is asked of `launch.py` for it."""

    row: Row
    scale: Scale

    @functools.cached_property
    def item(self) -> dict[str, Any]:
        return self.scale.item(self.row)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The run's whole config, as `launch.py` makes it; raises what `experiments.modes.sweep.resolve` does."""
        return sweep.resolve(self.item | {'config': str(ROOT / self.row.config)})

    @property
    def num_steps(self) -> int:
        return self.config['num_steps']

    @property
    def steps(self) -> list[int]:
        """The checkpoints that are scored."""
        every = self.config['checkpoint']['keep_every']
        return list(range(every, self.num_steps + 1, every))

    @property
    def variants(self) -> list[str]:
        """The generators that are scored."""
        has_ema = self.config['optimizer']['ema_decay'] > 0
        return [*(['ema/running'] if has_ema else []), 'raw/running']

    @property
    def command(self) -> str:
        """The training, as people repeat it; places are theirs."""
        return ' '.join(['python launch.py', f'--config={self.row.config}', *self._flags()])

    def training(self, workdir: pathlib.Path, data_dir: str) -> list[str]:
        """The same as a process's arguments."""
        places = [f'--workdir={workdir}', *_data(data_dir)]
        return [*_launch(), f'--config={self.row.config}', *self._flags(), *places]

    def scoring(
        self,
        workdir: pathlib.Path,
        data_dir: str,
        extractor: str,
        weights: str,
        steps: Sequence[int],
    ) -> list[str]:
        """Scores checkpoints into the run's `scores.json`."""
        return [
            *_launch(),
            '--mode=evaluate',
            f'--workdir={workdir}',
            *_data(data_dir),
            f'--evaluate.extractor={extractor}',
            *([f'--evaluate.weights={weights}'] if weights else []),
            f'--evaluate.protocols={",".join(self.scale.protocols)}',
            f'--evaluate.variants={",".join(self.variants)}',
            f'--evaluate.batch_size={self.scale.batch_size}',
            f'--evaluate.steps={",".join(map(str, steps))}',
        ]

    def sampling(self, workdir: pathlib.Path, step: int) -> list[str]:
        """Writes the images that the scores are of, as pixels: those of the EMA where there is one."""
        return [
            *_launch(),
            '--mode=sample',
            f'--workdir={workdir}',
            '--sample.format=npz',
            f'--sample.num={self.scale.num_samples}',
            f'--sample.step={step}',
        ]

    def _flags(self):
        return definition.flags({k: v for k, v in self.item.items() if k != 'config'})


def _launch():
    return [sys.executable, 'launch.py']


def _data(data_dir):
    return [f'--config.data.data_dir={data_dir}'] if data_dir else []


def chosen(text: str) -> list[Row]:
    """The rows that a comma-separated list of kinds or names means, in order of importance; all of them if empty.

    Raises:
        ValueError: there is no such row.
    """
    if not text:
        return list(ROWS)
    known = {str(row.number) for row in ROWS} | {row.name for row in ROWS}
    asked = [part.strip() for part in text.split(',')]
    for part in asked:
        if part not in known:
            raise ValueError(f'--rows={text}: there is no {part!r}; accepted are {_accepted()}')
    return [row for row in ROWS if str(row.number) in asked or row.name in asked]


def _accepted():
    return ', '.join(f'{row.number} ({row.name})' for row in ROWS)
