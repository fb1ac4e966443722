"""`run.push` and `snjax.load('hf://...')` by huggingface_hub, against a server that speaks what it
calls.
"""

import dataclasses
import json
import pathlib
import socket
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

import snjax
from configs import cgan_cifar, glo_digits, sngan_digits
from helpers.hub_client import connected
from helpers.hub_server import READER, Hub
from helpers.random_runs import random_run, small
from snjax.generate import card
from snjax.metrics.weight_files import file_sha256
from snjax.runs import generator_file, hub, scores_file

pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
# Of huggingface_hub itself, when it sends a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope='module')
def server():
    with Hub() as found:
        yield found


@pytest.fixture(scope='module')
def client(server, tmp_path_factory):
    with connected(server, tmp_path_factory.mktemp('home')) as patch:
        yield patch


@pytest.fixture(scope='module')
def run():
    config = small(sngan_digits) | {'init_from': '/home/me/runs/first@3'}
    return random_run(config, has_ema=True)


@pytest.fixture(scope='module')
def pushed(server, client, run):
    """The address of the commit."""
    return run.push('me/digits', license='mit')


def one_line(call, *args, **options):
    with pytest.raises(ValueError) as error:
        call(*args, **options)
    assert '\n' not in str(error.value)
    return str(error.value)


# ---- what is pushed


def test_a_pushed_run_is_loaded_with_the_same_pixels(pushed, run):
    assert pushed.startswith('hf://me/digits@') and len(pushed.partition('@')[2]) == 40
    for address in (pushed, 'hf://me/digits', 'hf://me/digits@main'):
        back = snjax.load(address)
        np.testing.assert_array_equal(back.sample(3), run.sample(3))
        assert (back.step, back.kept('auto')) == (7, 'ema')
    with pytest.raises(ValueError, match='holds step 7 alone'):
        snjax.load(pushed, step=8)


def test_the_model_has_the_file_of_export_its_config_and_a_grid(server, pushed, run, tmp_path):
    files = server.models['me/digits'][pushed.partition('@')[2]]
    assert set(files) == {'README.md', 'config.json', 'grid.png', 'generator.safetensors'}
    exported, theirs = run.export(tmp_path / 'gen.safetensors'), tmp_path / 'their.safetensors'
    theirs.write_bytes(files['generator.safetensors'])
    # Not the bytes: safetensors writes the entries of the metadata in any order.
    (ours, metadata), (arrays, about) = map(generator_file.read, (exported, theirs))
    assert about == metadata and arrays.keys() == ours.keys()
    assert all((arrays[name] == ours[name]).all() for name in ours)
    config, step = generator_file.about(exported)
    assert json.loads(files['config.json']) == config and step == 7
    (tmp_path / 'grid.png').write_bytes(files['grid.png'])
    with Image.open(tmp_path / 'grid.png') as grid, run.show(run.sample(64)) as expected:
        np.testing.assert_array_equal(np.asarray(grid), np.asarray(expected))
    assert not any(b'/home/me' in content for content in files.values())


def test_the_large_file_goes_by_git_lfs(server, pushed):
    digest = file_sha256(snjax.load(pushed).file)
    assert f'PUT /lfs/{digest}' in server.calls


def test_the_card_says_what_the_generator_is(server, pushed, run):
    text = server.models['me/digits'][pushed.partition('@')[2]]['README.md'].decode()
    _, metadata, body = text.split('---\n', 2)
    about = yaml.safe_load(metadata)
    assert about['license'] == 'mit' and about['library_name'] == 'snjax'
    assert about['pipeline_tag'] == 'unconditional-image-generation'
    assert about['tags'] == ['jax', 'flax', 'gan', 'sngan']
    for part in (
        '![64 samples](grid.png)',
        '| training set | digits, 16x16x1 |',
        '| generator updates | 7 of 3200 |',
        '| weights | moving average |',
        "run = snjax.load('hf://me/digits')",
        'None was measured of these weights at this step.',
    ):
        assert part in body
    block = body.partition('```json\n')[2].partition('```')[0]
    assert json.loads(block) == generator_file.about(snjax.load(pushed).file)[0]


def test_the_card_has_the_scores_of_the_weights_that_are_pushed(run, tmp_path):
    def row(step, weights, value):
        manifest = {'step': step, 'weights': weights, 'checkpoint': 'kept', 'eval_seed': 0}
        manifest |= {'extractor': 'digits', 'protocol': '1k', 'batch_statistics': 'running'}
        return scores_file.Row({'frechet_distance': value, 'recall': 0.5}, manifest)

    rows = [row(7, 'ema', 12.5), row(7, 'raw', 33.0), row(6, 'ema', 44.0)]
    scores_file.add(tmp_path / 'scores.json', rows)
    scored = dataclasses.replace(run, workdir=tmp_path)
    card.write(scored, tmp_path, 'me/digits', 'auto', '')
    text = (tmp_path / 'README.md').read_text()
    assert '| frechet_distance | 12.5 | digits | 1k |\n| recall | 0.5 | digits | 1k |\n' in text
    assert not {'33', '44'} & set(text.split())
    assert 'license' not in text.split('---')[1]


