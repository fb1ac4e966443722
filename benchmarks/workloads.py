"""Training steps to measure: a config with changes, and the name of the same work in PyTorch."""

import ast
import dataclasses
import difflib
import importlib
import inspect
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.extend import core

from experiments import build
from snjax import from_config, parallel
from snjax.training.step import device_data, make_step

CONFIGS = pathlib.Path(__file__).parents[1] / 'configs'


@dataclasses.dataclass(frozen=True)
class Workload:
    """One training step, for every side of a comparison.

    Attributes:
        config: name of our config, such as `sngan_cifar` or `sngan_cifar_cnn:C`.
        changes: keys of the config, dots between groups.
        pytorch: fields of `benchmarks.peers.pytorch.Work`.
        mimicry: name in `benchmarks.peers.mimicry.NETWORKS`; None if mimicry has no such network.
    """

    config: str
    changes: Mapping[str, Any]
    pytorch: Mapping[str, Any]
    mimicry: str | None = None


_RESNET = {'network': 'resnet', 'gen_width': 256, 'dis_width': 128, 'beta1': 0.0, 'beta2': 0.9}
_CNN = {'network': 'standard', 'gen_width': 64, 'dis_width': 64, 'beta1': 0.5, 'beta2': 0.999}

# mimicry's loop: 5 updates of D with 64 real images and 64 fakes, then one of G with 64, at 32 px.
WORKLOADS = {
    'sngan_resnet': Workload('sngan_cifar', {'gen_batch_size': 64}, _RESNET, 'sngan'),
    'standard_cnn': Workload('sngan_cifar_cnn:C', {'n_dis': 5}, _CNN),
    'wgan_gp_resnet': Workload(
        'wgan_gp_cifar:resnet,256', {'gen_batch_size': 64}, _RESNET | {'penalty': 10.0}, 'wgan_gp'
    ),
}


def load_config(name: str, changes: Mapping[str, Any]) -> Any:
    """A config of `configs/` by name and argument, with changes, which may be text.

    Raises:
        ValueError: no such config or key exists, or it does not take that argument or value.
    """
    name, _, argument = name.removeprefix('configs/').replace('.py', '').partition(':')
    if not (CONFIGS / f'{name}.py').is_file():
        known = sorted(path.stem for path in CONFIGS.glob('[a-z]*.py'))
        near = difflib.get_close_matches(name, known, n=1) or ['sngan_cifar']
        raise ValueError(f'configs/ has no config {name!r}: give one that is there, as {near[0]}')
    get_config = importlib.import_module(f'configs.{name}').get_config
    if argument and not inspect.signature(get_config).parameters:
        raise ValueError(f'configs/{name}.py takes no argument, but {argument!r} was given')
    config = get_config(*filter(None, [argument]))
    for key, value in changes.items():
        _change(config, key, value)
    return config.lock()


def _change(config, key, value):
    group, _, field = key.rpartition('.')
    try:
        group = config[group] if group else config
        is_text = isinstance(value, str) and not isinstance(group[field], str)
        group[field] = ast.literal_eval(value) if is_text else value
    except (KeyError, AttributeError) as error:
        raise ValueError(f'configs have no key {key!r}: see configs/base.py') from error
    except (SyntaxError, ValueError, TypeError) as error:
        kind = type(group[field]).__name__
        raise ValueError(f'{key} is {value!r}, but a value of type {kind} is needed') from error


class Step:
    """Our training step as `launch.py` runs it, on noise that lies on the device.

    Args:
        config: of any method.
        num_images: of the set.
        counted_only: keep the shapes of the state in its place: enough to count operations and to
            lower, not to run.
    """

    def __init__(self, config: Any, num_images: int = 10_000, *, counted_only: bool = False):
        shape = from_config.images_shape(config, num_images).shape
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, shape, np.uint8)
        labels = rng.integers(0, max(config.model.num_classes, 1), num_images, np.int32)
        self.method = build.method(config).with_images(pixels)
        self.options = build.options(config)
        self.data = device_data(pixels, labels, config.seed)
        make, place = parallel.run_once, parallel.shard
        if counted_only:
            make, place = jax.eval_shape, parallel.shard_shapes
        self.state = place(make(self.method.init, jax.random.key(0)), self.method.state_axes)
        self._run = make_step(self.method, self.options)
        self.parallel = parallel.DataParallel(self._run, self.method.state_axes)

    def jaxpr(self) -> core.Jaxpr:
        """The program of one call on one device, to count operations."""
        return self.parallel.trace(self.state, self.data)

    def compile(self) -> None:
        self.program = self.parallel.compile(self.state, self.data)

    def run(self, num_updates: int) -> None:
        """Starts that many updates; `block` waits for them."""
        for _ in range(num_updates // self.options.steps_per_call):
            self.state, self.metrics = self.program(self.state, self.data)

    def block(self) -> None:
        jax.block_until_ready(self.state)
