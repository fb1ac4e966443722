"""Inception: against a second implementation that folds and rewrites nothing; its resize, weights
and errors.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from benchmarks.extractors import random_inception
from helpers.networks import jit
from snjax.metrics import inception, inception_blocks, inception_weights


@pytest.fixture(scope='module')
def state_dict():
    return random_inception(seed=5)


@pytest.fixture(scope='module')
def variables(state_dict):
    return inception_weights.from_state_dict(state_dict)


# ---- resize


def resized(image, size):
    """TensorFlow 1's rule row by row: float32 positions, float64 colours."""
    h, w, _ = image.shape
    out = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        y = np.float32(i) * np.float32(h / size)
        x = np.arange(size, dtype=np.float32) * np.float32(w / size)
        y0, x0 = int(y), x.astype(int)
        y1, x1 = min(y0 + 1, h - 1), np.minimum(x0 + 1, w - 1)
        fy, fx = y - y0, (x - x0)[:, None]
        upper = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
        lower = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
        out[i] = upper * (1 - fy) + lower * fy
    return out


@pytest.mark.parametrize('size', [(8, 8), (32, 20), (299, 60), (75, 400), (330, 310)])
def test_resize_is_the_rule_of_tensorflow_1(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 2), dtype=np.uint8)
    got = inception.resize_tf1(jnp.asarray(image)[None])
    np.testing.assert_allclose(got[0], resized(image.astype(float), 299), rtol=0, atol=1e-4)


def test_resize_in_closed_form():
    same = np.random.default_rng(0).integers(0, 256, (1, 299, 299, 3), dtype=np.uint8)
    np.testing.assert_array_equal(inception.resize_tf1(jnp.asarray(same)), same)
    flat = jnp.full((1, 7, 50, 1), 77, jnp.uint8)
    np.testing.assert_array_equal(inception.resize_tf1(flat), np.full((1, 299, 299, 1), 77))
    # Without half-pixel centres a ramp starts with its first value, and is flat after its last.
    ramp = jnp.arange(32, dtype=jnp.uint8)[None, :, None, None] * jnp.ones((1, 1, 5, 1), jnp.uint8)
    wanted = np.minimum(np.arange(299) * 32 / 299, 31)
    got = inception.resize_tf1(ramp)[0, :, :, 0]
    np.testing.assert_allclose(got, np.repeat(wanted[:, None], 299, 1), rtol=0, atol=1e-4)


# ---- the network, (c, h, w) in float64 as published, batch norm apart


def windows(x, size, stride=1, pad=(0, 0), value=0.0):
    x = np.pad(x, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1])), constant_values=value)
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return view[:, ::stride, ::stride]  # (c, i, j, kh, kw)


def max3(x, stride=2, pad=0):
    return windows(x, (3, 3), stride, (pad, pad), -np.inf).max((3, 4))


def average3(x):
    ones = np.ones_like(x)
    around = (1, 1)
    return windows(x, (3, 3), 1, around).sum((3, 4)) / windows(ones, (3, 3), 1, around).sum((3, 4))


