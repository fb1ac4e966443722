"""Published generators in the layouts of their codes, with arrays of this one turned by hand.

`tests/oracles/test_published_code.py` reads files that the codes themselves wrote.
"""

import functools
import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import snjax
from configs import base
from configs.modes import evaluate as evaluate_options
from experiments.modes.convert import run_convert
from experiments.modes.evaluate import run_evaluate
from helpers import torch_files
from helpers.random_runs import random_run
from snjax.generate import published, torch_file


def config_of(**changes):
    c = base.get_config()
    c.update_from_flattened_dict(
        {
            'model.gen_width': 4,
            'model.dim_z': 6,
            'data.name': 'digits',
            'data.image_size': 16,
            'data.channels': 1,
            'data.dequantize': False,
            'eval.extractor': 'patches',
            **{key.replace('__', '.'): value for key, value in changes.items()},
        }
    )
    return c


CONFIGS = {
    'plain': config_of(),
    'classes': config_of(model__num_classes=3, model__head='projection'),
    'biggan': config_of(
        model__architecture='biggan',
        model__gen_normalization='spectral',
        model__num_classes=3,
        model__head='projection',
        model__attention=8,
    ),
    'attention': config_of(
        model__gen_width=8, model__gen_normalization='spectral', model__attention=8
    ),
}


def dense(k):  # (in, h w c) to (c h w, in)
    return k.reshape(len(k), 4, 4, -1).transpose(3, 1, 2, 0).reshape(-1, len(k))


def channels_first(v):
    return v.reshape(4, 4, -1).transpose(2, 0, 1).ravel()


def theirs(variables):
    """(path of the layer in theirs, name here, array in their layout), without the norms."""
    names = {'project': 'l1', 'to_image': 'last', 'norm_out': 'norm'}
    parts = {'conv1': 'c1', 'conv2': 'c2', 'shortcut': 'c_sc', 'norm1': 'b1', 'norm2': 'b2'}
    parts |= {'query': 'theta', 'key': 'phi', 'value': 'g', 'out': 'o'}
    kernels = flatten_dict(variables['params'])
    for path, value in flatten_dict(variables).items():
        _, first, *rest, kind = path
        inside = [parts[part] for part in rest if part != 'batch_norm']
        if first.startswith('block'):
            first = f'block{int(first[5:]) + 1}'
        where = [names.get(first, first.replace('attention', 'attn_block')), *inside]
        value = np.asarray(value)
        if kind == 'kernel':
            value = dense(value) if value.ndim == 2 else value.transpose(3, 2, 0, 1)
        if kind == 'v' and first != 'project':
            value = (
                value.reshape(kernels[*path[1:-1], 'kernel'].shape[:3]).transpose(2, 0, 1).ravel()
            )
        if kind in ('bias', 'u') and first == 'project':
            value = channels_first(value)
        yield where, kind, value


def as_pfnet(variables):
    ends = {'kernel': 'W', 'scale': 'gamma', 'mean': 'avg_mean', 'var': 'avg_var'}
    norms = {'gamma': 'gammas/W', 'beta': 'betas/W', 'bias': 'beta'}
    found = {}
    for where, kind, value in theirs(variables):
        is_norm = where[-1][0] in 'bn' and not where[-1].startswith('block')
        end = norms.get(kind) if is_norm and kind in norms else {'bias': 'b', **ends}[kind]
        where = [{'last': 'c4', 'norm': 'b4'}.get(part, part) for part in where]
        found['/'.join([*where, end])] = value
    return found | {'b4/N': np.array(0)}


def as_mimicry(variables):
    found, tables = {}, {}
    for where, kind, value in theirs(variables):
        where = '.'.join({'last': 'c4', 'norm': 'b4'}.get(part, part) for part in where)
        if where == 'attn_block':
            found['attn_block.gamma'] = value
        elif kind in ('gamma', 'beta'):
            tables.setdefault(where, {})[kind] = value
        elif kind == 'sigma':
            continue
        else:
            ends = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean'}
            ends |= {'var': 'running_var', 'u': 'weight_u', 'v': 'weight_v'}
            end = ends.get(kind, kind)
            found[f'{where}.{end}'] = value
    for where, both in tables.items():
        found[f'{where}.embed.weight'] = np.concatenate([both['gamma'], both['beta']], 1)
        for name in ('running_mean', 'running_var'):
            found[f'{where}.bn.{name}'] = found.pop(f'{where}.{name}')
    for name in [name for name in found if name.endswith('.weight_u')]:
        layer = name.removesuffix('.weight_u')
        found[f'{layer}.weight_orig'] = found.pop(f'{layer}.weight')
    found['b4.num_batches_tracked'] = np.array(7, np.int64)
    return {'model_state_dict': found, 'optimizer_state_dict': None, 'global_step': 9}


