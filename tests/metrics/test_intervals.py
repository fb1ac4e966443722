"""Error bars and extrapolation: against exact results, simulation, and whole evaluations."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks import interval_coverage
from snjax import data
from snjax.metrics import comparison, extractors, extrapolated, intervals, score_table
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.evaluate import Evaluator
from snjax.metrics.extractors import Features
from snjax.metrics.options import Options
from snjax.metrics.protocols import Protocol
from snjax.metrics.scores import frechet_distance, moments
from snjax.runs.scores_file import Row


def scored_set(points):
    return ScoredSet(Features(points, np.zeros((len(points), 2), np.float32)))


def mean_of_fakes(real, fake):
    return {'mean': float(fake.features.features.mean())}


def test_the_interval_of_a_mean_is_that_of_the_textbook():
    points = np.random.default_rng(0).normal(3, 2, (400, 1))
    (low, high) = intervals.of_scores(
        mean_of_fakes, scored_set(points), scored_set(points), num=4000
    )['mean']
    half = 1.96 * points.std(ddof=1) / math.sqrt(400)
    assert low == pytest.approx(points.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(points.mean() + half, abs=0.06 * half)


@pytest.mark.parametrize(('num', 'most'), [(400, 400), (400, 200), (1000, 200)])
def test_scores_of_some_of_the_points_have_intervals_as_wide_as_they_vary(num, most):
    points = np.random.default_rng(0).normal(3, 2, (num, 1))
    size = intervals.size_in_half(num, most)

    def mean_of_some(real, fake):
        return {'mean': float(comparison._subsample(fake.features.features, size).mean())}

    found = intervals.of_scores(mean_of_some, scored_set(points), scored_set(points), num=1000)
    low, high = found['mean']
    assert high - low == pytest.approx(2 * 1.96 * points.std(ddof=1) / math.sqrt(most), rel=0.12)


def test_an_evaluation_takes_fewer_neighbours_of_halves(monkeypatch, tmp_path):
    digits = data.load('digits', image_size=16, channels=1)
    options = Options(half_samples=40, neighbour_num=300)
    evaluator = Evaluator(extractors.load('digits'), lambda split: digits, options, str(tmp_path))
    asked = []

    def full(extractor, real, summary, fake, names, *, neighbour_num, seed):
        asked.append(neighbour_num)
        return {'precision': float(len(asked))}

    monkeypatch.setattr(comparison, 'full', full)
    fake = scored_set(np.zeros((200, 64), np.float32))
    evaluator.error_bars(Protocol('train/all/200', 'train', None, 200), fake, {'precision': 1.0})
    assert asked == [(round(300 * 1797 / 2097), 100)] * 40


def test_a_skewed_score_is_corrected_to_the_right_side():
    """What lies far above its expectation may have its expectation far below."""
    replicates = np.random.default_rng(0).exponential(1, 100_000)
    low, high = intervals.around(10.0, replicates, 0.9)
    assert low == pytest.approx(10 - (math.log(20) - 1), abs=0.05)
    assert high == pytest.approx(10 - (math.log(20 / 19) - 1), abs=0.05)


def test_shares_stay_shares_and_absent_scores_have_no_interval():
    points = np.random.default_rng(0).normal(size=(40, 1))

    def score(real, fake):
        share = float((fake.features.features < 1.5).mean())
        some = {'density': 1.0} if len(fake) > 20 else {}
        return {'precision': share, 'recall': math.nan, **some}

    found = intervals.of_scores(score, scored_set(points), scored_set(points), num=100)
    assert found.keys() == {'precision'}
    assert 0.5 < found['precision'][0] <= found['precision'][1] <= 1


@pytest.mark.parametrize(
    ('num', 'confidence', 'message'),
    [(39, 0.95, 'at least 40'), (200, 1.0, 'confidence is 1.0'), (200, 0.999, 'at least 2000')],
)
def test_too_few_half_samples_are_one_line(num, confidence, message):
    with pytest.raises(ValueError, match=message):
        Options(half_samples=num, confidence=confidence)
    few = scored_set(np.zeros((11, 1)))
    with pytest.raises(ValueError, match='11 images: at least 12'):
        intervals.of_scores(mean_of_fakes, few, few)


def frechet(real, fake):
    x, y = (moments(scored.features.features) for scored in (real, fake))
    return {'frechet_distance': frechet_distance(x.mean, x.cov, y.mean, y.cov)}


def test_intervals_of_a_frechet_distance_hold_what_they_promise():
    """With biased distances of few points; benchmarks/interval_coverage.py has more scores."""
    setting = dataclasses.replace(interval_coverage.SETTINGS[0], num_real=100, num_fake=60)
    found = interval_coverage.coverage(
        setting, trials=100, half_samples=60, draws=1000, score=frechet
    )
    assert 0.88 <= found['frechet_distance'] <= 1


@pytest.mark.slow
def test_intervals_of_all_scores_hold_what_they_promise():
    for setting in interval_coverage.SETTINGS:
        found = interval_coverage.coverage(setting, trials=200, half_samples=100, draws=1000)
        for name, share in found.items():
            assert share > 0.88, (setting.name, name)


# ---- infinitely many fakes


def test_a_line_in_1_over_n_ends_at_its_intercept():
    sizes = np.array([10, 20, 40, 80])
    assert extrapolated._intercept(1 / sizes, 3 + 50 / sizes) == pytest.approx(3)


def test_the_bias_of_few_fakes_is_gone_at_infinity():
    """Fakes from the very Gaussian: a distance of 0 and, of 1,000 fakes, of 0.5."""
    dim, rng = 32, np.random.default_rng(0)
    real = moments(rng.normal(size=(100_000, dim)))
    fake = rng.normal(size=(1000, dim))
    got = moments(fake)
    finite = frechet_distance(real.mean, real.cov, got.mean, got.cov)
    found = extrapolated.frechet(real, fake)
    assert finite > 0.2
    assert abs(found.value) < 0.15 * finite
    assert found.sizes[0] == 100
    assert found.sizes[-1] == 1000
    assert found.scores[-1] == pytest.approx(finite)
    with pytest.raises(ValueError, match='300 fakes are too few to extrapolate: at least 330'):
        extrapolated.frechet(real, fake[:300])


def test_a_classifier_score_at_infinity():
    """Certain of 4 equally frequent classes: 4, which few samples do not reach."""
    labels = np.random.default_rng(0).integers(0, 4, 400)
    logits = 50.0 * np.eye(4)[labels]
    found = extrapolated.classifier_score(logits)
    assert found.scores[0] < 3.99
    assert found.value == pytest.approx(4, abs=0.02)


# ---- a whole evaluation


@pytest.fixture(scope='module')
def digits():
    return data.load('digits', image_size=16, channels=1)


def evaluator(digits, tmp_path, **options):
    options = Options(batch_size=100, **options)
    return Evaluator(extractors.load('digits'), lambda split: digits, options, str(tmp_path))


def test_every_score_of_an_evaluation_has_its_bar(digits, tmp_path):
    made = evaluator(digits, tmp_path, half_samples=10, confidence=0.8, extrapolate=True)
    protocol = Protocol('train/300/1400', 'train', 300, 1400)
    rows = np.random.default_rng(0).permutation(len(digits.images))[:1400]
    features = made.extractor.of(extractors.batches_of(digits.images[rows], 100))
    fake = ScoredSet(features, digits.labels[rows], digits.images[rows])
    made.check([protocol])
    values = made.compare(protocol, fake)
    bars = made.error_bars(protocol, fake, values)
    assert {'frechet_distance_infinity', 'classifier_score_infinity', 'class_ms_ssim'} <= set(bars)
    assert set(values) - set(bars) == set()
    assert all(low <= high for low, high in bars.values())
    assert bars['frechet_distance'][0] < values['frechet_distance'] < bars['frechet_distance'][1]
    row = Row(values, {'protocol': 'p', 'step': 1, 'weights': 'ema', 'batch_statistics': 'running',
                       'half_samples': 10, 'confidence': 0.8, 'warning': 'few'}, bars)  # fmt: skip
    head, line, *notes = score_table.lines([row], made.extractor)
    assert 'Frechet distance (digits), infinity' in head
    assert line.count('[') == 9
    assert notes == [
        '[low, high]: 80% intervals by 10 half-samples of real images and fakes',
        'warning: protocol p: few',
    ]


def test_counts_that_are_too_small_are_one_line(digits, tmp_path):
    few = Protocol('train/all/11', 'train', None, 11)
    with pytest.raises(ValueError, match=r'11 images: at least 12 .* evaluate.half_samples=40'):
        evaluator(digits, tmp_path, half_samples=40).check([few])
    infinite = evaluator(digits, tmp_path, extrapolate=True)
    with pytest.raises(ValueError, match='11 fakes, but 64 features need at least 650'):
        infinite.check([few])
    pixels = dataclasses.replace(extractors.load('patches'))
    with pytest.raises(ValueError, match='no law is known'):
        infinite.options.check(pixels, few, real=100, dim=3)
