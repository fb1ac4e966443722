"""Networks and image sets from a run's config: the only file of snjax that reads config keys."""

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

import flax.linen as nn

from snjax import models, parallel

if TYPE_CHECKING:
    from snjax.data import ImageSet, ImageSource


def generator(config: Any, *, layers: Any = None, training: bool = False) -> nn.Module:
    """The generator of a run.

    Args:
        config: of the run, nested, with string keys.
        layers: its layer set; None for the one that `model.gen_normalization` names.
        training: whether batch norm shares its statistics over devices (`model.sync_batch_norm`).
    """
    model, data = config['model'], config['data']
    return models.make_generator(
        architecture=model['architecture'],
        image_size=data['image_size'],
        channels=data['channels'],
        gen_width=model['gen_width'],
        variant=model['variant'],
        num_classes=model['num_classes'],
        normalization=layers or model['gen_normalization'],
        attention=model['attention'],
        n_power_iterations=model['n_power_iterations'],
        n_warmup_iterations=model['n_warmup_iterations'],
        batch_norm_axis=parallel.AXIS if training and model['sync_batch_norm'] else None,
        dtype=model['dtype'],
        remat=model.get('remat', False),  # runs from before there was this key
    )


def discriminator(config: Any, *, layers: Any = None, head: str | None = None) -> nn.Module:
    """The discriminator of a run in training.

    Args:
        config: of the run, nested, with string keys.
        layers: its layer set; None for the one that `model.normalization` names.
        head: how it is conditioned; None for `model.head`.
    """
    model = config['model']
    return models.make_discriminator(
        architecture=model['architecture'],
        image_size=config['data']['image_size'],
        dis_width=model['dis_width'],
        variant=model['variant'],
        normalization=layers or model['normalization'],
        n_power_iterations=model['n_power_iterations'],
        n_warmup_iterations=model['n_warmup_iterations'],
        init=model['dis_init'],
        sn_operator=model['sn_operator'],
        sn_scale=model['sn_scale'],
        lipschitz=model['lipschitz'],
        dis_lipschitz=model['dis_lipschitz'],
        num_classes=model['num_classes'],
        head=head or model['head'],
        attention=model['attention'],
        first_stride2=model['first_stride2'],
        batch_norm_axis=parallel.AXIS if model['sync_batch_norm'] else None,
        dtype=model['dtype'],
        remat=model['remat'],
    )


def spectral_layers(config: Any) -> Any:
    """Spectrally normalised layers with the options of a run's config."""
    return 'spectral'


@dataclasses.dataclass(frozen=True)
class GeneratorInputs:
    """What a run's generator takes.

    Attributes:
        dim_z: length of z.
        latent: distribution of z, one of `snjax.latents.sampling.LATENTS`.
        num_classes: number of classes; 0 for an unconditional generator.
    """

    dim_z: int
    latent: str
    num_classes: int


def generator_inputs(config: Any) -> GeneratorInputs:
    """Length and distribution of z and the number of classes in a run's config."""
    model = config['model']
    return GeneratorInputs(model['dim_z'], model['latent'], model['num_classes'])


def shared_generator(config: Any) -> nn.Module:
    """`generator`, but the same module for every config of the same network.

    Two modules with normalised layers are never equal, so each would be compiled anew.
    """
    data = {key: config['data'][key] for key in ('image_size', 'channels')}
    keys = {'model': dict(config['model']), 'data': data}
    return _shared_generator(json.dumps(keys, sort_keys=True))


@functools.cache
def _shared_generator(keys: str) -> nn.Module:
    return generator(json.loads(keys))


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

    d = {**config['data'], **changes}
    return data.find(
        d['name'],
        image_size=d['image_size'],
        channels=d['channels'],
        split=d['split'],
        data_dir=d['data_dir'] or None,
        path=d['path'] or None,
        skip_broken=d['skip_broken'],
        cache_dir=d['cache_dir'] or None,
        decode_later=d.get('stream') == 'decode',
    )