def as_biggan(variables):
    """BigGAN-PyTorch's names at 16 px, with attention behind the first block."""
    parts = {'query': 'theta', 'key': 'phi', 'value': 'g', 'out': 'o', 'shortcut': 'conv_sc'}
    parts |= {'norm1': 'bn1', 'norm2': 'bn2', 'shift': 'bias', 'batch_norm': ''}
    ends = {'kernel': 'weight', 'embedding': 'weight', 'mean': 'stored_mean', 'var': 'stored_var'}
    roots = {'project': 'linear', 'to_image': 'output_layer.2', 'norm_out': 'output_layer.0'}
    roots |= {'embed': 'shared', 'attention': 'blocks.0.1'}
    roots |= {'block1': 'blocks.0.0', 'block2': 'blocks.1.0'}
    found = {}
    for (_, root, *inside, kind), value in flatten_dict(variables).items():
        value = np.asarray(value)
        if kind == 'kernel' and value.ndim == 4:
            value = value.transpose(3, 2, 0, 1)
        elif kind == 'kernel':
            value = dense(value) if root == 'project' else value.T
        if root == 'project' and kind in ('bias', 'u'):
            value = channels_first(value)
        where = [roots[root], *filter(None, (parts.get(part, part) for part in inside))]
        if kind == 'u':
            kind, value = 'u0', value[None]
        elif kind in ('v', 'sigma'):
            continue
        elif root == 'norm_out' and kind == 'scale':
            kind = 'gain'
        found['.'.join([*where, ends.get(kind, kind)])] = value
    return found | {'linear.sv0': np.zeros(1, np.float32)}


def assert_same(found, run):
    made, expected = (flatten_dict(v, sep='/') for v in (found.variables, run.variables()))
    assert made.keys() == expected.keys()
    for name, value in made.items():
        np.testing.assert_allclose(value, expected[name], 1e-4, 1e-6, err_msg=name)


@functools.cache
def run_of(name):
    return random_run(CONFIGS[name])


@pytest.mark.parametrize('name', [name for name in CONFIGS if name != 'biggan'])
@pytest.mark.parametrize(
    'write', [torch_files.write, pytest.param(torch_files.write_older, marks=pytest.mark.slow)]
)
def test_mimicrys_names_and_layouts(name, write, tmp_path):
    run = run_of(name)
    path = write(tmp_path / 'netG_9_steps.pth', as_mimicry(run.variables()))
    found = published.read(path, CONFIGS[name].to_dict())
    assert (found.source, found.step) == (published.MIMICRY, 9)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(found, run)


def test_biggans_names_and_layouts(tmp_path):
    """All but the singular vectors, which are one iteration further."""
    config = CONFIGS['biggan']
    run = random_run(config)
    path = torch_files.write(tmp_path / 'G_ema.pth', as_biggan(run.variables()))
    found = published.read(path, config.to_dict())
    assert (found.source, found.step) == ('ajbrock/BigGAN-PyTorch', None)
    made, expected = (flatten_dict(v, sep='/') for v in (found.variables, run.variables()))
    assert made.keys() == expected.keys()
    for name, value in made.items():
        if not name.startswith('spectral'):
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
        elif name.endswith('/u'):
            layer = name.removeprefix('spectral/').removesuffix('/u')
            w = np.float64(expected[f'params/{layer}/kernel'])
            w = w.reshape(-1, w.shape[-1])
            v = w @ expected[name]
            u = w.T @ v / np.linalg.norm(v)
            np.testing.assert_allclose(value, u / np.linalg.norm(u), 1e-3, 1e-5, err_msg=name)
            v, sigma = made[f'spectral/{layer}/v'], made[f'spectral/{layer}/sigma']
            np.testing.assert_allclose(v @ w @ value, sigma, 1e-4)
            assert sigma == pytest.approx(np.linalg.norm(u), rel=1e-4)


@pytest.mark.parametrize('name', ['plain', 'classes'])
def test_sngan_projections_names_and_layouts(name, tmp_path):
    run = run_of(name)
    np.savez(tmp_path / 'ResNetGenerator_50.npz', **as_pfnet(run.variables()))
    found = published.read(tmp_path / 'ResNetGenerator_50.npz', CONFIGS[name].to_dict())
    assert (found.source, found.step) == (published.PFNET, 50)
    assert_same(found, run)


