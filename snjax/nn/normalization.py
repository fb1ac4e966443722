"""Norms of activations: the batch norms of generators, and the norms of discriminators in
comparisons.

`ConditionalBatchNorm` is the categorical batch norm of the projection paper's code (Miyato & Koyama
2018, arXiv:1802.05637; Dumoulin et al. 2017, arXiv:1610.07629): one row of gamma and beta per
class. Decay and epsilon are Chainer's by default. `activation_layer_norm` and
`activation_batch_norm` are for the discriminators of SNGAN's comparison (Miyato et al. 2018,
section 4.1), which drops their multiplier gamma and keeps beta. A batch norm in D uses the
statistics of the batch that D is applied to: to keep real and fake statistics apart, apply D to
each separately.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

Factory = Callable[..., Callable[[Array], Array]]
# Classes; weights that mix them; or, of a network with conditions, k numbers per image.
Labels = Int[Array, ' b'] | Float[Array, 'b k']

DECAY = 0.9
EPSILON = 2e-5  # Chainer's
LAYER_NORM_EPSILON = 1e-5  # improved_wgan_training's


class UnbiasedBatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` whose running variance averages estimates with m / (m - 1).

    Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithm 2, as in Chainer and PyTorch; m is the
    number of values per channel, over all devices that share statistics. Training, which uses the
    batch's statistics, is the same.
    """

    @nn.compact
    def __call__(self, x: Float[Array, '... n'], **kwargs: Any) -> Float[Array, '... n']:
        before = self.get_variable('batch_stats', 'var')
        y = super().__call__(x, **kwargs)
        moves = self.is_mutable_collection('batch_stats') and not self.is_initializing()
        if moves and not self.use_running_average:
            values = np.prod(x.shape[:-1]) * (
                lax.axis_size(self.axis_name) if self.axis_name else 1
            )
            factor = values / max(values - 1, 1)
            after = self.get_variable('batch_stats', 'var')
            after = factor * after - (factor - 1) * self.momentum * before
            self.put_variable('batch_stats', 'var', after)
        return y


# Which estimates of the variance a batch norm's running variance averages: the batches' variances
# (Flax), or those times m / (m - 1).
RUNNING_VARIANCES: dict[str, type[nn.BatchNorm]] = {
    'biased': nn.BatchNorm,
    'unbiased': UnbiasedBatchNorm,
}


def batch_norm(
    *,
    train: bool,
    axis_name: str | None,
    dtype: Any,
    epsilon: float = EPSILON,
    use_scale: bool = True,
    running_variance: str = 'biased',
) -> Factory:
    """Factory of batch-norm layers with Chainer's decay and epsilon; statistics are float32.

    Args:
        train: True uses the batch's statistics and updates the running ones; False uses the running
            ones.
        axis_name: mapped axis over which statistics are shared; None keeps them per device.
        dtype: type of the output.
        epsilon: added to the variance.
        use_scale: with the multiplier gamma.
        running_variance: a name of `RUNNING_VARIANCES`.
    """
    return functools.partial(
        RUNNING_VARIANCES[running_variance],
        use_running_average=not train,
        momentum=DECAY,
        epsilon=epsilon,
        axis_name=axis_name,
        dtype=dtype,
        use_scale=use_scale,
    )


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gamma and beta are rows of tables (num_classes, features), picked by the
    labels.

    Float labels (b, num_classes) mix the rows, `labels @ table`: a morph between classes, as in the
    official code. Statistics are over the whole batch, all classes together.

    With `of_numbers`, labels are k = `num_classes` numbers, and gamma and beta are affine maps of
    them, `gamma + labels @ gamma_slopes`. The slopes start at 0, so all images have the same gamma
    and beta at first.

    Attributes:
        num_classes: rows of the tables, which start at 1 (gamma) and 0 (beta).
        of_numbers: labels are numbers and not classes: gamma and beta are vectors (n,), and
            `gamma_slopes` and `beta_slopes` tables of k rows.
        train, axis_name, dtype, epsilon, running_variance: as for `batch_norm`.
        maps: in place of the tables, `maps(features, name=...)` makes each of two layers, `gain` and
            `shift`, of what is given as labels: gamma is 1 + gain(labels), beta shift(labels), as in
            BigGAN (Brock et al. 2019, arXiv:1809.11096, appendix B).
    """

    num_classes: int
    train: bool
    axis_name: str | None = None
    dtype: Any = None
    epsilon: float = EPSILON
    running_variance: str = 'biased'
    of_numbers: bool = False
    maps: Factory | None = None

    @nn.compact
    def __call__(self, x: Float[Array, 'b *s n'], labels: Labels) -> Float[Array, 'b *s n']:
        norm = batch_norm(
            train=self.train,
            axis_name=self.axis_name,
            dtype=jnp.promote_types(x.dtype, jnp.float32),
            epsilon=self.epsilon,
            use_scale=False,
            running_variance=self.running_variance,
        )
        per_image = (x.shape[0],) + (1,) * (x.ndim - 2) + (x.shape[-1],)
        if self.maps is not None:
            gamma = 1 + self.maps(x.shape[-1], name='gain')(labels)
            beta = self.maps(x.shape[-1], name='shift')(labels)
        else:
            gamma = self._of(labels, 'gamma', nn.initializers.ones_init(), x.shape[-1])
            beta = self._of(labels, 'beta', nn.initializers.zeros_init(), x.shape[-1])
        gamma, beta = gamma.reshape(per_image), beta.reshape(per_image)
        y = norm(use_bias=False, name='batch_norm')(x) * gamma + beta
        return y.astype(self.dtype or x.dtype)

    def _of(
        self, labels: Labels, name: str, init: nn.initializers.Initializer, width: int
    ) -> Float[Array, 'b n']:
        """Gamma or beta of each image."""
        if not self.of_numbers:
            return _rows(jnp.asarray(self.param(name, init, (self.num_classes, width))), labels)
        # Apart from the rest, which a batch norm with or without classes has, too: a run may begin
        # with the weights of such a one (`snjax.training.transfer`).
        zeros = nn.initializers.zeros_init()
        slopes = self.param(f'{name}_slopes', zeros, (self.num_classes, width))
        return jnp.asarray(self.param(name, init, (width,))) + _rows(jnp.asarray(slopes), labels)


def _rows(table: Float[Array, 'k n'], labels: Labels) -> Float[Array, 'b n']:
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return jnp.take(table, labels, axis=0)
    return jnp.dot(labels, table, precision=lax.Precision.HIGHEST)


def check_labels(labels: Labels | None, num_classes: int, num_conditions: int = 0) -> None:
    """Raises ValueError if a generator's labels are missing, superfluous or of another shape."""
    if num_conditions:
        shape = None if labels is None else labels.shape[1:]
        if labels is None or shape != (num_conditions,):
            given = 'none' if labels is None else f'{labels.dtype} labels {labels.shape}'
            raise ValueError(
                f'a generator with {num_conditions} conditions was given {given}: pass float numbers '
                f'(batch, {num_conditions})'
            )
        return
    if not num_classes:
        if labels is not None:
            raise ValueError(
                'labels were given to an unconditional generator: leave them out, or give it '
                'classes (--config.model.num_classes)'
            )
        return
    if labels is None:
        raise ValueError(
            f'a generator of {num_classes} classes was given no labels: pass whole numbers (batch,) '
            f'or weights (batch, {num_classes}), or make it unconditional '
            '(--config.model.num_classes=0)'
        )
    if labels.shape[1:] != (() if jnp.issubdtype(labels.dtype, jnp.integer) else (num_classes,)):
        raise ValueError(
            f'a generator of {num_classes} classes was given {labels.dtype} labels {labels.shape}: '
            f'accepted are whole numbers (batch,) and float weights (batch, {num_classes})'
        )


