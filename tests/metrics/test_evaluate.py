"""Scores of fakes: real digits, collapsed ones, the cache of the reference, protocols and
`scores.json`.
"""

import dataclasses
import json
import shutil

import flax.linen as nn
import numpy as np
import pytest

from configs import sngan_digits
from experiments.report import leaderboard
from snjax import data
from snjax.generate import fakes
from snjax.generate.fakes import Variant
from snjax.generate.trained import TrainedGenerator
from snjax.metrics import comparison, digits_classifier, extractors, protocols
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.options import Options
from snjax.metrics.protocols import Protocol
from snjax.runs import scores_file
from snjax.runs.scores_file import Row

PROTOCOL = Protocol('train/all/300', 'train', None, 300)


@pytest.fixture(scope='module')
def digits():
    return data.load('digits', image_size=16, channels=1)


@pytest.fixture(scope='module')
def evaluator(digits, tmp_path_factory):
    cache = tmp_path_factory.mktemp('cache')
    extractor = extractors.load('digits')
    return Evaluator(extractor, lambda split: digits, Options(batch_size=100), str(cache))


def scored_set(evaluator, images, labels=None):
    features = evaluator.extractor.of(extractors.batches_of(images, 100))
    return ScoredSet(features, labels, images)


def scored(evaluator, images, labels=None):
    return evaluator.compare(PROTOCOL, scored_set(evaluator, images, labels))


@pytest.fixture(scope='module')
def real_half(evaluator, digits):
    """300 real digits in the place of fakes, with their classes."""
    rows = np.random.default_rng(0).permutation(len(digits.images))[:300]
    return scored(evaluator, digits.images[rows], digits.labels[rows])


def test_the_classifier_knows_digits(evaluator, digits):
    assert digits_classifier.fit().held_out_accuracy > 0.95
    logits = evaluator.reference('train').features.logits
    assert np.mean(logits.argmax(1) == digits.labels) > 0.97
    # The same, whoever makes it.
    assert digits_classifier.fit.__wrapped__().sha256 == evaluator.extractor.sha256


def test_real_digits_are_near_and_accurate(real_half):
    assert real_half['frechet_distance'] < 1
    assert real_half['accuracy'] > 0.95
    assert real_half['classes_found'] == 10
    assert min(real_half[k] for k in ('precision', 'recall')) > 0.95
    assert real_half['class_feature_distance'] == pytest.approx(
        real_half['real_class_feature_distance'], rel=0.1
    )
    assert real_half['class_ms_ssim'] == pytest.approx(real_half['real_class_ms_ssim'], abs=0.1)


def test_a_constant_generator_is_scored_as_collapsed_by_each_score(evaluator, digits, real_half):
    got = scored(evaluator, np.repeat(digits.images[:1], 300, axis=0), np.arange(300) % 10)
    assert got['frechet_distance'] > 30 * real_half['frechet_distance']
    assert got['kernel_distance'] > real_half['kernel_distance'] + 5
    assert got['classifier_score'] == pytest.approx(1)
    assert got['classes_found'] == 1
    assert got['recall'] < 0.01
    assert got['coverage'] < 0.01
    assert got['accuracy'] == pytest.approx(0.1)
    assert got['class_ms_ssim'] == pytest.approx(1)
    assert got['class_feature_distance'] == 0


def test_one_class_is_scored_as_collapsed_by_each_score(evaluator, digits, real_half):
    ones = digits.images[digits.labels == 1]
    got = scored(evaluator, np.concatenate([ones, ones])[:300], np.arange(300) % 10)
    assert got['frechet_distance'] > 20 * real_half['frechet_distance']
    assert got['classifier_score'] < 1.5 < 7 < real_half['classifier_score']
    assert got['classes_found'] <= 3
    assert got['smallest_class_share'] == 0
    assert got['recall'] < 0.2
    assert got['coverage'] < 0.15
    assert got['accuracy'] < 0.15
    assert got['intra_frechet_distance'] > 5 * real_half['intra_frechet_distance']


