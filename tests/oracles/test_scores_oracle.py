"""The scores against torch-fidelity's own, on the same features: `make oracles`."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_fidelity')

from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric  # noqa: E402
from torch_fidelity.metric_isc import isc_features_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # noqa: E402

from snjax.metrics import scores  # noqa: E402


def features(seed, num, dim, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim)
    return np.maximum(rng.normal(size=(num, dim)) @ mixing + 0.3 + shift, 0).astype(np.float32)


def test_frechet_distance():
    real, fake = features(0, 3000, 128), features(1, 2500, 128, 0.1)
    a, b = (fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake))
    expected = fid_statistics_to_metric(a, b, False)['frechet_inception_distance']
    a, b = scores.moments(real), scores.moments(fake)
    got = scores.frechet_distance(a.mean, a.cov, b.mean, b.cov)
    assert got == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_of_the_same_subsets():
    real, fake = (
        features(2, 800, 64).astype(np.float64),
        features(3, 700, 64, 0.1).astype(np.float64),
    )
    expected = kid_features_to_metric(
        torch.from_numpy(fake),
        torch.from_numpy(real),
        kid_subsets=20,
        kid_subset_size=200,
        kid_kernel='poly',
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=2020,
        verbose=False,
    )
    got = scores.kernel_distance(real, fake, subsets=20, subset_size=200)
    assert got.mean == pytest.approx(expected['kernel_inception_distance_mean'], rel=1e-6)
    assert got.std == pytest.approx(expected['kernel_inception_distance_std'], rel=1e-6)


@pytest.mark.parametrize('splits', [1, 10])
def test_inception_score_of_the_same_splits(splits):
    logits = 3 * np.random.default_rng(4).normal(size=(1003, 50)).astype(np.float32)
    expected = isc_features_to_metric(torch.from_numpy(logits), splits, shuffle=False)
    got = scores.inception_score(logits, splits)
    assert got.mean == pytest.approx(expected['inception_score_mean'], rel=1e-6)
    assert got.std == pytest.approx(expected['inception_score_std'], rel=1e-6, abs=1e-9)
