"""Tests of snjax.training.sentinel and rollbacks: what is a sign, when it warns, going back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snjax.objectives.losses import LOSSES
from snjax.training import rollbacks, sentinel
from snjax.training.rollbacks import Rollback


def test_diversity_is_the_distance_to_the_nearest_other_image():
    # In one dimension: 0, 1, 3, 7 have 1, 1, 2, 4 to their nearest.
    points = jnp.array([0.0, 1.0, 3.0, 7.0]).reshape(4, 1, 1, 1)
    assert float(sentinel.nearest_distance(points)) == pytest.approx(2.0, rel=1e-5)
    assert float(sentinel.nearest_distance(points * 0 + 5)) == pytest.approx(0, abs=1e-3)
    # The root mean square over pixels: more pixels of the same kind change nothing.
    wide = jnp.tile(points, (1, 2, 3, 1))
    assert float(sentinel.nearest_distance(wide)) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(
    ('loss', 'real', 'fake', 'saturation'),
    [
        ('hinge', [2, 2, 0, 0], [-2, -2, -2, 0], 5 / 8),
        ('non_saturating', [9, 9, 0, 0], [-9, 0, 0, 0], 3 / 8),
        ('wasserstein', [900, 900, 0, 0], [-900, 0, 0, 0], 0),
    ],
)
def test_saturation_is_the_share_of_logits_without_slope(loss, real, fake, saturation):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2, 1)))
    found = sentinel.signs(images, images, jnp.float32(fake), jnp.float32(real), LOSSES[loss].dis)
    assert float(found['saturation']) == saturation
    pairs = [(r, f) for r in real for f in fake]
    assert float(found['dis_accuracy']) == np.mean([r > f for r, f in pairs])
    assert float(found['diversity']) == 1


def fake_watch(state, rng, images, labels):
    return {'diversity': state, 'saturation': images.max(), 'dis_accuracy': labels.sum()}


def test_a_sign_that_lasts_is_one_warning_until_it_has_recovered():
    watch = sentinel.Sentinel(
        fake_watch, np.zeros((9, 2, 2, 1), np.uint8), np.zeros(9), num=8, seed=0
    )
    warnings = []
    values = [1.0] * 5 + [0.0] * 30 + [1.0] * sentinel.PATIENCE + [0.0] * sentinel.PATIENCE
    for log, value in enumerate(values):
        measured = watch.measure(jnp.float32(value), log)
        assert measured == {'diversity': value, 'saturation': -1, 'dis_accuracy': 0}
        if line := watch.judge(measured):
            warnings.append((log, line))
    first = 5 + sentinel.PATIENCE - 1
    assert [log for log, _ in warnings] == [first, len(values) - 1]
    assert warnings[0][1].startswith('this run may have collapsed: samples are more alike ')


def test_noise_is_a_function_of_seed_step_and_file(tmp_path):
    assert rollbacks.read(tmp_path) == []
    both = [Rollback(20, 'dis_loss = nan'), Rollback(40, 'gen_loss = inf')]
    rollbacks.write(tmp_path, both)
    assert rollbacks.read(tmp_path) == both
    assert [rollbacks.count(both, step) for step in (0, 19, 20, 39, 40)] == [0, 0, 1, 1, 2]
    data = {'train_rng': jax.random.key_data(jax.random.key(3)), 'label': jnp.zeros(2)}
    keys = [rollbacks.with_noise(data, 0, number)['train_rng'].ravel()[-2:] for number in (0, 1, 2)]
    assert len({tuple(np.asarray(key).tolist()) for key in keys}) == 3
    assert rollbacks.with_noise(data, 0, 0) is data
    (tmp_path / 'rollbacks.json').write_text('[{"to": -1, "why": ""}]')
    with pytest.raises(ValueError, match=r'rollbacks\.json is damaged \(-1 is no count\)'):
        rollbacks.read(tmp_path)


def test_signs_are_measured_at_logs_and_not_more_often_than_every_fifty_updates():
    for every, due in [(100, [100, 200, 300]), (20, [60, 100, 160, 200, 260, 300]), (1, [50, 100])]:
        logs = range(every, due[-1] + 1, every)
        assert [step for step in logs if sentinel.Sentinel.is_due(step, every)] == due
