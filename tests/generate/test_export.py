"""Generators as files: back by `snjax.load`, and as programs that need no snjax."""

import os
import re
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import snjax
from configs import cgan_cifar, glo_cifar, sagan_cifar, sngan_digits
from helpers.launching import ROOT
from helpers.random_runs import inputs_of, random_run, small
from snjax import parallel
from snjax.generate import export
from snjax.generate.glo import TrainedGlo
from snjax.generate.weights import KINDS
from snjax.latents.sampling import generate

CONFIGS = {
    'cgan': small(cgan_cifar, data__image_size=16, model__num_classes=3),
    'sagan': small(sagan_cifar, data__image_size=16, model__attention=8, model__gen_width=8),
    'glo': small(glo_cifar, data__image_size=8),
}


@pytest.fixture(scope='module')
def runs():
    return {name: random_run(config) for name, config in CONFIGS.items()}


# ---- safetensors


@pytest.mark.parametrize('name', CONFIGS)
def test_a_file_samples_the_pixels_of_its_run(runs, name, tmp_path):
    run = runs[name]
    again = snjax.load(run.export(tmp_path / 'gen.safetensors'))
    assert type(again) is type(run) and again.step == run.step and again.config == run.config
    found = again.sample(4, seed=3)
    np.testing.assert_array_equal(found, run.sample(4, seed=3))
    assert found.std() > 0.1 and (np.abs(found) < 0.99).mean() > 0.5  # no grey, not all saturated


def test_a_file_of_glo_has_the_latents_of_the_images(runs, tmp_path):
    again = snjax.load(runs['glo'].export(tmp_path / 'gen.safetensors'))
    assert isinstance(again, TrainedGlo)
    np.testing.assert_array_equal(again.reconstruct([3, 5]), runs['glo'].reconstruct([3, 5]))


def test_a_file_says_which_weights_it_holds(tmp_path):
    run = random_run(CONFIGS['glo'] | {'method': 'sngan'}, has_ema=True)
    for kind in KINDS:
        again = snjax.load(run.export(tmp_path / f'{kind}.safetensors', kind))
        assert again.kept('auto') == kind
        np.testing.assert_array_equal(again.sample(2), run.sample(2, weights=kind))
        assert f'weights: {"EMA" if kind == "ema" else "raw"}' in repr(again)
        assert f'{kind}.safetensors' in repr(again)
        (other,) = set(KINDS) - {kind}
        with pytest.raises(ValueError, match=f'weights {other}: this'):
            again.sample(2, weights=other)


def test_a_file_names_no_place_of_the_machine(tmp_path):
    config = small(glo_cifar, data__image_size=8, data__path='/home/me/faces')
    config['data'] |= {'cache_dir': '/home/me/cache', 'data_dir': '/home/me/data'}
    config['eval']['weights'], config['init_from'] = '/home/me/inception', '/home/me/run@3'
    path = random_run(config).export(tmp_path / 'gen.safetensors')
    assert b'/home/me' not in path.read_bytes()
    assert config['data']['path'] == '/home/me/faces'
    again = snjax.load(path).config
    assert again['data'] == config['data'] | {'path': '', 'cache_dir': '', 'data_dir': ''}


def test_another_ending_is_refused(runs, tmp_path):
    with pytest.raises(
        ValueError, match=r'gen\.pt ends in \.pt: accepted are \.safetensors, \.sta'
    ):
        runs['glo'].export(tmp_path / 'gen.pt')
    assert not list(tmp_path.iterdir())


def changed(path, change):
    """Writes a file anew after `change(arrays, metadata)`."""
    from safetensors import safe_open

    with safe_open(path, framework='numpy') as file:
        about = file.metadata()
    arrays = load_file(path)
    change(arrays, about)
    save_file(arrays, path, metadata=about)


def without(key):
    return lambda arrays, about: about.pop(key)


def with_(key, value):
    return lambda arrays, about: about.update({key: value})


def shorter(arrays, about):
    arrays['params/project/kernel'] = arrays['params/project/kernel'][:, :-1].copy()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without('config'), 'of another program: its metadata have no config, which say'),
        (with_('config', '{'), 'cannot be read as a generator: its metadata are none of this'),
        (with_('config', '{}'), 'cannot be read as a generator'),
        (with_('config', '[]'), 'cannot be read as a generator'),
        (with_('step', 'new'), 'cannot be read as a generator'),
        (lambda arrays, about: arrays.pop('batch_stats/norm0/mean'), 'norm0/mean is not there in'),
        (lambda arrays, about: arrays.update(more=np.zeros(2)), r'more is float64 \(2,\) in the file'),
        (shorter, r'project/kernel is float32 \(8, 63\) in the file, and float32 \(8, 64\) in'),
        (lambda arrays, about: arrays.update({'table/z': np.zeros((3, 9))}), r'latents are \(3, 9\)'),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_one_line(runs, tmp_path, change, message):
    path = runs['glo'].export(tmp_path / 'gen.safetensors')
    changed(path, change)
    with pytest.raises(ValueError, match=message) as error:
        snjax.load(path)
    assert '\n' not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize('content', [b'', b'{"method": ', b'\x10' + bytes(30)])
