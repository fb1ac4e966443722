"""Train state of one network and its updates, the same for every method.

`experiments.gan` plays with two players; `experiments.glo` trains one.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict

from snjax import parallel, spectral
from snjax.training.optimizers import Schedule


class Player(struct.PyTreeNode):
    """A network's variables and its optimizer's state.

    Attributes:
        params: the parameters.
        model_state: the other collections: `batch_stats` of a generator, `spectral` of a
            discriminator.
        opt_state: the optimizer's state.
    """

    params: Any
    model_state: Any
    opt_state: Any

    @classmethod
    def fresh(cls, variables: Any, optimizer: optax.GradientTransformation) -> 'Player':
        """The player before its first update.

        Args:
            variables: what the network's `init` returned.
            optimizer: gives the optimizer's state.
        """
        model_state = {k: v for k, v in variables.items() if k != 'params'}
        params = variables['params']
        return cls(params, model_state, optimizer.init(params))

    @property
    def variables(self) -> dict[str, Any]:
        """The collections, as `module.apply` takes them."""
        return {'params': self.params, **self.model_state}

    def apply(
        self, module: nn.Module, params: Any, *inputs: Any, moves_spectral: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """The network in training mode.

        Args:
            module: the network.
            params: parameters in place of the player's own, so that they can be differentiated.
            inputs: of the network.
            moves_spectral: whether this pass advances the power iterations, as the official code's
                passes do.

        Returns:
            The output, and the collections after the pass.
        """
        moving = [name for name in self.model_state if name != 'spectral' or moves_spectral]
        variables = {'params': params, **self.model_state}
        out, moved = module.apply(variables, *inputs, train=True, mutable=moving)
        return out, {**self.model_state, **moved}

    def advance(self, module: nn.Module, *inputs: Any) -> 'Player':
        """The player after one power iteration in every normalized layer.

        Step 1 of Algorithm 1 of Miyato et al. 2018. Without normalized layers nothing changes.
        """
        if 'spectral' not in self.model_state:
            return self
        # The power iteration reads the weights alone; train=False leaves batch statistics as they
        # are.
        moved = spectral.advance(module, self.variables, *inputs, train=False)
        return self.replace(model_state={**self.model_state, 'spectral': moved})

    def descend(
        self,
        grads: Any,
        optimizer: optax.GradientTransformation,
        lr: jax.Array,
        step: jax.Array | None = None,
    ) -> 'Player':
        """The player after one optimizer step.

        Args:
            grads: gradient of the loss over the whole batch, equal on all devices.
            optimizer: gradients -> updates that are not yet scaled by the learning rate.
            lr: learning rate.
            step: generator updates done, for an optimizer that follows a schedule.
        """
        update = optax.with_extra_args_support(optimizer).update
        updates, opt_state = update(grads, self.opt_state, self.params, step=step)
        params = jax.tree.map(lambda p, u: p - lr * u, self.params, updates)
        return self.replace(params=params, opt_state=opt_state)


def averaged(average: Any, player: Player, decay: float | Schedule, step: jax.Array) -> Any:
    """Exponential moving average of a player's parameters and running statistics.

    The decay is min(decay, (1 + step) / (10 + step)), so that the average of a short run forgets
    the start, or what a schedule says. Singular vectors are directions, which have no average: the
    newest ones are kept. (`optax.incremental_update` takes 1 - decay, which rounds differently:
    older runs would not resume bit for bit.)

    Args:
        average: the variables averaged so far; None stays None.
        player: after the update.
        decay: share of the old average, in (0, 1), or its schedule.
        step: updates done before this one, int32.
    """
    if average is None:
        return None
    kept = decay(step) if callable(decay) else jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    moved = jax.tree.map(lambda a, p: kept * a + (1 - kept) * p, average, player.variables)
    return moved | {k: v for k, v in player.variables.items() if k == 'spectral'}


def synchronized(model_state: dict[str, Any]) -> dict[str, Any]:
    """The collections made equal on all devices, by averaging.

    Batch statistics that are synchronized are equal already. So is `spectral`, which follows from
    the weights and is left out.
    """
    return {k: v if k == 'spectral' else parallel.mean(v) for k, v in model_state.items()}


def sigmas(**players: Player) -> dict[str, Any]:
    """Every layer's sigma as '<prefix>/<layer>', for players given by prefix.

    Where more singular values are followed, the second is '<prefix>2/<layer>', and so on.
    """
    found = {}
    for prefix, player in players.items():
        kept = player.model_state.get('spectral', {})
        found |= {f'{prefix}/{name}': sigma for name, sigma in spectral.sigmas(kept).items()}
        for name, values in spectral.singular_values(kept).items():
            found |= {f'{prefix}{i}/{name}': v for i, v in enumerate(values[1:], start=2)}
    return found


def histogram_arrays(players: Mapping[str, Player], normalized: Player) -> dict[str, Any]:
    """Every weight as '<player>/<path>', and the sigmas of a player's layers as one array."""
    weights = flatten_dict({name: player.params for name, player in players.items()}, sep='/')
    values = list(sigmas(sigma=normalized).values())
    return weights | ({'spectral/sigmas': jnp.stack(values)} if values else {})
