"""A trained generator as a file: safetensors, StableHLO or ONNX, by the ending of its name.

* `.safetensors`: the arrays and the config. `snjax.load` reads it back, and any other program its
  arrays.
* `.stablehlo`: the whole generator, by `jax.export`. It needs JAX alone, on a CPU, a GPU or a TPU.
* `.onnx`: the whole generator, for ONNX Runtime and others. Needs jax2onnx.

A program takes z (n, dim_z) in float32, for any n, and of a conditional run also the classes (n,)
in int32; it gives images (n, h, w, c) in [-1, 1].
"""

import importlib.util
import json
import logging
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from snjax import from_config, parallel
from snjax.host import paths
from snjax.latents import sampling
from snjax.runs.files import replace_file
from snjax.runs.generator_file import CONFIG, STEP, TABLE, WEIGHTS

if TYPE_CHECKING:
    from snjax.generate.trained import TrainedGenerator

_PLATFORMS = ('cpu', 'cuda', 'tpu')


def write(
    trained: 'TrainedGenerator', path: str | pathlib.Path, weights: str = 'auto'
) -> pathlib.Path:
    """Writes the file; its ending, one of `FORMATS`, says what it is. Its folder is made.

    Args:
        trained: the run.
        path: of the file.
        weights: see `TrainedGenerator.variables`.

    Returns:
        The path, with ~ expanded.

    Raises:
        ValueError: another ending.
        ModuleNotFoundError: for `.onnx` without jax2onnx.
    """
    path = paths.expanded(path)
    name = path.suffix.removeprefix('.')
    if name not in FORMATS:
        raise ValueError(
            f'{path} ends in {path.suffix or "nothing"}: accepted are '
            f'{", ".join(f".{format}" for format in FORMATS)}'
        )
    check_packages(name)
    replace_file(path, FORMATS[name](trained, weights))
    return path


def check_packages(format: str) -> None:
    """Raises a ModuleNotFoundError of one line if a format needs a package that is not there."""
    if format == 'onnx' and importlib.util.find_spec('jax2onnx') is None:
        raise ModuleNotFoundError(
            "ONNX needs jax2onnx: pip install '.[onnx]' in the repository, then pip install --no-deps "
            "'jax2onnx>=0.17.1' (its metadata ask for an older orbax-checkpoint than snjax has, "
            'which it never imports)',
            name='jax2onnx',
        )


def safetensors(trained: 'TrainedGenerator', weights: str = 'auto') -> bytes:
    """The variables, named as 'params/dense/kernel', and of GLO the latents as `TABLE`.

    The metadata hold the config without the places of files on this machine, the step, and whether
    the weights are the EMA.
    """
    from safetensors.numpy import save

    arrays = {
        k: np.asarray(v) for k, v in flatten_dict(trained.variables(weights), sep='/').items()
    }
    table = getattr(trained, 'table', None)
    if table is not None:
        arrays[TABLE] = np.asarray(table)
    # An array that is not in C order would be written as it lies in memory.
    arrays = {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in arrays.items()}
    return save(arrays, metadata=_about(trained, weights))


def stablehlo(trained: 'TrainedGenerator', weights: str = 'auto') -> bytes:
    """The generator and its weights, for `jax.export.deserialize(bytes).call(z)`.

    It runs on a CPU in the forms of `snjax.nn.convolution` for CPUs.
    """
    from jax import export

    variables = applied(trained, weights)

    def generate(*inputs):
        return lax.platform_dependent(
            variables, *inputs, cpu=_program(trained, 'cpu'), default=_program(trained, 'gpu')
        )

    (n,) = export.symbolic_shape('n')
    shapes = [jax.ShapeDtypeStruct((n, *shape), kind) for _, shape, kind in _inputs(trained)]
    with _without_places():
        made = export.export(jax.jit(generate), platforms=_PLATFORMS)(*shapes)
    return bytes(made.serialize())