def generator_norms(
    labels: Labels | None,
    num_classes: int,
    *,
    train: bool,
    axis_name: str | None,
    dtype: Any,
    epsilon: float = EPSILON,
    running_variance: str = 'biased',
    num_conditions: int = 0,
    maps: Factory | None = None,
) -> tuple[Factory, Factory]:
    """The factories `plain(name=...)` and `conditional(name=...)` of a generator's batch norms.

    The second holds the labels; without classes both are the same.

    Args:
        labels: classes (b,), float weights (b, num_classes), or None.
        num_classes: 0 for an unconditional generator.
        train, axis_name, dtype, epsilon, running_variance: as for `batch_norm`.
        num_conditions: of a generator whose labels are numbers (b, num_conditions).
        maps: as for `ConditionalBatchNorm`; `labels` are then what `gain` and `shift` take.

    Raises:
        ValueError: labels are missing, superfluous or of another shape.
    """
    kwargs: dict[str, Any] = {'train': train, 'axis_name': axis_name, 'dtype': dtype}
    kwargs |= {'epsilon': epsilon, 'running_variance': running_variance}
    plain = batch_norm(**kwargs)
    if maps is None:
        check_labels(labels, num_classes, num_conditions)
    if labels is None:
        return plain, plain
    if num_conditions:
        kwargs['of_numbers'] = True

    def conditional(*, name: str):
        num = num_classes or num_conditions
        layer = ConditionalBatchNorm(num, **kwargs, maps=maps, name=name)
        return lambda x: layer(x, labels)

    return plain, conditional


# --- of a discriminator: `norm(train=..., name=..., axis_name=..., dtype=...)`


def activation_batch_norm(
    *, train: bool, name: str, axis_name: str | None = None, dtype: Any, use_scale: bool = False
) -> Callable[[Array], Array]:
    """Batch norm of a discriminator's activations; gamma only with `use_scale`."""
    return batch_norm(train=train, axis_name=axis_name, dtype=dtype, use_scale=use_scale)(name=name)


def activation_layer_norm(
    *, train: bool, name: str, axis_name: str | None = None, dtype: Any, use_scale: bool = False
) -> nn.Module:
    """Layer norm (Ba et al. 2016, arXiv:1607.06450) of images (b, h, w, c).

    Mean and variance are over h, w and c of each image; beta (and gamma, with `use_scale`) has one
    entry per channel, as in improved_wgan_training. `train` and `axis_name` change nothing.
    """
    del train, axis_name
    return nn.LayerNorm(
        epsilon=LAYER_NORM_EPSILON,
        reduction_axes=(1, 2, 3),
        feature_axes=-1,
        use_scale=use_scale,
        dtype=dtype,
        name=name,
    )


def no_norm(**_) -> Callable[[Array], Array]:
    """The factory of the identity."""
    return lambda x: x
