"""Losses of the classes by their formulas, over one device and several, and in a training."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import acgan_cifar
from experiments import acgan, build
from experiments.modes.measure_gan import Effort, Measurement
from helpers import tiny_gan
from snjax import models, parallel, spectral
from snjax.models.heads import HEADS, output_head
from snjax.objectives import class_losses
from snjax.objectives.class_losses import CLASS_LOSSES, OPTIONS

NUM_CLASSES, NUM = 3, 8
RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 1, 2, 0, 1, 2, 0])
alone = class_losses.one_device
OF_HEAD = {'contragan': {'temperature': 0.7}, 'reacgan': {'temperature': 0.5, 'margin': 0.6}}


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


EMBEDDED, PROXIES = unit(RNG.normal(size=(NUM, 4))), unit(RNG.normal(size=(NUM_CLASSES, 4)))


def contragan(embedded, proxies, temperature):
    """Sums as they stand in the paper, an image at a time."""
    losses = []
    for i, y in enumerate(LABELS):
        own = np.exp(embedded[i] @ proxies[y] / temperature)
        alike = {j: np.exp(embedded[i] @ embedded[j] / temperature) for j in range(NUM) if j != i}
        positive = own + sum(value for j, value in alike.items() if LABELS[j] == y)
        losses.append(-np.log(positive / (own + sum(alike.values()))))
    return np.mean(losses)


def reacgan(embedded, proxies, temperature, margin):
    """As the authors' code, an image at a time: its maximum is over all other images, unclipped."""
    losses = []
    for i, y in enumerate(LABELS):
        own = min(embedded[i] @ proxies[y] - margin, 0) / temperature
        near = [
            ((embedded[i] @ embedded[j] - 1 + margin) / temperature, LABELS[j])
            for j in range(NUM)
            if j != i
        ]
        most = max(value for value, _ in near)
        apart = sum(np.exp(max(value, 0) - most) for value, of in near if of != y)
        losses.append(-np.log(np.exp(own) / (np.exp(own) + apart)))
    return np.mean(losses)


FORMULAS = {'contragan': contragan, 'reacgan': reacgan}


def outputs(embedded, proxies):
    return jnp.asarray(embedded @ proxies.T, jnp.float32), jnp.asarray(embedded, jnp.float32)


@pytest.mark.parametrize('head', FORMULAS)
def test_losses_are_their_formulas(head):
    loss = functools.partial(CLASS_LOSSES[head], whole=alone, **OF_HEAD[head])
    value, accuracy = loss(*outputs(EMBEDDED, PROXIES), jnp.asarray(LABELS))
    expected = FORMULAS[head](EMBEDDED, PROXIES, **OF_HEAD[head])
    assert float(value) == pytest.approx(expected, rel=1e-5) and expected > 0.1
    assert accuracy == np.mean((EMBEDDED @ PROXIES.T).argmax(1) == LABELS)
    assert tuple(OF_HEAD[head]) == OPTIONS[head]


@pytest.mark.parametrize(
    ('head', 'options'), [('contragan', {}), ('reacgan', {'margin': 0.98})], ids=str
)
@pytest.mark.parametrize(('num', 'temperature'), [(NUM, 0.005), (1, 0.5)])
def test_losses_and_slopes_are_finite(head, options, num, temperature):
    """Where exp overflows float32, and without another image."""
    loss = functools.partial(CLASS_LOSSES[head], whole=alone, temperature=temperature, **options)
    proxies, embedded = (jnp.asarray(x, jnp.float32) for x in (PROXIES, EMBEDDED[:num]))
    labels = jnp.asarray(LABELS[:num])
    value, slopes = jax.value_and_grad(lambda x: loss(x @ proxies.T, x, labels)[0])(embedded)
    assert (value > 10 if num > 1 else value == 0) and np.isfinite(slopes).all()