def converted(tmp_path):
    """A workdir of a converted file, and the file."""
    path = torch_files.write(tmp_path / 'g.pth', as_mimicry(run_of('plain').variables()))
    run_convert(CONFIGS['plain'], path, tmp_path / 'run')
    return tmp_path / 'run', path


def test_a_converted_file_is_a_workdir_to_load(tmp_path, capsys):
    workdir, path = converted(tmp_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f'a generator of kwotsin/mimicry, sha256 {sha256}' in capsys.readouterr().out
    loaded = snjax.load(workdir)
    assert loaded.step == 9
    np.testing.assert_array_equal(loaded.sample(3), run_of('plain').sample(3))
    with pytest.raises(ValueError, match='holds checkpoints of a run already') as error:
        run_convert(CONFIGS['plain'], path, workdir)
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_a_converted_file_is_a_workdir_to_score(tmp_path):
    workdir, _ = converted(tmp_path)
    options = evaluate_options.get_config()
    options.num_samples = 32
    run_evaluate(options, CONFIGS['plain'], workdir)
    (row,) = snjax.load(workdir).scores
    assert row['swd'] > 0 and row['step'] == 9


# ---- what is refused, in one line


@pytest.mark.parametrize(
    ('config', 'change', 'message'),
    [
        (config_of(model__gen_width=5), {}, r'norm1/mean is \(4,\) in the file and \(5,\) in the network; look'),
        (config_of(data__image_size=32), {}, 'the file has no block4.c1.weight, but '),
        (CONFIGS['classes'], {}, 'the file has no block2.b1.embed.weight, but '),
        (CONFIGS['attention'], {}, 'the file has no l1.weight_orig, but '),
        (CONFIGS['plain'], {'more': np.zeros(2, np.float32)}, 'the network has no place for more'),
        (CONFIGS['biggan'], {}, 'the file has no shared.weight, but '),
        (config_of(model__architecture='sngan_cnn'), {}, 'the published generators are ResNets'),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_config(tmp_path, config, change, message):
    tree = as_mimicry(run_of('plain').variables())
    tree['model_state_dict'] |= change
    path = torch_files.write(tmp_path / 'g.pth', tree)
    with pytest.raises(ValueError, match=message) as error:
        published.read(path, config.to_dict())
    assert '\n' not in str(error.value) and str(path) in str(error.value)


class _Program:
    """What a pickle of somebody else may hold."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_program_in_a_file_is_run(tmp_path):
    path, made = tmp_path / 'g.pth', tmp_path / 'made'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('netG/data.pkl', pickle.dumps(_Program(made)))
    with pytest.raises(ValueError, match=r'it asks for posix\.mkdir') as error:
        torch_file.read(path)
    assert '\n' not in str(error.value) and not made.exists()
    path.write_bytes(pickle.dumps(_Program(made)))
    with pytest.raises(ValueError, match=r'it asks for posix\.mkdir'):
        torch_file.read(path)
    assert not made.exists()


@pytest.mark.parametrize('write', [torch_files.write, torch_files.write_older])
def test_a_cut_or_foreign_file(tmp_path, write):
    path = write(tmp_path / 'g.pth', {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'n': 3})
    found = torch_file.read(path)
    np.testing.assert_array_equal(found['a'], [[0, 1, 2], [3, 4, 5]])
    assert found['n'] == 3
    with pytest.raises(ValueError, match='has no arrays by name'):
        published.read(path, CONFIGS['plain'].to_dict())
    whole = path.read_bytes()
    for content in (whole[:-9], whole[: len(whole) // 2], b'', b'\x80\x02', whole[::-1]):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match='is no PyTorch file of arrays, or was cut off'
        ) as error:
            torch_file.read(path)
        assert '\n' not in str(error.value)
    with pytest.raises(FileNotFoundError, match='is not there: give a'):
        torch_file.read(tmp_path / 'no.pth')
    (tmp_path / 'g.npz').write_bytes(whole[:20])
    with pytest.raises(ValueError, match=r'is no \.npz, or a damaged one'):
        published.read(tmp_path / 'g.npz', CONFIGS['plain'].to_dict())


@pytest.mark.usefixtures('own_errors')
def test_rectangles_are_refused_by_name(tmp_path):
    (tmp_path / 'netG_1_steps.pth').touch()
    config = config_of(data__image_size=(16, 24)).to_dict()
    with pytest.raises(ValueError, match=r'image_size is 16x24: .* make squares') as error:
        published.read(tmp_path / 'netG_1_steps.pth', config)
    assert '\n' not in str(error.value)
