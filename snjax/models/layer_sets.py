"""Layer sets: the layers that a network is built from, and with them most of a GAN's recipe.

Every network of `snjax.models` takes a `Layers` and builds itself from its classes. So SNGAN and
its baselines differ in one argument, `layers=SPECTRAL` against `layers=WEIGHT_NORM`:

| layer set     | a layer applies                                   | paper                  |
|---------------|---------------------------------------------------|------------------------|
| `PLAIN`       | its weight                                        |                        |
| `SPECTRAL`    | weight / largest singular value                   | Miyato et al. 2018     |
| `TRACKED`     | its weight; follows the largest singular value    | Yoshida & Miyato 2017  |
| `WEIGHT_NORM` | the weight with columns of length 1               | Salimans & Kingma 2016 |
| `BATCH_NORM`  | its weight; batch norm follows in a discriminator | Radford et al. 2016    |
| `LAYER_NORM`  | its weight; layer norm follows in a discriminator | Ba et al. 2016         |

`spectral_norm` and `tracked` make the second and third with other options. A variation of one's own
is `dataclasses.replace(PLAIN, dense=MyDense)`.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn

from snjax import spectral
from snjax.models.arguments import at_least, choose, positive
from snjax.nn import layers as plain
from snjax.nn import weight_norm
from snjax.nn.layers import Initializer
from snjax.nn.normalization import Factory, activation_batch_norm, activation_layer_norm
from snjax.spectral.power_iteration import OPERATORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of a network.

    Attributes:
        conv, conv_transpose, dense, embed: classes with the arguments of their namesakes in
            `snjax.nn.layers`.
        norm: `norm(train=..., name=..., axis_name=..., dtype=...)` makes a norm of a
            discriminator's activations; None for no norm. (Batch norm in the generators belongs to
            the published networks and is not chosen here.)
    """

    conv: Factory = plain.Conv
    conv_transpose: Factory = plain.ConvTranspose
    dense: Factory = plain.Dense
    embed: Factory = plain.Embed
    norm: Factory | None = None


def spectral_norm(
    *,
    n_power_iterations: int = 1,
    n_warmup_iterations: int = 0,
    operator: str = 'reshaped',
    learnable_scale: bool = False,
    lipschitz: float = 1.0,
    embed_u: str = 'features',
    n_singular_values: int = 1,
) -> Layers:
    """Layers whose weights are divided by their largest singular value (`snjax.spectral`).

    Args:
        n_power_iterations: iterations each time u advances.
        n_warmup_iterations: further iterations at `init`.
        operator: whose norm sigma is: `'reshaped'`, `'bidirectional'` or `'convolution'`.
        learnable_scale: multiplies every weight by a learned factor gamma.
        lipschitz: multiplies every weight by this constant.
        embed_u: side of an embedding's table that u belongs to: `'features'`, or `'rows'` as in the
            official code (`snjax.spectral.SNEmbed`).
        n_singular_values: of the largest, how many are followed; above 1 for `'reshaped'` alone.

    Raises:
        ValueError: an option is not accepted.
    """
    layers = _spectral(
        **_iteration(n_power_iterations, n_warmup_iterations, operator, n_singular_values),
        learnable_scale=learnable_scale,
        lipschitz=positive('lipschitz', lipschitz),
    )
    u_over = choose('embed_u', embed_u, ('features', 'rows'))
    return dataclasses.replace(layers, embed=functools.partial(layers.embed, u_over=u_over))


def tracked(
    *,
    n_power_iterations: int = 1,
    n_warmup_iterations: int = 0,
    operator: str = 'reshaped',
    n_singular_values: int = 1,
) -> Layers:
    """Layers that follow their largest singular value and apply the weight as it is.

    For spectral norm regularization (Yoshida & Miyato 2017, arXiv:1705.10941) and to watch networks
    that are not normalized. Arguments as for `spectral_norm`.
    """
    options = _iteration(n_power_iterations, n_warmup_iterations, operator, n_singular_values)
    return _spectral(**options, divide=False)


def _iteration(n_power_iterations, n_warmup_iterations, operator, num) -> dict[str, Any]:
    if at_least(1, 'n_singular_values', num) > 1 and operator != 'reshaped':
        raise ValueError(
            f'n_singular_values is {num}, but sn_operator is {operator!r}: only the matrix of '
            "'reshaped' has more than sigma; --config.model.n_singular_values=1 follows that alone"
        )
    return {
        'n_singular_values': num,
        'n_power_iterations': at_least(1, 'n_power_iterations', n_power_iterations),
        'n_warmup_iterations': at_least(0, 'n_warmup_iterations', n_warmup_iterations),
        'operator': choose('sn_operator', operator, OPERATORS),
    }


def _spectral(**options: Any) -> Layers:
    bind = functools.partial
    return Layers(
        conv=bind(spectral.SNConv, **options),
        conv_transpose=bind(spectral.SNConvTranspose, **options),
        dense=bind(spectral.SNDense, **options),
        embed=bind(spectral.SNEmbed, **options),
    )


PLAIN = Layers()
SPECTRAL = spectral_norm()
TRACKED = tracked()
WEIGHT_NORM = Layers(
    conv=weight_norm.WNConv,
    conv_transpose=weight_norm.WNConvTranspose,
    dense=weight_norm.WNDense,
    embed=weight_norm.WNEmbed,
)
BATCH_NORM = Layers(norm=activation_batch_norm)
LAYER_NORM = Layers(norm=activation_layer_norm)


def orthogonal_start(layers: Layers) -> Layers:
    """`layers` with orthonormal kernels at the start, as SNGAN's comparison starts orthonormal
    regularization: `started` by the matrix (everything but the last axis, outputs).
    """
    return started(layers, nn.initializers.orthogonal())


def started(layers: Layers, init: Initializer) -> Layers:
    """`layers` whose convolutions and dense layers start at kernels by `init`; the initialization
    that a network asks for is ignored.
    """
    return dataclasses.replace(
        layers,
        conv=functools.partial(_started, layers.conv, init),
        dense=functools.partial(_started, layers.dense, init),
    )


def _started(layer: Factory, init: Initializer, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs | {'kernel_init': init})
