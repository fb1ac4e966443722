"""Small changes of the methods, each of which a fixture has to notice.

Every mutation has the model that shows it, keys of the config, and names that are patched.
"""

import contextlib
import dataclasses
import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

Patch = tuple[Any, str, Any]  # module, name, value


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A change, by the model whose fixture notices it."""

    model: str
    keys: dict[str, Any] = dataclasses.field(default_factory=dict)
    patches: Callable[[], list[Patch]] = list

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for module, name, value in self.patches():
                stack.enter_context(mock.patch.object(module, name, value))
            yield


def _gradient_through_u() -> list[Patch]:
    from jax import lax

    # The package has a function of the module's name.
    power_iteration = importlib.import_module('snjax.spectral.power_iteration')
    members = vars(lax) | {'stop_gradient': lambda x: x}
    return [(power_iteration, 'lax', types.SimpleNamespace(**members))]


def _decay_one_update_early() -> list[Patch]:
    from experiments import build
    from snjax.training.optimizers import linear_decay

    def early(lr, decay_start, decay_end):
        rate = linear_decay(lr, decay_start, decay_end)
        return lambda step: rate(step + 1)

    return [(build, 'linear_decay', early)]


def _batch_norm_momentum() -> list[Patch]:
    from snjax.nn import normalization

    return [(normalization, 'DECAY', 0.99)]


def _hinge_margin() -> list[Patch]:
    import jax
    import jax.numpy as jnp

    from snjax.objectives import losses

    def dis(real, fake):
        return jnp.mean(jax.nn.relu(0.9 - real)) + jnp.mean(jax.nn.relu(0.9 + fake))

    changed = losses.LOSSES | {'hinge': losses.Loss(dis, losses.hinge_gen)}
    from experiments import sngan

    return [(sngan, 'LOSSES', changed)]


def _projection_without_sum() -> list[Patch]:
    import jax.numpy as jnp

    from snjax.models import heads

    members = vars(jnp) | {'sum': lambda x, axis: x[..., 0]}
    return [(heads, 'jnp', types.SimpleNamespace(**members))]


def _table_transposed() -> list[Patch]:
    from snjax.nn import normalization

    rows = normalization._rows
    return [(normalization, '_rows', lambda t, labels: rows(t.T.reshape(t.shape), labels))]


def _alpha_per_pixel() -> list[Patch]:
    import jax.numpy as jnp

    from snjax.objectives import penalties

    def between(start, end, alpha):
        places = jnp.arange(1, 1 + start[0].size, dtype=start.dtype).reshape(start.shape[1:])
        return start + jnp.mod(alpha[:, None, None, None] * places, 1) * (end - start)

    return [(penalties, '_between', between)]


def _no_projection_of_z() -> list[Patch]:
    from experiments import glo

    return [(glo, 'project', lambda z: z)]


def _batch_norm_epsilon() -> list[Patch]:
    from snjax.models import radford

    return [(radford, 'EPSILON', 2e-5)]


MUTATIONS = {
    'order_of_play': Mutation('cnn', {'update_order': 'dis_first'}),
    'gradient_through_u': Mutation('cnn', patches=_gradient_through_u),
    'decay_one_update_early': Mutation('resnet', patches=_decay_one_update_early),
    'batch_norm_momentum': Mutation('glo_l2', patches=_batch_norm_momentum),
    'hinge_margin': Mutation('resnet', patches=_hinge_margin),
    'projection_without_sum': Mutation('cgan', patches=_projection_without_sum),
    'table_transposed': Mutation('cgan', patches=_table_transposed),
    'alpha_per_pixel': Mutation('wgangp', patches=_alpha_per_pixel),
    'no_projection_of_z': Mutation('glo_l2', patches=_no_projection_of_z),
    'adams_epsilon': Mutation('dcgan', {'optimizer.eps_form': 'adam'}),
    # Beyond the classic ten: what this comparison has found.
    'batch_norm_epsilon': Mutation('glo_l2', patches=_batch_norm_epsilon),
    'running_variance': Mutation('glo_l2', {'model.running_variance': 'biased'}),
    'new_fakes_for_dis': Mutation('dcgan', {'update_order': 'gen_first'}),
    'one_rate_for_both': Mutation('acgan', {'optimizer.gen_lead': 0}),
    'slopes_at_augmented_images': Mutation('r3gan', {'penalty.through_augment': False}),
    'classes_of_no_pair': Mutation('r3gan', {'model.fake_classes': 'uniform'}),
    'constant_beta2': Mutation('r3gan', {'burn_in.beta2': 0.0}),
    'reals_and_fakes_apart': Mutation('biggan_cifar', {'model.spectral_updates': 'per_forward'}),
    'once_per_update_in_both': Mutation('biggan_cifar', {'model.spectral_updates': 'per_update'}),
    'whole_regularization': Mutation('biggan', {'penalty.gen_orthogonal': 1e-4}),
    'once_per_update': Mutation('cnn', {'model.spectral_updates': 'per_update'}),
}
# Those of the smallest network, whose programs compile in seconds.
QUICK = tuple(name for name, m in MUTATIONS.items() if m.model == 'glo_l2')
