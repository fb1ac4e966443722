"""Base classes of all generators and of all discriminators: fields, checks, norms and output."""

import functools
from collections.abc import Iterable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from snjax.image_format import ImageSize, canonical, sides
from snjax.models.arguments import choose
from snjax.models.heads import Logits, check_head, output_head
from snjax.models.layer_sets import PLAIN, Layers
from snjax.nn.normalization import (
    EPSILON,
    Factory,
    Labels,
    check_labels,
    generator_norms,
    no_norm,
)

CONDITIONINGS = ('batch_norm', 'concat')  # where classes enter a generator


def check_conditioning(conditioning: str, num_classes: int, num_conditions: int = 0) -> None:
    """Raises ValueError for another name, for 'concat' without classes, and for classes beside
    conditions.
    """
    choose('gen_conditioning', conditioning, CONDITIONINGS)
    if num_classes and num_conditions:
        raise ValueError(
            f'num_classes is {num_classes} and num_conditions {num_conditions}: a network has classes '
            'or conditions; leave one of them at 0 (--config.model.num_classes=0)'
        )
    if conditioning == 'concat' and not (num_classes or num_conditions):
        raise ValueError(
            "gen_conditioning is 'concat', but num_classes is 0: give the generator classes "
            '(--config.model.num_classes), or keep --config.model.gen_conditioning=batch_norm'
        )


class Generator(nn.Module):
    """Maps z (b, dim_z), and labels, to images (b, h, w, c) in [-1, 1]: `apply(variables, z,
    labels, train=...)`.

    Labels are classes (b,) or float weights (b, num_classes) that mix classes; with conditions they
    are numbers (b, num_conditions), and without both None. `train=True` uses the batch's statistics
    and updates the collection `batch_stats`, `train=False` uses the running ones.

    Attributes:
        image_size: pixels of a square's side, or (height, width); each network says which it takes.
        width: channels of the last hidden layer.
        channels: of the image.
        layers: the layer set; its `norm` is not used.
        num_classes: 0 for an unconditional generator.
        num_conditions: numbers per image in place of classes; 0 for none.
        conditioning: where classes enter, a name in `CONDITIONINGS`: `'batch_norm'`, a row of gamma
            and beta per class, or `'concat'`, the class beside z.
        batch_norm_axis: mapped axis over which batch statistics are shared; None keeps them per
            device.
        running_variance: what batch norms keep for `train=False`: a name of
            `snjax.nn.normalization.RUNNING_VARIANCES`.
        dtype: compute type, float32 or bfloat16; parameters, statistics and images are float32.
        variant: name in the network's `variants`.

    Raises:
        ValueError: when made, an `image_size`, `variant` or `conditioning` is not accepted; when
            applied, labels are missing or superfluous.
    """

    image_size: ImageSize
    width: int
    channels: int = 3
    layers: Layers = PLAIN
    num_classes: int = 0
    conditioning: str = 'batch_norm'
    batch_norm_axis: str | None = None
    running_variance: str = 'biased'
    dtype: Any = jnp.float32
    variant: str = 'paper'
    num_conditions: int = 0

    # Both names give the same network unless it overrides `variants`.
    variants: ClassVar[Iterable[str]] = ('paper', 'code')

    def __post_init__(self):
        self.image_size = canonical(self.image_size)  # equal modules for equal sizes
        choose('variant', self.variant, self.variants)
        check_conditioning(self.conditioning, self.num_classes, self.num_conditions)
        super().__post_init__()

    @nn.nowrap
    def place_labels(
        self, z: Float[Array, 'b n'], labels: Labels | None
    ) -> tuple[Float[Array, 'b m'], Labels | None]:
        """Input of the first layer, and the labels for `norms`.

        With `'concat'` the class joins z as a one-hot vector times sqrt(num_classes), so that its
        mean square per entry is 1 as that of z, and the norms get None. Numbers join as they are.
        """
        if self.conditioning != 'concat':
            return z, labels
        check_labels(labels, self.num_classes, self.num_conditions)
        assert labels is not None  # 'concat' has classes
        if self.num_conditions:
            return jnp.concatenate([z, labels.astype(z.dtype)], -1), None
        if jnp.issubdtype(labels.dtype, jnp.integer):
            labels = jax.nn.one_hot(labels, self.num_classes)
        return jnp.concatenate([z, self.num_classes**0.5 * labels.astype(z.dtype)], -1), None

    @nn.nowrap
    def norms(
        self,
        labels: Labels | None,
        *,
        train: bool,
        epsilon: float = EPSILON,
        maps: Factory | None = None,
    ) -> tuple[Factory, Factory]:
        """Factories `plain(name=...)` and `conditional(name=...)`; see `generator_norms`."""
        in_norms = self.conditioning == 'batch_norm'
        return generator_norms(
            labels,
            self.num_classes * in_norms,
            num_conditions=self.num_conditions * in_norms,
            train=train,
            axis_name=self.batch_norm_axis,
            dtype=self.dtype,
            epsilon=epsilon,
            running_variance=self.running_variance,
            maps=maps,
        )


class Discriminator(nn.Module):
    """Maps images (b, h, w, c), and labels, to logits (b,): `apply(variables, x, labels,
    train=...)`.

    Labels are classes (b,) or float weights (b, num_classes), for a head that takes them. `train`
    matters to norms of activations alone.

    Attributes:
        image_size: pixels of a square's side, or (height, width); each network says which it takes.
        width: channels of the first block or layer.
        layers: the layer set, with the norm of the activations.
        num_classes, head: what labels are used for (`snjax.models.heads`).
        dim_embed: length of the embeddings of the heads that have them.
        lipschitz: factor on the logits: the Lipschitz constant of a network whose layers have 1.
        batch_norm_axis: mapped axis over which batch statistics are shared; None keeps them per
            device.
        dtype: compute type, float32 or bfloat16; parameters and logits are float32.
        variant: name in the network's `variants`.

    Raises:
        ValueError: when made, an `image_size`, `variant` or `head` is not accepted; when applied,
            labels are missing or superfluous, or images have another size.
    """

    image_size: ImageSize
    width: int
    layers: Layers = PLAIN
    num_classes: int = 0
    head: str = 'none'
    lipschitz: float = 1.0
    batch_norm_axis: str | None = None
    dtype: Any = jnp.float32
    variant: str = 'paper'
    dim_embed: int = 512

    # Both names give the same network unless it overrides `variants`.
    variants: ClassVar[Iterable[str]] = ('paper', 'code')

    def __post_init__(self):
        self.image_size = canonical(self.image_size)  # equal modules for equal sizes
        choose('variant', self.variant, self.variants)
        check_head(self.head, self.num_classes)
        super().__post_init__()

    @nn.nowrap
    def check_images(self, x: Array) -> None:
        """Raises ValueError for images of another size, which global pooling would let through."""
        height, width = sides(self.image_size)
        if x.ndim != 4 or x.shape[1:3] != (height, width):
            raise ValueError(
                f'a discriminator of image_size {self.image_size} was given images {x.shape}: they '
                f'must be (batch, {height}, {width}, channels)'
            )

    @nn.nowrap
    def blocks_from_image(self) -> list[list[str]]:
        """Names of the layers in each block that can be frozen, from the image up, without the head."""
        raise NotImplementedError

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
        labels: Labels | None,
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
            dim_embed=self.dim_embed,
        )
