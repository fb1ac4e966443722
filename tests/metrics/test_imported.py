"""Extractors of the user's own, by import path."""

import hashlib
import textwrap

import numpy as np
import pytest

from configs import sngan_digits
from experiments import build
from snjax.data.image_set import image_set
from snjax.metrics import comparison, extractors, imported, score_table
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.options import Options
from snjax.metrics.protocols import Protocol
from snjax.runs.scores_file import Row

SOURCE = '''
import jax
import jax.numpy as jnp
import numpy as np

NOT_A_FUNCTION = 3


def corners(weights):
    """Means of the four corners, times a number."""
    factor = np.float32(weights or 1)

    def apply(variables, images):
        x = images.astype(jnp.float32).mean(-1)
        h, w = x.shape[1] // 2, x.shape[2] // 2
        parts = [p.mean((1, 2)) for p in (x[:, :h, :w], x[:, h:, :w], x[:, :h, w:], x[:, h:, w:])]
        return variables['factor'] * jnp.stack(parts, 1)

    return {'factor': factor}, apply


def elsewhere(weights):
    """The same by NumPy, outside of JAX, with logits."""
    def features(images):
        x = np.asarray(images, np.float32).mean(-1)
        h, w = x.shape[1] // 2, x.shape[2] // 2
        parts = [p.mean((1, 2)) for p in (x[:, :h, :w], x[:, h:, :w], x[:, :h, w:], x[:, h:, w:])]
        return np.stack(parts, 1)

    def apply(variables, images):
        like = jax.ShapeDtypeStruct((len(images), 4), np.float32)
        found = jax.pure_callback(features, like, images)
        return found, found[:, :3]

    return {}, apply


def flat(weights):
    return {}, lambda variables, images: jnp.zeros(len(images))


def nothing(weights):
    return 'network'
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / 'my_own_features.py').write_text(textwrap.dedent(SOURCE))
    (tmp_path / 'my_broken_features.py').write_text('import a_module_that_is_not_there')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(num, seed):
    return np.random.default_rng(seed).integers(0, 256, (num, 8, 8, 3), np.uint8)


def scores_of(extractor, folder):
    real, fake = images(60, 0), images(40, 1)
    found = image_set('mine', 'train', real, None, ())
    options = Options(batch_size=20)
    evaluator = Evaluator(extractor, lambda _: found, options, str(folder))
    features = extractor.of(extractors.batches_of(fake, 20))
    protocol = Protocol('train/all/40', 'train', None, 40)
    return evaluator.compare(protocol, ScoredSet(features, None, fake)), features


def test_features_of_a_function_are_scored_without_a_classifier(folder):
    extractor = extractors.load('my_own_features:corners', '2')
    values, features = scores_of(extractor, folder)
    expected = 2 * images(40, 1).astype(float).mean(-1).reshape(40, 2, 4, 2, 4).mean((2, 4))
    np.testing.assert_allclose(
        features.features, expected.transpose(0, 2, 1).reshape(40, 4), rtol=1e-5
    )
    assert values['frechet_distance'] > 0 and 'classifier_score' not in values
    assert comparison.title(extractor) == 'Frechet distance (my_own_features:corners)'
    manifest = {'protocol': 'p', 'step': 1, 'weights': 'ema', 'batch_statistics': 'running'}
    heads = score_table.lines([Row(values, manifest)], extractor)[0]
    assert 'classifier score' not in heads and 'coverage' in heads


def test_a_network_outside_of_jax_gives_the_same_features_and_a_classifier_score(folder):
    extractor = extractors.load('my_own_features:elsewhere')
    values, features = scores_of(extractor, folder)
    plain = scores_of(extractors.load('my_own_features:corners'), folder)[1]
    np.testing.assert_allclose(features.features, plain.features, rtol=1e-5)
    assert values['classifier_score'] >= 1


def test_the_hash_is_of_the_source_and_the_variables(folder):
    names = ['my_own_features:corners', 'my_own_features:elsewhere']
    one, other = (extractors.load(names[0], factor).sha256 for factor in ('1', '2'))
    assert one != other and len(one) == 64
    source = (folder / 'my_own_features.py').read_bytes()
    assert extractors.load(names[1]).sha256 == hashlib.sha256(source).hexdigest()


def test_the_hash_is_of_modules_that_are_imported_from_the_same_folder(folder):
    """By the module, by one of its functions, by a package, and by those in turn."""
    files = {
        'own_net/__init__.py': '',
        'own_net/main.py': (
            'import numpy\nfrom . import parts\n'
            'def net(weights):\n    from own_helper import f\n    return {}, f\n'
        ),
        'own_net/parts.py': 'from own_net.deep.layer import LAYER\n',
        'own_net/deep/layer.py': 'LAYER = 1\n',
        'own_helper.py': 'def f(variables, images):\n    return images\n',
    }
    others = {'own_unused.py': '', 'own_net/unused.py': ''}
    for name, text in (files | others).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    def found():
        return extractors.load('own_net.main:net').sha256

    before = found()
    assert before == found()
    for name in files:
        (folder / name).write_text(files[name] + '# changed\n')
        assert found() != before, name
        (folder / name).write_text(files[name])
    for name in others:
        (folder / name).write_text('# changed\n')
    assert found() == before


def test_the_hash_is_of_weights_that_a_callback_keeps_to_itself(folder):
    """Features of real images are cached by it."""
    for place, content in (('a.pt', b'1'), ('b.pt', b'2'), ('moved.pt', b'1')):
        (folder / place).write_bytes(content)
    found = {
        weights: extractors.load('my_own_features:elsewhere', weights).sha256
        for weights in ('', 'small', 'large', 'a.pt', 'b.pt', str(folder / 'moved.pt'))
    }
    assert found['a.pt'] == found.pop(str(folder / 'moved.pt'))
    assert len(set(found.values())) == 5


def test_a_run_keeps_the_text_of_its_weights_and_where_a_file_lies(folder):
    config = sngan_digits.get_config()
    config.eval.extractor = 'my_own_features:elsewhere'
    for weights, kept in (('small', 'small'), ('my_own_features.py', None)):
        config.eval.weights = weights
        expected = kept or str(folder / weights)
        assert build.plan(config).record['eval']['weights'] == expected


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('my_own_features:dino', 'my_own_features has no function dino'),
        ('my_own_features:NOT_A_FUNCTION', 'has no function NOT_A_FUNCTION'),
        ('my_missing_features:dino', 'my_missing_features cannot be imported'),
        ('my_broken_features:dino', "No module named 'a_module_that_is_not_there'"),
        ('my_own_features', 'accepted are digits'),
        ('my own:features', 'accepted are digits'),
    ],
)
def test_a_function_that_is_not_there_is_one_line(folder, name, message):
    with pytest.raises(ValueError, match=message) as error:
        extractors.check_weights(name)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('name', 'message'),
    [('flat', r'features of 20 images are of shape \(20,\)'), ('nothing', 'returned str: a pair')],
)
def test_other_results_are_refused(folder, name, message):
    with pytest.raises(ValueError, match=message):
        extractor = extractors.load(f'my_own_features:{name}')
        extractor(images(20, 0))


def test_an_import_path_has_one_colon():
    assert imported.is_path('a.b:c') and imported.is_path('a:b')
    assert not any(map(imported.is_path, ('a', 'a:b:c', 'a.b', '/tmp/x.py:f', 'C:\\x', ':f')))
