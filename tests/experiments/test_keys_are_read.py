"""Every key of a config is read, by training or by its mode; the config of a finished run."""

import pytest
from ml_collections import ConfigDict

from configs import base, from_workdir
from configs.modes import evaluate as evaluate_options
from configs.modes import invert as invert_options
from configs.modes import sample as sample_options
from experiments import build
from experiments.modes import evaluate, invert, sample, train
from helpers.launching import NUM_STEPS, assert_same_run
from helpers.named_configs import flat, load


def test_from_workdir_is_the_config_of_the_run(finished_run):
    config = from_workdir.get_config(str(finished_run.workdir))
    assert config.model.gen_width == 4
    assert config.optimizer.decay_end == load('sngan_digits').optimizer.decay_end
    assert set(flat(config)) == set(flat(base.get_config()))
    assert isinstance(config.optimizer.lr, float)


def test_from_workdir_without_a_run_says_so(tmp_path):
    with pytest.raises(ValueError, match=r'holds no run: there is no .*config\.json') as error:
        from_workdir.get_config(str(tmp_path))
    assert '\n' not in str(error.value)


class Watched:
    """A config that notes the full names of the keys that are read."""

    def __init__(self, config, seen, prefix=''):
        self._config, self._seen, self._prefix = config, seen, prefix

    def __getattr__(self, name):
        value = getattr(self._config, name)
        if isinstance(value, ConfigDict):
            return Watched(value, self._seen, f'{self._prefix}{name}.')
        if not callable(value):
            self._seen.add(f'{self._prefix}{name}')
        return value

    __getitem__ = __getattr__

    def __contains__(self, name):
        return name in self._config

    def get(self, name, default=None):
        return self[name] if name in self else default


def test_every_key_is_read_and_a_finished_run_stays_as_it_is(finished_run, tmp_path, capsys):
    """Every key by training alone; the run is finished, so that nothing is left to compute."""
    workdir, seen = finished_run.copy(tmp_path / 'run'), set()
    config = from_workdir.get_config(str(workdir)).lock()
    train.run_train(Watched(config, seen), workdir)
    said = capsys.readouterr().out
    assert f'resuming from step {NUM_STEPS}\n' in said and 'compiled' not in said
    assert_same_run(workdir, finished_run.workdir)
    # Read from a plain dict above.
    train.load_data(Watched(config, seen), say=lambda line: None)
    train._origin(Watched(config, seen))
    # Groups of keys of other methods.
    for name in ('acgan_cifar', 'r3gan_cifar', 'biggan_cifar', 'glo_digits'):
        build.method(Watched(load(name), seen))
    assert set(flat(config)) - seen == set()


def test_every_option_of_a_mode_is_read(finished_run, tmp_path, monkeypatch):
    workdir, seen = finished_run.copy(tmp_path / 'run'), set()
    config = from_workdir.get_config(str(workdir)).lock()
    modes = {'sample': sample_options, 'invert': invert_options, 'evaluate': evaluate_options}
    options = {name: module.get_config() for name, module in modes.items()}
    options['invert'].update(num=1, restarts=1, steps=1)
    watched = {name: Watched(o, seen, f'{name}.') for name, o in options.items()}
    filled = evaluate._filled
    monkeypatch.setattr(evaluate, '_filled', lambda *a: Watched(filled(*a), seen, 'evaluate.'))
    sample.run_sample(watched['sample'], workdir)
    invert.run_invert(watched['invert'], workdir)
    evaluate.run_evaluate(options['evaluate'], config, workdir)
    expected = {f'{name}.{key}' for name, o in options.items() for key in o}
    assert expected - seen == {'sample.components'}  # of GLO: see test_sample
