"""One network in training: what it is made of, and what an update moves of it, whatever the game.

`experiments.gan` plays with two of these, `experiments.glo` trains one.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from snjax import parallel, spectral


class Player(struct.PyTreeNode):
    """A network's variables, with its optimiser's state."""

    params: Any
    # The other collections: batch_stats of a generator, spectral of a discriminator.
    model_state: Any
    opt_state: Any

    @classmethod
    def fresh(cls, variables: Any, optimizer: optax.GradientTransformation) -> 'Player':
        """A player before its first update.

        Args:
            variables: what the network's `init` gave.
            optimizer: whose state it gets.
        """
        model_state = {k: v for k, v in variables.items() if k != 'params'}
        params = variables['params']
        return cls(params, model_state, optimizer.init(params))

    @property
    def variables(self) -> dict[str, Any]:
        return {'params': self.params, **self.model_state}


def advanced(module: nn.Module, player: Player, *inputs: Any) -> Player:
    """The player with one power iteration done in every layer; itself where none is normalised."""
    if 'spectral' not in player.model_state:
        return player
    # Weights alone matter to it; train=False leaves batch statistics as they are.
    moved = spectral.advance(module, player.variables, *inputs, train=False)
    return player.replace(model_state={**player.model_state, 'spectral': moved})


def averaged(average: Any, player: Player, decay: float, step: jax.Array) -> Any:
    """A moving average of a player's parameters and running statistics, quick at first.

    The decay is min(decay, (1 + step) / (10 + step)), so that short runs forget their start. Singular vectors are
    directions, which have no average: those of the newest weights stand in.

    Args:
        average: the variables averaged so far; None, which stays None, where no average is kept.
        player: after the update.
        decay: the share of the old average, in (0, 1).
        step: updates done before this one, int32.
    """
    if average is None:
        return None
    kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    moved = jax.tree.map(lambda a, p: kept * a + (1 - kept) * p, average, player.variables)
    return moved | {k: v for k, v in player.variables.items() if k == 'spectral'}


def synchronised(model_state: dict[str, Any]) -> dict[str, Any]:
    """Collections made equal on all devices: statistics that are a device's own become their average.

    Statistics of all devices are equal already, and so is `spectral`, which follows from the weights.
    """
    return {k: v if k == 'spectral' else parallel.mean(v) for k, v in model_state.items()}


def sigmas(**players: Player) -> dict[str, jax.Array]:
    """Every layer's sigma, as '<prefix>/<layer>' for the players that are given by prefix."""
    return {
        f'{prefix}/{name}': sigma
        for prefix, player in players.items()
        for name, sigma in spectral.sigmas(player.model_state.get('spectral', {})).items()
    }
