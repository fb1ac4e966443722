"""States that differ by step, and processes that save them, for the tests of checkpoints."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from snjax.runs import checkpoint


@flax.struct.dataclass
class Player:
    params: Any
    model_state: Any
    opt_state: Any
    ema: Any


@flax.struct.dataclass
class State:
    gen: Player
    step: jax.Array


def make_state(step: int, dtype=jnp.float32) -> State:
    """Returns a state with every kind of leaf, whose values depend only on `step`."""
    kernel_rng, bias_rng = jax.random.split(jax.random.key(step))
    params = {
        'kernel': jax.random.normal(kernel_rng, (40, 40), dtype),
        'bias': jax.random.normal(bias_rng, (7,), jnp.bfloat16),
        'empty': jnp.zeros((0, 3)),
    }
    optimizer = optax.adam(1e-3)
    gradients = jax.tree.map(jnp.cos, params)
    _, opt_state = optimizer.update(gradients, optimizer.init(params))
    player = Player(params=params, model_state={}, opt_state=opt_state, ema=None)
    return State(gen=player, step=jnp.int32(step))


def abstract(state):
    """Returns the shapes and dtypes of a state."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


def assert_same(actual, expected):
    """Fails unless two states have the same structure, types, dtypes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        assert np.asarray(a).tobytes() == np.asarray(e).tobytes()


def save_all(directory, steps, **kwargs):
    """Saves the states of `steps` in turn, as a run does."""
    with checkpoint.Checkpointer(directory, **kwargs) as checkpointer:
        for step in steps:
            checkpointer.save(step, make_state(step))


def restore(directory, like=None):
    """Returns (step, state) of the latest good checkpoint, or None."""
    with checkpoint.Checkpointer(directory) as checkpointer:
        return checkpointer.restore_latest(abstract(make_state(0)) if like is None else like)


def flip_a_bit_of(array, folder):
    """Flips one stored bit of an array, as a failing disk would."""
    needle = np.asarray(array).tobytes()
    for path in folder.rglob('*'):
        content = bytearray(path.read_bytes()) if path.is_file() else b''
        if (at := content.find(needle)) >= 0:
            content[at + len(needle) // 2] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError('the array is not stored as plain bytes')


def big_state(step):
    """Returns a state with one large array: a kill can interrupt its save."""
    return {'state': make_state(step), 'big': jnp.full((500_000,), step, jnp.float32)}


# Imports for the code of `start`.
HEADER = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from helpers.checkpointing import assert_same, big_state, flip_a_bit_of, make_state
from snjax.runs import checkpoint, lock
"""


def start(code, *args, **env):
    """Starts a process that runs `HEADER` and `code` with `args`; its output is in one pipe."""
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, '-c', HEADER + textwrap.dedent(code), *map(str, args)],
        env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': root, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
