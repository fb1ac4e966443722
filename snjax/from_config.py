"""Networks and image sets from a run's config: the only file of snjax that reads config keys.

A config is nested, with string keys: a `ConfigDict` or the dict of a run's `config.json`. Configs
of older runs lack newer keys. An argument whose key is absent keeps its default, which is what the
code did before there was the key.
"""

import dataclasses
import functools
import json
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from snjax import models, parallel
from snjax.image_format import DEPTHS, sides, words
from snjax.models import BATCH_NORM, LAYER_NORM, PLAIN, WEIGHT_NORM, Layers
from snjax.models.arguments import choose

if TYPE_CHECKING:
    from snjax.data import ImageSet, ImageSource


class Facts(NamedTuple):
    """What a line on a run names."""

    method: str
    data: str
    shape: str  # '16x16x1'
    architecture: str
    num_steps: int
    seed: int


def facts(config: Any) -> Facts:
    """The facts of a run's config."""
    data, model = config['data'], config['model']
    name = str(model['architecture'])
    return Facts(
        method=config['method'],
        data=data['name'],
        shape=f'{words(data["image_size"])}x{data["channels"]}',
        architecture=models.RENAMED.get(name, name),
        num_steps=config['num_steps'],
        seed=config['seed'],
    )


def generator(
    config: Any, *, layers: Layers | None = None, training: bool = False
) -> models.Generator:
    """The generator that a config describes.

    Args:
        config: of this version or an older one, which may have the old name of an architecture.
        layers: the layer set; None for the one that `model.gen_normalization` names.
        training: whether batch norm shares its statistics over devices, if
            `model.sync_batch_norm` says so.
    """
    model, data = config['model'], config['data']
    name: str = model['architecture']
    return models.make_generator(
        architecture=models.RENAMED.get(name, name),
        layers=generator_layers(config) if layers is None else layers,
        batch_norm_axis=parallel.AXIS
        if training and _value(model, 'sync_batch_norm', True)
        else None,
        **_present(data, 'image_size', 'channels'),
        **_present(model, 'gen_width', 'variant', 'num_classes', 'gen_conditioning'),
        **_present(model, 'attention', 'dtype', 'remat', 'running_variance', 'num_conditions'),
    )


def discriminator(
    config: Any, *, layers: Layers | None = None, head: str | None = None
) -> models.Discriminator:
    """The discriminator in training that a config describes.

    Args:
        config: of this version.
        layers: the layer set; None for the one that `model.normalization` names.
        head: how it is conditioned; None for `model.head`.
    """
    model = config['model']
    layers = discriminator_layers(config) if layers is None else layers
    dis_init = _value(model, 'dis_init', 'published')
    if choose('dis_init', dis_init, ('published', 'orthogonal')) == 'orthogonal':
        layers = models.orthogonal_start(layers)
    return models.make_discriminator(
        layers=layers,
        head=_value(model, 'head', 'none') if head is None else head,
        batch_norm_axis=parallel.AXIS if _value(model, 'sync_batch_norm', True) else None,
        **_present(config['data'], 'image_size'),
        **_present(model, 'architecture', 'dis_width', 'variant', 'num_classes'),
        **_present(model, 'attention', 'first_stride2', 'dis_lipschitz', 'dtype', 'remat'),
        **_present(model, 'num_conditions', 'dim_embed'),
    )


def frozen_layers(config: Any) -> tuple[str, ...]:
    """Names of the discriminator's layers whose weights stay (`transfer.frozen`).

    Raises:
        ValueError: the discriminator has not so many blocks; one line.
    """
    num = _value(config, 'transfer', {}).get('frozen', 0)
    if not num:
        return ()
    blocks = discriminator(config, layers=models.PLAIN).blocks_from_image()
    if num > len(blocks):
        raise ValueError(
            f'transfer.frozen is {num}, but this discriminator has {len(blocks)} blocks: '
            f'--config.transfer.frozen={len(blocks)} freezes all but its head'
        )
    return tuple(name for block in blocks[:num] for name in block)


def spectral_layers(config: Any) -> Layers:
    """Spectrally normalized layers for a discriminator, with the options of a config."""
    options = _present(config['model'], 'lipschitz', 'embed_u', learnable_scale='sn_scale')
    return models.spectral_norm(**_iteration(config), **options)


def tracked_layers(config: Any) -> Layers:
    """`tracked` with the options of a config."""
    return models.tracked(**_iteration(config))


def _iteration(config: Any) -> dict[str, Any]:
    model = config['model']
    keys = 'n_power_iterations', 'n_warmup_iterations', 'n_singular_values'
    return _present(model, *keys, operator='sn_operator')


def gen_spectral_layers(config: Any) -> Layers:
    """Spectrally normalized layers for a generator: the numbers of iterations are D's."""
    keys = 'n_power_iterations', 'n_warmup_iterations', 'n_singular_values'
    return models.spectral_norm(**_present(config['model'], *keys))