def reference(arrays, x):
    """pool3 and logits of one image (3, h, w) in [-1, 1)."""

    def conv(name, x, stride=1, same=True):
        weight = arrays[f'{name}.conv.weight'].astype(float)
        size = weight.shape[2:]
        pad = (size[0] // 2, size[1] // 2) if same else (0, 0)
        y = np.einsum('oiab,ihwab->ohw', weight, windows(x, size, stride, pad), optimize=True)
        mean, var, gamma, beta = (
            arrays[f'{name}.bn.{key}'][:, None, None].astype(float)
            for key in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return np.maximum(gamma * (y - mean) / np.sqrt(var + 1e-3) + beta, 0)

    def chain(block, x, *names, last_stride=1):
        for i, name in enumerate(names):
            strided = last_stride == 2 and i == len(names) - 1
            x = conv(f'{block}.{name}', x, 2 if strided else 1, not strided)
        return x

    def double(block, x, **last):
        return chain(block, x, 'branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3', **last)

    x = conv('Conv2d_1a_3x3', x, 2, False)
    x = conv('Conv2d_2b_3x3', conv('Conv2d_2a_3x3', x, same=False))
    x = max3(conv('Conv2d_4a_3x3', conv('Conv2d_3b_1x1', max3(x)), same=False))
    for b in ('Mixed_5b', 'Mixed_5c', 'Mixed_5d'):
        five = chain(b, x, 'branch5x5_1', 'branch5x5_2')
        pool = chain(b, average3(x), 'branch_pool')
        x = np.concatenate([chain(b, x, 'branch1x1'), five, double(b, x), pool])
    b = 'Mixed_6a'
    three = chain(b, x, 'branch3x3', last_stride=2)
    x = np.concatenate([three, double(b, x, last_stride=2), max3(x)])
    for b in ('Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e'):
        seven = chain(b, x, *(f'branch7x7_{i}' for i in (1, 2, 3)))
        twice = chain(b, x, *(f'branch7x7dbl_{i}' for i in (1, 2, 3, 4, 5)))
        pool = chain(b, average3(x), 'branch_pool')
        x = np.concatenate([chain(b, x, 'branch1x1'), seven, twice, pool])
    b = 'Mixed_7a'
    three = chain(b, x, 'branch3x3_1', 'branch3x3_2', last_stride=2)
    seven = chain(b, x, *(f'branch7x7x3_{i}' for i in (1, 2, 3, 4)), last_stride=2)
    x = np.concatenate([three, seven, max3(x)])
    for b, pooled in (('Mixed_7b', average3), ('Mixed_7c', lambda x: max3(x, 1, 1))):
        three = chain(b, x, 'branch3x3_1')
        twice = chain(b, x, 'branch3x3dbl_1', 'branch3x3dbl_2')
        parts = [chain(b, three, f'branch3x3_2{i}') for i in 'ab']
        parts += [chain(b, twice, f'branch3x3dbl_3{i}') for i in 'ab']
        pool = chain(b, pooled(x), 'branch_pool')
        x = np.concatenate([chain(b, x, 'branch1x1'), *parts, pool])
    pool3 = x.mean((1, 2))
    unbiased = arrays['fc.weight'].astype(float) @ pool3
    return pool3, unbiased + arrays['fc.bias'], unbiased


def test_is_the_published_network(state_dict, variables):
    """On maps small enough for NumPy, whose last is 2x3 and so still tells the pools and factors
    apart.
    """
    x = np.random.default_rng(6).uniform(-1, 1, (1, 107, 139, 3)).astype(np.float32)
    got = jit(inception.Inception().apply)(variables, x)
    wanted = reference(state_dict, x[0].transpose(2, 0, 1).astype(float))
    for a, b in zip(got, wanted, strict=True):
        assert 0.05 < np.std(b) < 50  # nothing has died or blown up on the way
        assert np.linalg.norm(a[0] - b) < 1e-5 * np.linalg.norm(b)


def test_pools_by_hand():
    x = np.random.default_rng(0).normal(size=(1, 7, 9, 2)).astype(np.float32)
    each = x[0].transpose(2, 0, 1)
    average = inception_blocks.average_pool(jnp.asarray(x))[0].transpose(2, 0, 1)
    np.testing.assert_allclose(average, average3(each), rtol=1e-5, atol=1e-6)
    corner = x[0, :2, :2, 0].mean()
    np.testing.assert_allclose(average[0, 0, 0], corner, rtol=1e-5, atol=1e-6)
    for stride in (1, 2):
        maximum = inception_blocks.max_pool(jnp.asarray(x), stride)[0].transpose(2, 0, 1)
        np.testing.assert_array_equal(maximum, max3(each, stride))


def test_images_are_scaled_and_grey_ones_repeated(variables, monkeypatch):
    seen = []
    nothing = inception.InceptionFeatures(
        jnp.zeros((1, 2048)), jnp.zeros((1, 1008)), jnp.zeros((1, 1008))
    )
    monkeypatch.setattr(inception.Inception, '__call__', lambda _, x: seen.append(x) or nothing)
    grey = jnp.asarray([[[[0], [128]], [[255], [64]]]], jnp.uint8)
    inception.apply(variables, grey)
    (x,) = seen
    assert x.shape == (1, 299, 299, 3) and x.dtype == jnp.float32
    corners = x[0, ::298, ::298]
    np.testing.assert_allclose(
        corners, np.repeat([[[-1.0], [0.0]], [[127 / 128], [-0.5]]], 3, 2), rtol=0, atol=1e-6
    )


# ---- weights


def test_has_the_published_parameters(state_dict):
    """23,834,568 of Inception v3 without auxiliary head, 8 classes more, and gamma of 17,216
    channels folded away.
    """
    shapes = inception.shapes()
    assert sum(int(np.prod(s)) for s in shapes.values()) == 23_834_568 + 8 * 2049 - 17_216
    assert len(shapes) == 2 * 95
    assert shapes['Mixed_5b.branch_pool.kernel'] == (1, 1, 192, 32)
    assert shapes['Mixed_6e.branch7x7dbl_4.kernel'] == (7, 1, 192, 192)
    assert shapes['Mixed_7c.branch3x3_2a.kernel'] == (1, 3, 384, 384)
    assert shapes['fc.kernel'] == (2048, 1008)


def test_batch_norm_without_scale(state_dict, variables):
    """TensorFlow's has none; a missing one counts as ones."""
    ones = {k: np.ones_like(v) if k.endswith('bn.weight') else v for k, v in state_dict.items()}
    none = {k: v for k, v in state_dict.items() if not k.endswith('bn.weight')}
    a, b = map(inception_weights.from_state_dict, (ones, none))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    name = 'Mixed_6b.branch7x7_2'
    scale = state_dict[f'{name}.bn.weight'] / np.sqrt(state_dict[f'{name}.bn.running_var'] + 1e-3)
    kernel = variables['params']['Mixed_6b']['branch7x7_2']['kernel']
    wanted = state_dict[f'{name}.conv.weight'] * scale[:, None, None, None]
    np.testing.assert_allclose(kernel, wanted.transpose(2, 3, 1, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda a: a.pop('Mixed_6b.branch_pool.bn.bias'), "'Mixed_6b.branch_pool.bn.bias' is miss"),
        (lambda a: a.pop('fc.bias'), "'fc.bias' is missing"),
        (lambda a: a.update({'AuxLogits.fc.weight': np.zeros(1)}), "has no 'AuxLogits.fc.weight'"),
        (lambda a: a.update({'fc.weight': a['fc.weight'][:1000]}), r"'fc.kernel' .*\(2048, 1000\)"),
    ],
)
def test_other_weights_are_one_line(state_dict, change, message):
    arrays = dict(state_dict)
    change(arrays)
    with pytest.raises(ValueError, match=message) as error:
        inception_weights.from_state_dict(arrays)
    assert '\n' not in str(error.value)


def test_counters_of_batches_are_left_out(state_dict, variables):
    arrays = {**state_dict, 'Conv2d_1a_3x3.bn.num_batches_tracked': np.array(7)}
    jax.tree.map(
        np.testing.assert_array_equal, inception_weights.from_state_dict(arrays), variables
    )


# ---- files


def test_weights_come_back_with_the_published_hash(variables, tmp_path):
    path = tmp_path / inception.FILE
    inception_weights.save(variables, path, source_sha256=inception.PUBLISHED_SHA256)
    loaded = inception.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    assert loaded.sha256 == inception.PUBLISHED_SHA256


def test_unverified_weights_are_no_fid(variables, tmp_path):
    path = tmp_path / 'other.safetensors'
    inception_weights.save(variables, path, source_sha256='ab12')
    with pytest.raises(ValueError, match=r"'ab12', not from the published 6726825d"):
        inception.load(path)
    assert inception.load(path, unverified=True).sha256 == 'ab12'


def test_damaged_and_other_files_are_one_line(variables, tmp_path):
    path = tmp_path / inception.FILE
    inception_weights.save(variables, path, source_sha256=inception.PUBLISHED_SHA256)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is damaged'):
        inception.load(path)
    path.write_bytes(content[:-1000])
    with pytest.raises(ValueError, match=r'is no inception-2015-12-05\.safetensors \('):
        inception.load(path)
    safetensors.numpy.save_file({'fc.bias': np.zeros(1000, np.float32)}, path)
    with pytest.raises(ValueError, match=r"'Conv2d_1a_3x3.bias' is missing, wanted \(32,\)"):
        inception.load(path)


def test_a_missing_file_says_where_it_comes_from(tmp_path):
    wanted = (
        'inception-2015-12-05.safetensors, made from pt_inception-2015-12-05-6726825d.pth',
        'mseitzer/pytorch-fid',
        'toshas/torch-fidelity',
        '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2',
        '95,628,359 bytes',
        'python -m snjax.metrics.inception_weights WEIGHTS.pth',
        '--config.eval.weights=PATH',
    )
    with pytest.raises(FileNotFoundError) as error:
        inception.load(tmp_path / 'none.safetensors')
    assert all(part in str(error.value) for part in wanted) and '\n' not in str(error.value)


def test_the_converter_refuses_other_files(tmp_path):
    target = str(tmp_path / 'out.safetensors')
    with pytest.raises(SystemExit, match=r'error: .*none\.pth is not there: take pt_inception'):
        inception_weights.main([str(tmp_path / 'none.pth'), target])
    (tmp_path / 'other.pth').write_bytes(b'other')
    with pytest.raises(SystemExit, match=r'has sha256 d9298a10d1b0.*expected .*--unverified'):
        inception_weights.main([str(tmp_path / 'other.pth'), target])
    assert not (tmp_path / 'out.safetensors').exists()


def test_the_converter_says_that_it_needs_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    (tmp_path / 'other.pth').write_bytes(b'other')
    with pytest.raises(SystemExit, match='pip install torch'):
        inception_weights.main(['--unverified', str(tmp_path / 'other.pth'), str(tmp_path / 'o')])