@pytest.mark.parametrize('head', FORMULAS)
def test_images_that_lie_on_their_proxies_cost_less(head):
    loss = functools.partial(CLASS_LOSSES[head], whole=alone, **OF_HEAD[head])
    perfect, proxies = np.eye(4)[LABELS], np.eye(4)[:NUM_CLASSES]
    best, accuracy = loss(*outputs(perfect, proxies), jnp.asarray(LABELS))
    worse, _ = loss(*outputs(EMBEDDED, PROXIES), jnp.asarray(LABELS))
    assert accuracy == 1 and best < worse


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    value, accuracy = class_losses.cross_entropy(logits, jnp.array([0, 1]))
    assert float(value) == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2, rel=1e-6)
    assert accuracy == 0.5
    assert set(CLASS_LOSSES) == set(OPTIONS) == set(HEADS) - {'none', 'projection'}


@pytest.mark.parametrize('head', FORMULAS)
def test_two_devices_are_one(head):
    """The value, and the gradient of shared weights averaged over devices."""
    images = jnp.asarray(RNG.normal(size=(NUM, 5)), jnp.float32)
    weights = jnp.asarray(RNG.normal(size=(5, 4)), jnp.float32)

    def value(weights, images, labels, **whole):
        embedded = images @ weights
        embedded /= jnp.linalg.norm(embedded, axis=1, keepdims=True)
        similar = embedded @ jnp.asarray(PROXIES, jnp.float32).T
        return CLASS_LOSSES[head](similar, embedded, labels, **OF_HEAD[head], **whole)[0]

    def share(images, labels):
        return parallel.mean(jax.value_and_grad(value)(weights, images, labels))

    labels = jnp.asarray(LABELS)
    parts = images.reshape(2, 4, 5), labels.reshape(2, 4)
    found = jax.jit(jax.vmap(share, axis_name=parallel.AXIS))(*parts)
    one, gradient = jax.value_and_grad(value)(weights, images, labels, whole=alone)
    np.testing.assert_allclose(found[0], [one, one], rtol=1e-5)
    np.testing.assert_allclose(found[1], [gradient, gradient], rtol=1e-4, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


def test_the_head_embeds_images_and_classes_on_a_sphere():
    dis = models.make_discriminator(
        architecture='sngan_cnn',
        image_size=16,
        dis_width=4,
        head='reacgan',
        num_classes=NUM_CLASSES,
        layers=models.PLAIN,
        dim_embed=6,
        dis_lipschitz=2.5,
    )
    x = jnp.asarray(RNG.normal(size=(4, 16, 16, 3)), jnp.float32)
    variables = dis.init(jax.random.key(0), x, train=False)
    apply = functools.partial(dis.apply, train=True, capture_intermediates=True)
    (logits, similar, embedded), state = jax.jit(apply)(variables, x)
    seen, params = state['intermediates'], variables['params']
    assert set(params) >= {'score', 'project', 'embed'}
    np.testing.assert_allclose(
        embedded, unit(np.asarray(seen['project']['__call__'][0])), atol=1e-5
    )
    proxies = unit(np.asarray(params['embed']['embedding']))
    assert proxies.shape == (NUM_CLASSES, 6)
    np.testing.assert_allclose(similar, np.asarray(embedded) @ proxies.T, atol=1e-5)
    np.testing.assert_allclose(logits, 2.5 * seen['score']['__call__'][0][:, 0], rtol=1e-5)


class Headed(nn.Module):
    """A small discriminator with the head of ReACGAN."""

    head: str = 'reacgan'

    @nn.compact
    def __call__(self, x, labels=None, *, train):
        h = nn.tanh(spectral.SNDense(10, name='hidden')(x.reshape(len(x), -1)))
        layers = {'dense': spectral.SNDense, 'embed': spectral.SNEmbed}
        init = nn.initializers.normal(0.5)
        kwargs = {'head': self.head, 'num_classes': NUM_CLASSES, 'dim_embed': 4}
        return output_head(h, labels, init=init, **kwargs, **layers)


def test_a_training_minimizes_it_for_both_players():
    loss = functools.partial(CLASS_LOSSES['reacgan'], **OF_HEAD['reacgan'])
    gan = tiny_gan.make_gan(
        acgan.AcGan,
        dis=Headed(),
        num_classes=NUM_CLASSES,
        dis_class_weight=2.0,
        gen_class_weight=0.5,
        class_loss=loss,
    )
    images, classes = tiny_gan.images(1)[0], np.arange(6) % NUM_CLASSES
    batch = {'image': np.repeat(images[None], 1, 0), 'label': classes[None].astype(np.int32)}
    state = tiny_gan.filled(gan)
    step = tiny_gan.compiled(
        lambda s, image, label, key: gan.train_step(
            s, {'image': image, 'label': label}, jax.random.wrap_key_data(key)
        )
    )
    key = np.asarray(jax.random.key_data(jax.random.key(0)))
    found = []
    for _ in range(12):
        state, metrics = step(state, batch['image'], batch['label'], key)
        found.append(metrics)
    assert found[-1]['dis_class_loss'] < found[0]['dis_class_loss']
    assert all(np.isfinite(x) for m in found for x in m.values())
    assert {'gen_class_loss', 'class_accuracy', 'fake_class_accuracy'} <= set(found[0])
    proxies = state.dis.params['embed']['embedding'], tiny_gan.filled(gan).dis.params['embed']
    assert np.abs(proxies[0] - proxies[1]['embedding']).max() > 1e-4


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'model.head': 'projection'}, 'acgan is defined by model.head=acgan, contragan, reacgan'),
        ({'model.head': 'reagan'}, "head is 'reagan'"),
        ({'method': 'gan', 'model.head': 'reacgan'}, 'method is gan, .* --config.method=acgan'),
        ({'method': 'wgan_gp'}, "is 'acgan', but method is wgan_gp, .*model.head=projection"),
        ({'model.head': 'contragan', 'accumulate': 2}, 'accumulate is 2, but model.head=contragan'),
        ({'model.head': 'reacgan', 'acgan.margin': 1.5}, 'acgan.margin is 1.5'),
        ({'model.head': 'reacgan', 'acgan.temperature': 0.0}, 'acgan.temperature is 0.0'),
        ({'model.head': 'reacgan', 'model.dim_embed': 0}, 'model.dim_embed is 0'),
    ],
)
def test_what_is_not_accepted_is_one_line(changes, message):
    config = acgan_cifar.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        build.plan(config)


