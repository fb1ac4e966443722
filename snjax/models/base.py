"""Base classes of all generators and of all discriminators: fields, checks, norms and output."""

import functools
from collections.abc import Iterable
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from snjax.models.arguments import choose
from snjax.models.heads import Logits, check_head, output_head
from snjax.models.layer_sets import PLAIN, Layers
from snjax.nn.normalization import EPSILON, Factory, Labels, generator_norms, no_norm


class Generator(nn.Module):
    """Maps z (b, dim_z), and labels, to images (b, s, s, c) in [-1, 1]: `apply(variables, z,
    labels, train=...)`.

    Labels are classes (b,) or float weights (b, num_classes) that mix classes; None without
    classes. `train=True` uses the batch's statistics and updates the collection `batch_stats`,
    `train=False` uses the running ones.

    Attributes:
        image_size: height and width in pixels; each network says which it takes.
        width: channels of the last hidden layer.
        channels: of the image.
        layers: the layer set; its `norm` is not used.
        num_classes: rows of the conditional batch norms; 0 for an unconditional generator.
        batch_norm_axis: mapped axis over which batch statistics are shared; None keeps them per
            device.
        running_variance: what batch norms keep for `train=False`: a name of
            `snjax.nn.normalization.RUNNING_VARIANCES`.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        variant: name in the network's `variants`.

    Raises:
        ValueError: when made, an `image_size` or `variant` is not accepted; when applied, labels
            are missing or superfluous.
    """

    image_size: int
    width: int
    channels: int = 3
    layers: Layers = PLAIN
    num_classes: int = 0
    batch_norm_axis: str | None = None
    running_variance: str = 'biased'
    dtype: Any = jnp.float32
    variant: str = 'paper'

    # Both names give the same network unless it overrides `variants`.
    variants: ClassVar[Iterable[str]] = ('paper', 'code')

    def __post_init__(self):
        choose('variant', self.variant, self.variants)
        super().__post_init__()

    @nn.nowrap
    def norms(
        self, labels: Labels | None, *, train: bool, epsilon: float = EPSILON
    ) -> tuple[Factory, Factory]:
        """Factories `plain(name=...)` and `conditional(name=...)`; see `generator_norms`."""
        return generator_norms(
            labels,
            self.num_classes,
            train=train,
            axis_name=self.batch_norm_axis,
            dtype=self.dtype,
            epsilon=epsilon,
            running_variance=self.running_variance,
        )


class Discriminator(nn.Module):
    """Maps images (b, s, s, c), and labels, to logits (b,): `apply(variables, x, labels,
    train=...)`.

    Labels are classes (b,), for a head that takes them. `train` matters to norms of activations
    alone.

    Attributes:
        image_size: height and width in pixels; each network says which it takes.
        width: channels of the first block or layer.
        layers: the layer set, with the norm of the activations.
        num_classes, head: what labels are used for (`snjax.models.heads`).
        lipschitz: factor on the logits: the Lipschitz constant of a network whose layers have 1.
        batch_norm_axis: mapped axis over which batch statistics are shared; None keeps them per
            device.
        dtype: compute type, float32 or bfloat16; parameters and logits are float32.
        variant: name in the network's `variants`.

    Raises:
        ValueError: when made, an `image_size`, `variant` or `head` is not accepted; when applied,
            labels are missing or superfluous, or images have another size.
    """

    image_size: int
    width: int
    layers: Layers = PLAIN
    num_classes: int = 0
    head: str = 'none'
    lipschitz: float = 1.0
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    variant: str = 'paper'

    # Both names give the same network unless it overrides `variants`.
    variants: ClassVar[Iterable[str]] = ('paper', 'code')

    def __post_init__(self):
        choose('variant', self.variant, self.variants)
        check_head(self.head, self.num_classes)
        super().__post_init__()

    @nn.nowrap
    def check_images(self, x: Array) -> None:
        """Raises ValueError for images of another size, which global pooling would let through."""
        size = self.image_size
        if x.ndim != 4 or x.shape[1:3] != (size, size):
            raise ValueError(
                f'a discriminator of image_size {size} was given images {x.shape}: they must be '
                f'(batch, {size}, {size}, channels)'
            )

    @nn.nowrap
    def norm(self, *, train: bool) -> Factory:
        """The factory `norm(name=...)` of norms of its activations."""
        if self.layers.norm is None:
            return no_norm
        return functools.partial(
            self.layers.norm, train=train, axis_name=self.batch_norm_axis, dtype=self.dtype
        )

    @nn.nowrap
    def logits(
        self,
        h: Float[Array, 'b n'],
        labels: Int[Array, ' b'] | None,
        *,
        init: Any,
        score_bias: bool = True,
    ) -> Logits:
        """`output_head` on the features `h`; call it in a compact method."""
        return output_head(
            h,
            labels,
            head=self.head,
            num_classes=self.num_classes,
            dense=self.layers.dense,
            embed=self.layers.embed,
            init=init,
            score_bias=score_bias,
            lipschitz=self.lipschitz,
        )
