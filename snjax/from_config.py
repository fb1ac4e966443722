"""Networks and image sets as a run's config names them: the only file of the library that knows
config keys.

A config is nested, with string keys: a `ConfigDict` or the dict of a run's `config.json`. Configs
of older runs lack newer keys; an argument whose key is absent keeps its default.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from snjax import models
from snjax.models import BATCH_NORM, LAYER_NORM, PLAIN, WEIGHT_NORM, Layers
from snjax.models.arguments import choose

if TYPE_CHECKING:
    from snjax.data import ImageSet


def generator(
    config: Any, *, layers: Layers | None = None, batch_norm_axis: str | None = None
) -> models.Generator:
    """The generator that a config describes.

    Args:
        config: of this version or an older one, which may have the old name of an architecture.
        layers: the layer set; None for the one that `model.gen_normalization` names.
        batch_norm_axis: the devices' in training, None elsewhere.
    """
    model, data = config['model'], config['data']
    name: str = model['architecture']
    return models.make_generator(
        architecture=models.RENAMED.get(name, name),
        layers=generator_layers(config) if layers is None else layers,
        batch_norm_axis=batch_norm_axis,
        **_present(data, 'image_size', 'channels'),
        **_present(model, 'gen_width', 'variant', 'num_classes', 'attention', 'dtype', 'remat'),
    )


def discriminator(
    config: Any, *, layers: Layers | None = None, batch_norm_axis: str | None = None
) -> models.Discriminator:
    """The discriminator that a config of this version describes; its kernels start as
    `model.dis_init` says.

    Args:
        config: of this version.
        layers: the layer set; None for the one that `model.normalization` names.
        batch_norm_axis: the devices' in training, None elsewhere.
    """
    model = config['model']
    layers = discriminator_layers(config) if layers is None else layers
    if choose('dis_init', model['dis_init'], ('published', 'orthogonal')) == 'orthogonal':
        layers = models.orthogonal_start(layers)
    return models.make_discriminator(
        layers=layers,
        batch_norm_axis=batch_norm_axis,
        **_present(config['data'], 'image_size'),
        **_present(model, 'architecture', 'dis_width', 'variant', 'num_classes', 'head'),
        **_present(model, 'attention', 'first_stride2', 'dis_lipschitz', 'dtype', 'remat'),
    )


def spectral_layers(config: Any) -> Layers:
    """`spectral_norm` with the options of a config."""
    factors = _present(config['model'], 'lipschitz', learnable_scale='sn_scale')
    return models.spectral_norm(**_iteration(config), **factors)


def tracked_layers(config: Any) -> Layers:
    """`tracked` with the options of a config."""
    return models.tracked(**_iteration(config))


def _iteration(config: Any) -> dict[str, Any]:
    model = config['model']
    return _present(model, 'n_power_iterations', 'n_warmup_iterations', operator='sn_operator')


_GEN_LAYERS: dict[str, Callable[[Any], Layers]] = {
    'none': lambda config: PLAIN,
    'spectral': lambda config: models.spectral_norm(
        **_present(config['model'], 'n_power_iterations', 'n_warmup_iterations')
    ),
}
_DIS_LAYERS: dict[str, Callable[[Any], Layers]] = {
    'spectral': spectral_layers,
    'none': lambda config: PLAIN,
    'weight': lambda config: WEIGHT_NORM,
    'layer': lambda config: LAYER_NORM,
    'batch': lambda config: BATCH_NORM,
    'tracked': tracked_layers,
}


def generator_layers(config: Any) -> Layers:
    """The layer set that `model.gen_normalization` names."""
    name = config['model']['gen_normalization']
    return _GEN_LAYERS[choose('gen_normalization', name, _GEN_LAYERS)](config)


def discriminator_layers(config: Any) -> Layers:
    """The layer set that `model.normalization` names."""
    name = config['model']['normalization']
    return _DIS_LAYERS[choose('normalization', name, _DIS_LAYERS)](config)


def image_set(config: Any, announce: Callable[[int], None] | None = None) -> 'ImageSet':
    """The training set that a config names; `announce` as in `snjax.data.load`."""
    # Imported here, so that drawing samples does not wait for the readers of data sets.
    from snjax import data

    d = config['data']
    return data.load(
        d['name'],
        **_present(d, 'image_size', 'channels', 'split', 'skip_broken'),
        data_dir=d['data_dir'] or None,
        path=d['path'] or None,
        cache_dir=d['cache_dir'] or None,
        decode_later=_present(d, 'stream') == {'stream': 'decode'},
        announce=announce,
    )


def _present(section: Mapping[str, Any], *keys: str, **renamed: str) -> dict[str, Any]:
    """The arguments whose key is there; `renamed` are arguments whose key has another name."""
    names = {key: key for key in keys} | renamed
    return {argument: section[key] for argument, key in names.items() if key in section}