_GEN_LAYERS: dict[str, Callable[[Any], Layers]] = {
    'none': lambda config: PLAIN,
    'spectral': gen_spectral_layers,
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
    name = _value(config['model'], 'gen_normalization', 'none')
    return _GEN_LAYERS[choose('gen_normalization', name, _GEN_LAYERS)](config)


def discriminator_layers(config: Any) -> Layers:
    """The layer set that `model.normalization` names."""
    name = _value(config['model'], 'normalization', 'spectral')
    return _DIS_LAYERS[choose('normalization', name, _DIS_LAYERS)](config)


@dataclasses.dataclass(frozen=True)
class GeneratorInputs:
    """What a run's generator takes.

    Attributes:
        dim_z: length of z.
        latent: distribution of z, one of `snjax.latents.sampling.LATENTS`.
        num_classes: number of classes; 0 for an unconditional generator.
        fake_classes: 'uniform'; else the classes of scored fakes are as often as in the set.
        num_conditions: numbers per image in place of classes; 0 for none.
    """

    dim_z: int = 128
    latent: str = 'normal'
    num_classes: int = 0
    fake_classes: str = 'uniform'
    num_conditions: int = 0

    def labels_like(self, num: int) -> jax.ShapeDtypeStruct | None:
        """Shape and type of the labels of `num` images; None for an unconditional generator."""
        if self.num_conditions:
            return jax.ShapeDtypeStruct((num, self.num_conditions), jnp.float32)
        return jax.ShapeDtypeStruct((num,), jnp.int32) if self.num_classes else None


def generator_inputs(config: Any) -> GeneratorInputs:
    """Length and distribution of z and the classes in a run's config."""
    keys = 'dim_z', 'latent', 'num_classes', 'fake_classes', 'num_conditions'
    return GeneratorInputs(**_present(config['model'], *keys))


def shared_generator(config: Any) -> models.Generator:
    """`generator`, but the same module for every config of the same network.

    Two modules with normalized layers are never equal, so each would be compiled anew.
    """
    data = _present(config['data'], 'image_size', 'channels')
    keys = {'model': dict(config['model']), 'data': data}
    return _shared_generator(json.dumps(keys, sort_keys=True))


@functools.cache
def _shared_generator(keys: str) -> models.Generator:
    return generator(json.loads(keys))


def images_shape(config: Any, num: int) -> jax.ShapeDtypeStruct:
    """Shape and type of `num` images of a config's set."""
    data = config['data']
    shape = num, *sides(data['image_size']), data['channels']
    return jax.ShapeDtypeStruct(shape, DEPTHS[bits(config)])


def bits(config: Any) -> int:
    """Bits of a pixel's value, 8 or 16."""
    return _value(_value(config, 'data', {}), 'bits', 8)


def training_split(config: Any) -> str:
    """The split that a run is trained on."""
    return _value(config['data'], 'split', 'train')


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a run's config that names no file of the machine it ran on, to be given away."""
    places = {'data': ('data_dir', 'cache_dir', 'path'), 'eval': ('weights',)}
    found = json.loads(json.dumps(config))
    groups = [
        (found, ('init_from',)),
        *((found.get(group, {}), names) for group, names in places.items()),
    ]
    for section, names in groups:
        section.update({name: '' for name in names if name in section})
    return found


def image_set(config: Any, **changes: Any) -> 'ImageSet':
    """Loads the training set of a run's config (nested, with string keys).

    Args:
        config: of the run.
        changes: replace keys of `config['data']`, as `split='test'` or `data_dir='/data'`.
    """
    return image_source(config, **changes).read()


def image_source(config: Any, **changes: Any) -> 'ImageSource':
    """`image_set`, found but not yet decoded: the number of images is known before they are."""
    # Imported here: sampling alone need not wait for the readers of data sets.
    from snjax import data

    d, model = ChainMap(changes, config['data']), _value(config, 'model', {})
    return data.find(
        d['name'],
        **_present(d, 'image_size', 'channels', 'fit', 'bits', 'split', 'skip_broken'),
        **_present(d, 'labels'),
        # Read only where the model takes them: other models need not care what the table says.
        conditions=_value(d, 'conditions', '') if _value(model, 'num_conditions', 0) else None,
        # Empty means absent.
        data_dir=d.get('data_dir') or None,
        path=d.get('path') or None,
        cache_dir=d.get('cache_dir') or None,
        decode_later=d.get('stream') == 'decode',
    )


def _present(section: Any, *keys: str, **renamed: str) -> dict[str, Any]:
    """The arguments that a config has keys for; `renamed` are arguments whose key has another name."""
    names = {key: key for key in keys} | renamed
    return {argument: section[key] for argument, key in names.items() if key in section}


def _value(section: Any, key: str, default: Any) -> Any:
    """The value of a key, which may be absent."""
    return section[key] if key in section else default