@pytest.mark.parametrize(
    ('config', 'conditions'),
    [(small(cgan_cifar, data__image_size=32), '10 classes'), (small(glo_digits), 'none')],
    ids=['classes', 'glo'],
)
def test_other_runs_are_pushed_too(server, client, config, conditions):
    run = random_run(config)
    address = run.push(f'me/{config["method"]}')
    back = snjax.load(address)
    np.testing.assert_array_equal(back.sample(2), run.sample(2))
    assert type(back) is type(run)
    text = next(reversed(server.models[f'me/{config["method"]}'].values()))['README.md'].decode()
    assert f'| conditions | {conditions} |' in text
    assert ('unconditional' in text) == (conditions == 'none')


def test_a_second_push_is_a_new_commit_and_an_older_one_stays(server, client, run):
    first = run.push('me/twice')
    second = run.push('me/twice', weights='raw', message='As trained')
    assert first != second and len(server.models['me/twice']) == 2
    assert snjax.load(first).kept('auto') == 'ema'
    assert snjax.load('hf://me/twice').kept('auto') == 'raw'


def test_a_private_model_needs_a_token(server, client, run):
    run.push('me/secret', private=True)
    with client.context() as patch:
        patch.delenv('HF_TOKEN')
        said = one_line(snjax.load, 'hf://me/secret')
        patch.setenv('HF_TOKEN', READER)
        assert snjax.load('hf://me/secret').step == 7
    assert 'nobody without a token' in said and 'hf auth login' in said


# ---- what is refused


@pytest.mark.parametrize(
    ('address', 'message'),
    [
        ('hf://digits', 'is no model on the hub: write hf://owner/name'),
        ('hf://me/digits@', 'is no model on the hub'),
        ('hf://me/digits/more', 'is no model on the hub'),
        (pathlib.Path('hf://me/digits'), "'hf:/me/digits' is no model on the hub: write hf://"),
        ('HF://me/digits', 'is no model on the hub'),
        ('https://huggingface.co/me/digits', 'is no model on the hub: write hf://owner/name'),
        ('hf://me/di..gits', 'Cannot have -- or ..'),
        ('hf://me/none', 'hf://me/none: the hub shows no such model; mend the name'),
        ('hf://me/digits@v9', 'the model has no revision v9; give a branch, tag or commit'),
        ('hf://me/empty', 'hf://me/empty has no generator.safetensors: give a model that run.push'),
        ('hf://me/gated', 'hf://me/gated is gated: accept its conditions'),
        ('hf://me/other', 'is a safetensors file of another program'),
    ],
)
def test_what_is_not_there_is_one_line(server, pushed, address, message):
    from safetensors.numpy import save

    content = {'empty': {'a.txt': b'x'}, 'gated': {}}
    content['other'] = {'generator.safetensors': save({'a': np.zeros(2)})}
    for name, files in content.items():
        server.models.setdefault(f'me/{name}', {})
        server.commit(f'me/{name}', files)
    server.gated.add('me/gated')
    assert message in one_line(snjax.load, address)


def test_bad_tokens_are_one_line(client, run, pushed):
    with client.context() as patch:
        patch.setenv('HF_TOKEN', 'hf_expired')
        for call in (lambda: run.push('me/digits'), lambda: snjax.load('hf://me/digits@v1')):
            assert 'the hub refuses the token; log in by `hf auth login`' in one_line(call)
        patch.setenv('HF_TOKEN', READER)
        assert 'the token has no right to that' in one_line(run.push, 'me/digits')
        patch.delenv('HF_TOKEN')
        assert 'nobody without a token' in one_line(run.push, 'me/digits')
    assert "'digits' is no name of a model on the hub: write owner/name" in one_line(
        run.push, 'digits'
    )


def test_a_hub_that_fails_is_one_line(server, client, run, pushed, monkeypatch, capfd):
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)  # between its five further tries
    monkeypatch.setattr(server, 'down', 503)
    for call in (lambda: run.push('me/digits'), lambda: snjax.load('hf://me/unseen')):
        assert 'the hub answers 503 (' in one_line(call)
    assert snjax.load('hf://me/digits').step == 7  # of the cache
    assert 'Retry' not in capfd.readouterr().err


def test_without_a_network_the_cache_serves_or_it_is_one_line(server, run, tmp_path, monkeypatch):
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        nowhere = f'http://127.0.0.1:{unused.getsockname()[1]}'
        with connected(server, tmp_path, HF_ENDPOINT=nowhere):
            for call in (lambda: run.push('me/digits'), lambda: snjax.load('hf://me/digits')):
                assert f'{nowhere} cannot be reached (' in one_line(call)
    with connected(server, tmp_path):
        address = run.push('me/kept')
        snjax.load('hf://me/kept')
    with connected(server, tmp_path, HF_HUB_OFFLINE='1'):
        before = len(server.calls)
        for known in ('hf://me/kept', address):
            assert snjax.load(known).step == 7
        for call in (lambda: run.push('me/digits'), lambda: snjax.load('hf://me/digits')):
            assert 'HF_HUB_OFFLINE forbids the network' in one_line(call)
        assert len(server.calls) == before


def test_without_the_package_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    for call in (lambda: run.push('me/digits'), lambda: snjax.load('hf://me/digits')):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'snjax\[hub\]'") as error:
            call()
        assert '\n' not in str(error.value)


def test_downloads_are_told_by_their_model(pushed):
    path = snjax.load(pushed).file
    assert hub.is_of(path, hub.parse('hf://me/digits'))
    assert not hub.is_of(path, hub.parse('hf://me/digit'))