def test_the_reference_is_kept_by_content(evaluator, digits, tmp_path):
    """Found again it is the same; damaged it is made anew; of other images it is another."""

    def reference(image_set):
        made = Evaluator(
            extractors.load('digits'), lambda split: image_set, Options(), str(tmp_path)
        )
        return made.reference('train').features

    first = reference(digits)
    (path,) = tmp_path.iterdir()
    whole, written = path.read_bytes(), path.stat().st_mtime_ns
    np.testing.assert_array_equal(reference(digits).features, first.features)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(whole[:-1000])
    np.testing.assert_array_equal(reference(digits).features, first.features)
    assert path.read_bytes() == whole
    other = data.image_set.image_set('x', 'train', digits.images[:50], digits.labels[:50], ())
    np.testing.assert_allclose(reference(other).features, first.features[:50], rtol=1e-5, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_protocol_says_which_real_images(evaluator, digits):
    protocol = Protocol('train/500/40', 'train', 500, 40)
    reference = evaluator.reference('train')
    rows = reference.rows(protocol)
    assert len(set(rows)) == 500
    np.testing.assert_array_equal(reference.labels(protocol), digits.labels[rows])
    expected = np.cov(reference.features.features[rows].astype(np.float64), rowvar=False)
    np.testing.assert_allclose(reference.moments(protocol).cov, expected, rtol=1e-9, atol=1e-12)
    # Kept, and found again.
    np.testing.assert_array_equal(reference.moments(protocol).cov, reference.moments(protocol).cov)


def test_the_manifest_names_all_that_matters(evaluator):
    manifest = evaluator.manifest(PROTOCOL, Variant('ema', 'batch'))
    assert manifest['batch_size'] == 100
    assert (manifest['real_count'], manifest['fake_count']) == (1797, 300)
    assert manifest['extractor_sha256'] == evaluator.extractor.sha256
    assert 'warning' not in manifest
    few = dataclasses.replace(PROTOCOL, fake=64)
    assert 'rank-deficient' in evaluator.manifest(few, Variant('ema', 'running'))['warning']
    json.dumps(manifest)


def test_what_is_scored_is_not_scored_again(evaluator, digits, monkeypatch):
    config = sngan_digits.get_config().to_dict()
    trained = TrainedGenerator(config, 7, nn.Dense(1), {}, None)
    made = []

    def make(trained, variant, num):
        made.append((variant.weights, num))
        return scored_set(evaluator, digits.images[:num], digits.labels[:num])

    monkeypatch.setattr(evaluator, 'fakes', make)
    raw, ema = Variant('raw', 'running'), Variant('ema', 'running')
    few, more = (Protocol(f'train/all/{n}', 'train', None, n) for n in (40, 60))
    first = evaluator.rows(trained, [few], [raw], {'checkpoint': 'last'})
    known = [Row(row.scores, json.loads(json.dumps(row.manifest))) for row in first]
    known[0].manifest['versions'] = {'jax': 'another'}
    again = evaluator.rows(trained, [few, more], [raw, ema], {'checkpoint': 'best'}, known)
    assert made == [('raw', 40), ('raw', 60), ('ema', 60)]
    assert again[0].scores is known[0].scores and again[0].manifest['checkpoint'] == 'best'
    assert evaluator.rows(trained, [few], [raw], {}, known)[0].scores is known[0].scores
    for change in ({'step': 8}, {'eval_seed': 1}, {'real_sha256': 'other'}):
        made.clear()
        other = [Row(row.scores, row.manifest | change) for row in known]
        evaluator.rows(trained, [few], [raw], {}, other)
        assert made == [('raw', 40)]


def test_fakes_follow_the_classes_of_the_set_where_training_did(evaluator, digits, monkeypatch):
    uneven = dataclasses.replace(digits, labels=np.minimum(digits.labels, 2))
    monkeypatch.setattr(evaluator, '_load_split', lambda split: uneven)
    config = sngan_digits.get_config().to_dict()
    config['model'] |= {'num_classes': 3, 'fake_classes': 'set'}
    trained = TrainedGenerator(config, 7, nn.Dense(1), {}, None)
    counts = np.bincount(uneven.labels)
    assert evaluator.follow(trained) == tuple(counts)
    labels = fakes.labels_of(trained, 400, evaluator.follow(trained))
    np.testing.assert_allclose(np.bincount(labels) / 400, counts / counts.sum(), atol=0.01)
    made = scored_set(evaluator, digits.images[:40], labels[:40])
    monkeypatch.setattr(evaluator, 'fakes', lambda *args: made)
    few = Protocol('train/all/40', 'train', None, 40)
    (row,) = evaluator.rows(trained, [few], [Variant('raw', 'running')], {})
    assert row.manifest['classes'] == 'as in the training set'
    config['model'].pop('fake_classes')  # as in the config of an older version
    old = TrainedGenerator(config, 7, nn.Dense(1), {}, None)
    assert evaluator.follow(old) == ()
    (row,) = evaluator.rows(old, [few], [Variant('raw', 'running')], {})
    assert row.manifest['classes'] == 'in turn'


def test_only_inceptions_distance_is_fid(evaluator):
    assert comparison.title(evaluator.extractor) == 'Frechet distance (digits)'
    inception = dataclasses.replace(evaluator.extractor, name='inception')
    assert comparison.title(inception) == 'FID'
    assert comparison.names(inception)['frechet'] == 'fid'


def test_nothing_is_said_of_classes_that_the_reference_does_not_have(evaluator, digits):
    made = scored_set(evaluator, digits.images[:300], np.arange(300) % 11)
    values = evaluator.compare(PROTOCOL, made)
    assert not {'accuracy', 'class_ms_ssim', 'intra_frechet_distance'} & set(values)
    assert all(np.isfinite(list(values.values())))


# ---- protocols


def test_protocols():
    assert [p.name for p in protocols.parse('paper, 50k_50k_train')] == ['paper', '50k_50k_train']
    assert protocols.PROTOCOLS['paper'] == Protocol('paper', 'test', 10_000, 5_000)
    assert protocols.parse('train+test/all/70') == (
        Protocol('train+test/all/70', 'train+test', None, 70),
    )


@pytest.mark.parametrize(
    'text', ['', 'papre', 'train', 'train/all', 'train/0/5', 'train/5/all', '/5/5']
)
def test_other_protocols_are_one_line(text):
    with pytest.raises(ValueError, match=r'accepted are paper, .*SPLIT/REAL/FAKE') as error:
        protocols.parse(text)
    assert '\n' not in str(error.value)


# ---- scores.json and the table of many


def row(value, **changes):
    manifest = {
        'protocol': 'a',
        'extractor': 'digits',
        'weights': 'ema',
        'batch_statistics': 'running',
        'eval_seed': 0,
        'checkpoint': 'last',
        'step': 1,
        'real': 'digits, train',
        'real_count': 9,
        'fake_count': 9,
    }
    return Row({'frechet_distance': value}, manifest | changes)


def test_rows_are_replaced_by_their_like_and_others_stay(tmp_path):
    path = tmp_path / 'scores.json'
    scores_file.add(path, [row(1.0), row(2.0, weights='raw')])
    scores_file.add(path, [row(3.0, step=2), row(4.0, checkpoint='best')])
    assert [r.scores['frechet_distance'] for r in scores_file.read(path)] == [3, 2, 4]
    steps = [row(5.0, checkpoint='step', step=i) for i in (1, 2)]
    scores_file.add(path, steps)
    assert len(scores_file.read(path)) == 5
    path.write_text('{')
    with pytest.raises(ValueError, match=r'scores\.json is damaged'):
        scores_file.read(path)


def test_the_leaderboard_takes_seeds_together_and_other_kinds_apart(tmp_path):
    folders = []
    for name, seed, lr, value in (('a', 0, 1, 10.0), ('b', 1, 1, 14.0), ('c', 0, 2, 11.0)):
        folder = tmp_path / name
        folder.mkdir()
        config = {
            'method': 'sngan',
            'seed': seed,
            'num_steps': 5,
            'optimizer': {'lr': lr},
            'data': {'name': 'cifar10', 'data_dir': name, 'path': name},
            'eval': {'every': seed},
        }
        (folder / 'config.json').write_text(json.dumps(config))
        # Of another extractor, whose distances are no match for these.
        scores_file.add(folder / 'scores.json', [row(value), row(0.1, extractor='inception')])
        folders.append(folder)
    rows = leaderboard.collect(folders, 'digits')
    assert [(r['run'], r['seeds']) for r in rows] == [('c', 1), ('a and 1 more', 2)]
    assert rows[0]['frechet_distance'] == (11.0, None)
    assert rows[1]['frechet_distance'] == (12.0, pytest.approx(np.sqrt(8)))
    # A seed that was trained twice counts once, by the mean of its runs.
    again = tmp_path / 'a again'
    shutil.copytree(folders[0], again)
    scores_file.add(again / 'scores.json', [row(12.0)])
    twice = leaderboard.collect([*folders, again], 'digits')[1]
    assert (twice['seeds'], twice['each']['frechet_distance']) == (2, [11.0, 14.0])
    alone = leaderboard.collect([folders[0], again], 'digits')[0]
    assert alone['frechet_distance'] == (11.0, None)
    # Images that differ are no second seed, whatever they are called.
    scores_file.add(folders[1] / 'scores.json', [row(14.0, real_sha256='others')])
    assert [r['seeds'] for r in leaderboard.collect(folders, 'digits')] == [1, 1, 1]
    text = leaderboard.markdown(rows)
    assert '12.0 ± 2.8' in text
    assert '| sngan, hinge | ResNet | cifar10 | paper | 8.22 | 21.7 |' in text  # published, apart
    assert leaderboard.as_csv(rows).count('\n') == 3


def test_intervals_are_kept_and_shown_of_images_for_one_run_and_of_seeds_for_several(tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    for seed, (folder, value) in enumerate(zip(folders, (10.0, 14.0), strict=True)):
        folder.mkdir()
        config = sngan_digits.get_config().to_dict() | {'seed': seed}
        (folder / 'config.json').write_text(json.dumps(config))
        bars = {'frechet_distance': (value - 0.5, value + 1)}
        measured = row(value, half_samples=200, confidence=0.95)
        scores_file.add(folder / 'scores.json', [dataclasses.replace(measured, intervals=bars)])
    one = leaderboard.collect(folders[:1], 'digits')
    assert one[0]['intervals']['frechet_distance'] == (9.5, 11.0)
    assert '10 [9.5, 11]' in leaderboard.markdown(one)
    assert leaderboard.as_csv(one).splitlines()[1].endswith('10.0,,9.5,11.0')
    both = leaderboard.collect(folders, 'digits')
    # Student's quantile for one degree of freedom is 12.7062, and sqrt(8 / 2) = 2.
    low, high = both[0]['intervals']['frechet_distance']
    assert (low, high) == (pytest.approx(12 - 25.4124), pytest.approx(12 + 25.4124))
    assert '| 12.0 ± 2.8 |' in leaderboard.markdown(both)
