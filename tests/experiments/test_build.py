"""experiments/build.py refuses what cannot start before data are read, also as the check of sweeps."""

import io
import json

import pytest

from configs import base
from experiments import build

# name: (changes of configs/base.py, what the one line must say)
REFUSED = {
    'a misspelt set': ({'data.name': 'cifra10'}, ["'cifra10'", 'did you mean cifar10']),
    'too many channels': ({'data.channels': 17}, ['channels is 17', '--config.data.channels']),
    'five channels of GLO': (
        {'method': 'glo', 'data.channels': 5, 'data.flip': False},
        ['channels is 5', '--config.data.name=npz'],
    ),
    'a path that no set takes': (
        {'data.name': 'digits', 'data.path': 'x'},
        ["'digits' takes no path"],
    ),
    'no weights of Inception': (
        {'eval.extractor': 'inception'},
        ['inception-2015-12-05.safetensors is not there', '--config.eval.weights=PATH'],
    ),
    'no weights of the ResNet': (
        {'eval.extractor': 'cifar_resnet56'},
        ['resnet56_cifar10.npz is not there', '--config.eval.weights=PATH'],
    ),
    'a misspelt loss': ({'loss': 'hing'}, ["'hing'", '--config.loss=hinge']),
    'a misspelt architecture': (
        {'model.architecture': 'resent'},
        ["'resent'", '--config.model.architecture=resnet'],
    ),
    'an interval': (
        {'num_steps': 1600, 'steps_per_call': 7},
        ['1600', 'not a multiple', 'steps_per_call 7', '--config.num_steps=1603'],
    ),
    'an empty value is accepted': ({'method': 'glo', 'glo.z_loss': 'l3'}, ['(empty), l1']),
}


def changed(changes):
    config = base.get_config()
    config.update_from_flattened_dict(changes)
    return config.lock()


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_WEIGHTS', str(tmp_path / 'nothing'))


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.setattr('snjax.data.sets.find', lambda *_, **__: pytest.fail('data were read'))


@pytest.mark.parametrize('name', REFUSED)
def test_an_impossible_config_is_one_line_before_data_are_read(name):
    changes, parts = REFUSED[name]
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        build.plan(changed(changes))
    line = str(error.value)
    assert '\n' not in line
    assert [part for part in parts if part not in line] == [], line


def test_weights_that_are_there_are_not_read(tmp_path):
    damaged = tmp_path / 'mine.safetensors'
    damaged.touch()
    plan = build.plan(changed({'eval.extractor': 'inception', 'eval.weights': str(damaged)}))
    assert plan.scores.weights == str(damaged)


@pytest.mark.parametrize('name', ['a misspelt set', 'no weights of Inception'])
def test_the_check_of_a_sweep_ends_with_2_and_the_name_of_the_run(name, monkeypatch, capsys):
    changes, parts = REFUSED[name]
    configs = {'good': changed({}).to_dict(), 'bad': changed(changes).to_dict()}
    monkeypatch.setattr('sys.stdin', io.StringIO(json.dumps(configs)))
    with pytest.raises(SystemExit) as end:
        build.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith('bad: ')
    assert [part for part in parts if part not in line] == [], line