def test_its_discriminator_is_measured_on_one_device():
    loss = functools.partial(CLASS_LOSSES['reacgan'], **OF_HEAD['reacgan'])
    weights = {'dis_class_weight': 2.0, 'gen_class_weight': 0.5, 'class_loss': loss}
    gan = tiny_gan.make_gan(acgan.AcGan, dis=Headed(), num_classes=NUM_CLASSES, **weights)
    state = jax.tree.map(jnp.asarray, tiny_gan.filled(gan))
    pixels = RNG.integers(0, 256, (6, *tiny_gan.IMAGE)).astype(np.uint8)
    effort = Effort(num=6, starts=2, ascent_steps=3, norm_steps=12)
    found = Measurement(gan, pixels, np.arange(6, dtype=np.int32) % NUM_CLASSES, effort)(state)
    assert found['gen/image_gradient'] > 0 and np.isfinite(list(found.values())).all()


@pytest.mark.parametrize('head', ['contragan', 'reacgan'])
def test_a_config_names_the_head(head):
    config = acgan_cifar.get_config()
    config.update_from_flattened_dict({'model.head': head, 'acgan.temperature': 0.5})
    gan = build.method(config)
    assert gan.dis.head == head and gan.dis.dim_embed == 512
    assert gan.class_loss.func is CLASS_LOSSES[head]
    assert gan.class_loss.keywords == {
        k: {'temperature': 0.5, 'margin': 0.98}[k] for k in OPTIONS[head]
    }
