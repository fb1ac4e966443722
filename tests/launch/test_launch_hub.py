"""`hf://owner/name` as --workdir and --init_from of launch.py, and a file as --init_from."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import snjax
from experiments.modes import command_line, from_hub, going_on
from helpers.hub_client import connected
from helpers.hub_server import WRITER, Hub
from helpers.launching import CHECKPOINT_EVERY, NUM_STEPS, checkpoints, state
from snjax.runs import generator_file

SHORT = [
    '--config.transfer.take=weights',
    f'--config.num_steps={CHECKPOINT_EVERY}',
    '--config.eval.extractor=',
    '--config.eval.every=0',
    '--config.log.every=10',
]


@pytest.fixture(scope='module')
def exported(finished_run, tmp_path_factory):
    """The file of the shared run's generator."""
    run = snjax.load(finished_run.workdir)
    return run.export(tmp_path_factory.mktemp('exported') / 'gen.safetensors')


@pytest.fixture(scope='module')
def server(exported):
    """A hub that has it as me/tiny, and a client that knows it."""
    with Hub() as hub:
        hub.models['me/tiny'] = {}
        hub.commit('me/tiny', {'generator.safetensors': exported.read_bytes()})
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The server, with a client that speaks to it, in a folder of its own."""
    pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    monkeypatch.chdir(tmp_path)
    with connected(server, tmp_path / 'home'):
        yield server


# ---- a file


def test_a_new_run_begins_with_the_generator_of_a_file(launcher, finished_run, exported, tmp_path):
    workdir = tmp_path / 'tuned'
    flags = [f'--init_from={exported}', f'--workdir={workdir}', *SHORT]
    outcome = launcher.run(*flags)
    assert outcome.code == 0, outcome.stderr
    assert f'beginning with weights of step {NUM_STEPS} of {exported}\n' in outcome.stdout
    assert 'fresh (new): dis/' in outcome.stdout
    config = json.loads((workdir / 'config.json').read_text())
    assert config['init_from'] == f'{exported}@{NUM_STEPS}'
    (_, first), (_, old) = state(workdir, 0), state(finished_run.workdir)
    for path in (path for path in first if path.startswith('gen/params/')):
        average = old[path.replace('gen/', 'ema/', 1)]
        np.testing.assert_array_equal(first[path], average)
        np.testing.assert_array_equal(first[path.replace('gen/', 'ema/', 1)], average)
    assert checkpoints(workdir) == [0, CHECKPOINT_EVERY]


def test_a_generator_alone_is_no_state_to_go_on_from(launcher, exported, tmp_path):
    outcome = launcher.run(f'--init_from={exported}', f'--workdir={tmp_path / "new"}')
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[-1].endswith(
        'holds a generator alone, and no state to go on from: --config.transfer.take=weights begins '
        'with its weights'
    )


def test_the_file_of_init_from_is_one_that_is_there(exported, tmp_path):
    assert going_on.resolve(str(exported), tmp_path) == f'{exported}@{NUM_STEPS}'
    assert going_on.resolve(f'{exported}@{NUM_STEPS}', tmp_path) == f'{exported}@{NUM_STEPS}'
    with pytest.raises(ValueError, match=f'the file holds step {NUM_STEPS} alone'):
        going_on.resolve(f'{exported}@3', tmp_path)
    with pytest.raises(FileNotFoundError, match='is not there: give the file'):
        going_on.resolve(str(tmp_path / 'none.safetensors'), tmp_path)
    (tmp_path / 'bad.safetensors').write_bytes(b'x')
    with pytest.raises(ValueError, match='is no safetensors file, or a damaged one'):
        going_on.resolve(str(tmp_path / 'bad.safetensors'), tmp_path)


# ---- the hub


def test_a_model_as_workdir_is_a_folder_that_the_modes_read(hub, launcher, exported, tmp_path):
    argv = ['launch.py', '--mode=sample', '--workdir=hf://me/tiny', '--sample.num=4']
    words = command_line.completed(argv)
    assert f'--workdir={from_hub.FOLDER}/me/tiny/main' in words
    folder = tmp_path / from_hub.FOLDER / 'me' / 'tiny' / 'main'
    np.testing.assert_array_equal(snjax.load(folder).sample(2), snjax.load(exported).sample(2))
    sampled = launcher.run(f'--workdir={folder}', *(w for w in argv[1:] if 'workdir' not in w))
    assert (sampled.code, sampled.stderr) == (0, '')
    assert list((folder / 'generated').glob(f'samples_step{NUM_STEPS}_*.png'))


def test_a_folder_of_a_model_follows_its_branch(hub, exported, tmp_path):
    folder = from_hub.workdir_of('hf://me/tiny')
    kept = folder / 'generator.safetensors'
    before = kept.stat().st_mtime_ns
    assert from_hub.workdir_of('hf://me/tiny') == folder
    assert kept.stat().st_mtime_ns == before  # the same file is not written again
    changed = exported.read_bytes().replace(b'"ema"', b'"raw"')
    first = next(iter(hub.models['me/tiny']))
    (folder / 'scores.json').write_text('of the first commit')
    hub.commit('me/tiny', {'generator.safetensors': changed})
    try:
        from_hub.workdir_of('hf://me/tiny')
        assert snjax.load(folder).kept('auto') == 'raw'
        assert not (folder / 'scores.json').exists()
        (aside,) = folder.glob('scores.json.*')
        assert aside.read_text() == 'of the first commit'
        assert snjax.load(from_hub.workdir_of(f'hf://me/tiny@{first}')).kept('auto') == 'ema'
    finally:
        hub.models['me/tiny'] = {first: hub.models['me/tiny'][first]}


@pytest.mark.parametrize('begun', [['checkpoints'], []], ids=['saved', 'killed before it saved'])
def test_a_training_in_that_folder_is_left_alone(hub, tmp_path, begun):
    folder = tmp_path / from_hub.FOLDER / 'me' / 'tiny' / 'main'
    folder.mkdir(parents=True)
    for name in begun:
        (folder / name).mkdir()
    (folder / 'config.json').write_text('of the training')
    with pytest.raises(ValueError, match='the folder of a training: move it') as error:
        from_hub.workdir_of('hf://me/tiny')
    assert '\n' not in str(error.value)
    assert sorted(path.name for path in folder.iterdir()) == [*begun, 'config.json']
    assert (folder / 'config.json').read_text() == 'of the training'


@pytest.mark.parametrize('mode', ['train', 'diagnose', 'report', 'convert'])
def test_other_modes_want_more_than_a_generator(mode):
    with pytest.raises(ValueError, match='is a generator alone, which --mode=sample, ') as error:
        command_line.completed(['launch.py', f'--mode={mode}', '--workdir', 'hf://me/tiny'])
    assert '\n' not in str(error.value)


def test_a_run_that_began_with_a_model_goes_on_when_the_model_has_changed(hub, tmp_path):
    begun = going_on.resolve('hf://me/tiny', tmp_path)
    path, step = going_on.split(begun)
    assert step == NUM_STEPS and generator_file.about(Path(path))[1] == NUM_STEPS
    (tmp_path / 'config.json').write_text(json.dumps({'init_from': begun}))
    before = len(hub.calls)
    assert going_on.resolve('hf://me/tiny', tmp_path) == begun
    assert len(hub.calls) == before  # nor does it need the network
    words = command_line.completed(
        ['launch.py', '--init_from=hf://me/tiny', f'--workdir={tmp_path / "new"}']
    )
    assert words[1].endswith(f'from_workdir.py:{path}')


def test_without_the_package_the_flags_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    for call in (
        lambda: going_on.resolve('hf://me/tiny', tmp_path),
        lambda: command_line.completed(['launch.py', '--mode=sample', '--workdir=hf://me/tiny']),
    ):
        with pytest.raises(ValueError, match=r"pip install 'snjax\[hub\]'"):
            call()


@pytest.mark.slow
def test_the_commands_of_the_page_work(hub, launcher, tmp_path):
    env = {'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'other'), 'HF_TOKEN': WRITER}
    sampled = launcher.run('--mode=sample', '--workdir=hf://me/tiny', cwd=tmp_path, **env)
    assert sampled.code == 0 and 'runs/hf/me/tiny/main/generated/' in sampled.stdout
    options = ['--mode=evaluate', '--evaluate.num_samples=200', '--evaluate.extractor=digits']
    scored = launcher.run(*options, '--workdir=hf://me/tiny', cwd=tmp_path, **env)
    assert scored.code == 0, scored.stderr
    assert (tmp_path / 'runs/hf/me/tiny/main/scores.json').is_file()
    flags = ['--init_from=hf://me/tiny@main', '--workdir=runs/tuned', *SHORT]
    tuned = launcher.run(*flags, cwd=tmp_path, **env)
    assert tuned.code == 0, tuned.stderr
    assert f'beginning with weights of step {NUM_STEPS} of {tmp_path / "other"}' in tuned.stdout
    refused = launcher.run('--mode=sample', '--workdir=hf://me/none', cwd=tmp_path, **env)
    assert refused.code == 2 and 'the hub shows no such model' in refused.error_line()
    offline = launcher.run(
        '--init_from=hf://me/new', '--workdir=x', cwd=tmp_path, HF_HUB_OFFLINE='1', **env
    )
    assert offline.code == 2 and 'HF_HUB_OFFLINE forbids' in offline.error_line()