def test_a_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / 'gen.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is no safetensors file, or a damaged one') as error:
        snjax.load(path)
    assert '\n' not in str(error.value)


def test_a_cut_file_a_missing_one_and_another_step_are_one_line(runs, tmp_path):
    path = runs['glo'].export(tmp_path / 'gen.safetensors')
    assert snjax.load(path, step=7).step == 7
    with pytest.raises(ValueError, match='holds step 7 alone'):
        snjax.load(path, step=8)
    with pytest.raises(ValueError, match='holds step 7 alone'):
        snjax.load(path, folder='best')
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match='is no safetensors file, or a damaged one'):
        snjax.load(path)
    with pytest.raises(FileNotFoundError, match='is not there: give the file'):
        snjax.load(tmp_path / 'other.safetensors')


# ---- programs

CALL = """
import sys
import numpy as np
for name in ('snjax', 'flax'):
    sys.modules[name] = None  # an import of it fails
from jax import export
for name in sys.argv[1:]:
    generate = export.deserialize(bytearray(open(f'{name}.stablehlo', 'rb').read()))
    assert generate.platforms == ('cpu', 'cuda', 'tpu')
    inputs = [x for _, x in sorted(np.load(f'{name}.npz').items())]
    np.save(f'{name}.npy', generate.call(*inputs))
"""


def test_stablehlo_runs_without_snjax_for_any_batch(runs, tmp_path):
    few = {name: runs[name] for name in ('cgan', 'glo')}
    for num, (name, run) in enumerate(few.items(), start=2):
        path = run.export(tmp_path / f'{name}.stablehlo')
        assert b'.py' not in path.read_bytes()  # no folder of this machine
        inputs = {f'arg{i}': x for i, x in enumerate(inputs_of(run, num))}
        np.savez(tmp_path / f'{name}.npz', **inputs)
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    command = [sys.executable, '-c', CALL, *few]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for num, (name, run) in enumerate(few.items(), start=2):
        expected = run.generate(*inputs_of(run, num))
        np.testing.assert_allclose(np.load(tmp_path / f'{name}.npy'), expected, atol=1e-5)


@pytest.mark.parametrize('platform', ['gpu', 'onnx'])
def test_the_forms_of_other_platforms_give_the_same_images(runs, platform):
    run, inputs = runs['glo'], inputs_of(runs['glo'], 2)
    with parallel.forms_of(platform):
        assert parallel.backend() == platform
        program = jax.jit(lambda *x: generate(run.gen, *x)).trace(run.variables(), *inputs)
        assert str(program.jaxpr).count('lhs_dilation=(2, 2)') == 1  # no phases
        made = program.lower().compile()(run.variables(), *inputs)
    assert parallel.backend() == jax.default_backend()
    np.testing.assert_allclose(made, run.generate(*inputs), atol=1e-5)


def test_a_program_holds_weights_as_they_are_applied(runs):
    raw, made = runs['sagan'].raw, export.applied(runs['sagan'])
    kernel, sides = (raw[group]['project'] for group in ('params', 'spectral'))
    sigma = sides['v'] @ kernel['kernel'] @ sides['u']
    assert abs(sigma - 1) > 0.1
    np.testing.assert_allclose(made['params']['project']['kernel'], kernel['kernel'] / sigma, 1e-5)
    assert set(made) == {'params', 'batch_stats'} == set(raw) - {'spectral'}
    assert export.applied(runs['glo']) is runs['glo'].variables()


def test_onnx_without_its_packages_says_what_to_install(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install '\.\[onnx\]' in the repository, then pip install"
    ):
        runs['glo'].export(tmp_path / 'gen.onnx')


# ---- the page

PAGE = (ROOT / 'docs' / 'usage' / 'howto' / 'export.md').read_text()


def code_with(words):
    """The block of code of the page that has these words."""
    (found,) = (
        block for block in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL) if words in block
    )
    return textwrap.dedent(found)


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """The demo's generator of its own size, exported as the page does, and the folder."""
    run = random_run(sngan_digits.get_config())
    folder = tmp_path_factory.mktemp('page')
    run.export(folder / 'digits.safetensors')
    return run, folder


def test_the_lines_in_plain_flax_make_the_images(digits, monkeypatch):
    run, folder = digits
    monkeypatch.chdir(folder)
    names = {}
    exec(code_with('safetensors.flax'), names)
    assert names['images'].shape == (8, 16, 16, 1)
    np.testing.assert_allclose(names['images'], run.generate(names['z']), atol=1e-5)


def test_the_lines_in_pytorch_make_the_images(digits, monkeypatch):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    run, folder = digits
    monkeypatch.chdir(folder)
    names = {}
    exec(code_with('safetensors.torch'), names)
    assert names['images'].shape == (8, 1, 16, 16)
    z = run.latents(4)
    made = names['generate'](torch.tensor(z)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(made.numpy(), run.generate(z), atol=1e-5)


def test_the_page_lists_every_format():
    assert set(re.findall(r'^\| `\.(\w+)` \|', PAGE, re.MULTILINE)) == set(export.FORMATS)