def onnx(trained: 'TrainedGenerator', weights: str = 'auto') -> bytes:
    """The generator and its weights as an ONNX model: z and labels in, images out, NHWC.

    It computes in float32, also for a run that computes in bfloat16.

    The metadata are those of `safetensors`.
    """
    variables, inputs = applied(trained, weights), _inputs(trained)
    generate = _program(trained, 'onnx')
    with _quiet():
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]

        model = to_onnx(
            lambda *inputs: generate(variables, *inputs),
            [jax.ShapeDtypeStruct(('n', *shape), kind) for _, shape, kind in inputs],
            model_name='generator',
            input_names=[name for name, _, _ in inputs],
            output_names=['images'],
        )
    # Shapes of inner arrays are optional, and jax2onnx leaves some that it had before it moved
    # transpositions, of which ONNX Runtime warns.
    del model.graph.value_info[:]
    for key, value in _about(trained, weights).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


FORMATS: dict[str, Callable[['TrainedGenerator', str], bytes]] = {
    'safetensors': safetensors,
    'stablehlo': stablehlo,
    'onnx': onnx,
}


def applied(trained: 'TrainedGenerator', weights: str = 'auto') -> Mapping[str, Any]:
    """The variables with each weight as it is applied: divided by its sigma, where it has one.

    A program then computes no spectral norm. Apply them by `_program`, which divides no more.
    """
    variables = trained.variables(weights)
    if 'spectral' not in variables:
        return variables

    def normalized(variables, *inputs):
        found = {}

        def keep(call, args, kwargs, context):
            made = call(*args, **kwargs)
            if context.method_name == 'normalize':
                found[context.module.path] = made
            return made

        with nn.intercept_methods(keep):
            sampling.generate(trained.gen, variables, *inputs)
        return found

    inputs = [jnp.zeros((1, *shape), kind) for _, shape, kind in _inputs(trained)]
    found = jax.jit(normalized)(variables, *inputs)  # of the generator XLA keeps these alone
    params: dict[tuple[str, ...], Any] = flatten_dict(variables['params'])
    for path, weight in found.items():
        (name,) = {'kernel', 'embedding'} & {p[-1] for p in params if p[:-1] == path}
        params[*path, name] = np.asarray(weight)
    rest = {k: v for k, v in variables.items() if k not in ('params', 'spectral')}
    return {'params': unflatten_dict(params), **rest}


def _about(trained: 'TrainedGenerator', weights: str) -> dict[str, str]:
    config = from_config.without_places(trained.config)
    return {
        CONFIG: json.dumps(config),
        STEP: str(trained.step),
        WEIGHTS: trained.kept(weights),
    }


def _inputs(trained: 'TrainedGenerator') -> list[tuple[str, tuple[int, ...], Any]]:
    """Name, shape without the batch, and type of each input of a program."""
    z, like = ('z', (trained.inputs.dim_z,), jnp.float32), trained.inputs.labels_like(1)
    return [z] if like is None else [z, ('labels', like.shape[1:], like.dtype)]


def _program(trained: 'TrainedGenerator', platform: str) -> Callable[..., Any]:
    def as_it_is(call, args, kwargs, context):
        return args[0] if context.method_name == 'normalize' else call(*args, **kwargs)

    # ONNX Runtime has hardly an operation in bfloat16; parameters are float32 in any case.
    gen = trained.gen.clone(dtype=jnp.float32) if platform == 'onnx' else trained.gen

    def generate(variables, *inputs):
        with parallel.forms_of(platform), nn.intercept_methods(as_it_is):
            return sampling.generate(gen, variables, *inputs)

    return generate


@contextmanager
def _without_places() -> Iterator[None]:
    """Keeps the paths of source files, which name folders of this machine, out of programs."""
    name = 'jax_traceback_in_locations_limit'
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Turns off the warnings of the converter: of arrays without a type, and of constants that it
    makes in float64 before JAX rounds them.
    """
    loggers = [logging.getLogger(name) for name in ('jax2onnx', 'onnx_ir')]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Explicitly requested dtype float64', UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
