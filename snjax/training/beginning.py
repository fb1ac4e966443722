"""The state that a run starts from: its own checkpoint, that of another run, or a fresh one."""

from collections.abc import Callable
from typing import Any

import jax

from snjax import parallel
from snjax.latents.sampling import seed_key
from snjax.runs import generator_file
from snjax.runs.checkpoint import Checkpointer, load_tree
from snjax.runs.workdir import CHECKPOINTS
from snjax.training.step import Options
from snjax.training.transfer import Origin, transferred


def check_set_size(num_images: int, batch_size: int) -> None:
    """Raises a ValueError for a set that does not fill a batch."""
    if num_images < batch_size:
        raise ValueError(
            f'batch_size {batch_size} is more than the {num_images} images of the set: '
            f'use at most that, --config.batch_size={num_images}'
        )


def state_of(
    init: jax.stages.Traced,
    options: Options,
    checkpoints: Checkpointer,
    like: Any,
    origin: Origin | None,
    say: Callable[[str], None],
) -> tuple[Any, int | None, int]:
    """The state, with no leaf sharded.

    Args:
        init: a method's `init`, traced for a key: gives a fresh state.
        options: with the seed.
        checkpoints: of the run itself, which come first.
        like: shapes, types and places of the state.
        origin: the checkpoint of another run; used before a fresh state.
        say: prints a line.

    Returns:
        The state, the step of the run's own checkpoint (None if it is new), and the step of the
        state.

    Raises:
        ValueError: no checkpoint is usable, or its step is none that a call of the program ends at.
    """
    start, step = None, 0
    if found := checkpoints.restore_latest(like):
        start, state = found
        step = start
        say(f'resuming from step {step}')
    elif origin:
        is_file = generator_file.is_one(origin.folder)
        if is_file and origin.options.take != 'weights':
            raise ValueError(
                f'{origin.folder} holds a generator alone, and no state to go on from: '
                '--config.transfer.take=weights begins with its weights'
            )
        if origin.options.take == 'weights':
            state = _with_weights(init, options, like, origin, say)
        else:
            step = origin.step
            with Checkpointer(origin.folder / CHECKPOINTS) as others:
                try:
                    state = others.restore(step, like)
                except ValueError as error:
                    if ' in the run' not in str(error):  # damaged
                        raise
                    raise ValueError(
                        f'{error}; --config.transfer.take=weights takes the weights that fit'
                    ) from error
            say(f'beginning with step {step} of {origin.folder}')
    else:
        state = _fresh(init, options)
    if step % options.steps_per_call:
        raise ValueError(
            f'the checkpoint is of step {step}, no multiple of steps_per_call '
            f'{options.steps_per_call}: resume with --config.steps_per_call=1'
        )
    return state, start, step


def _fresh(init: jax.stages.Traced, options: Options) -> Any:
    program = parallel.compile(init.lower(), quickly=True)
    return program(seed_key(options.seed, 'init'))


def _with_weights(
    init: jax.stages.Traced, options: Options, like: Any, origin: Origin, say: Callable[[str], None]
) -> Any:
    """A fresh state with the weights of another run; prints which."""
    if generator_file.is_one(origin.folder):
        tree = generator_file.state(origin.folder)
    else:
        _, tree = load_tree(origin.folder / CHECKPOINTS, origin.step)
    found = transferred(_fresh(init, options), tree, origin.options, like)
    say(f'beginning with weights of step {origin.step} of {origin.folder}')
    for line in found.lines():
        say(line)
    return found.state
