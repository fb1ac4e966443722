"""Tests of snjax.runs.config_file: a run resumes only with a config that computes the same bits."""

import pytest

from snjax.runs.config_file import check_config, compare_config, flatten

CONFIG = {
    'method': 'sngan',
    'num_steps': 100,
    'n_dis': 5,
    'optimizer': {'lr': 2e-4, 'betas': (0.0, 0.9)},
    'log': {'every': 10},
    'data': {},
}


def computed(config):
    """All keys but two that change no bit; a missing n_critic is 1, and a removed key is refused."""
    flat = {'n_critic': 1} | flatten(config)
    if flat.pop('removed', 0):
        raise ValueError('removed is gone')
    return {k: v for k, v in flat.items() if k not in ('num_steps', 'log.every')}


def changed(**groups):
    config = {**CONFIG}
    for key, value in groups.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


def test_config_is_written_once_and_accepted_again(tmp_path):
    workdir = tmp_path / 'runs' / 'a'
    check_config(workdir, CONFIG)
    text = (workdir / 'config.json').read_text()
    assert text.startswith('{\n  "data": {},\n  "log"')
    stamp = (workdir / 'config.json').stat().st_mtime_ns
    check_config(workdir, changed(num_steps=100.0))
    assert (workdir / 'config.json').stat().st_mtime_ns == stamp
    assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_harmless_differences_are_recorded(tmp_path):
    check_config(tmp_path, CONFIG)
    check_config(tmp_path, changed(num_steps=200, log={'every': 20}), computed)
    check_config(tmp_path, changed(num_steps=200, log={'every': 20}))
    with pytest.raises(ValueError, match=r'num_steps: 200 \(workdir\) != 100 \(now\)'):
        check_config(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (changed(n_dis=1), 'n_dis: 5 (workdir) != 1 (now); use'),
        (changed(n_dis=True), 'n_dis: 5 (workdir) != true (now)'),
        (changed(num_steps=7, n_dis=1), 'config: n_dis: 5 (workdir) != 1 (now); use'),
        (changed(optimizer={'lr': 1}), 'optimizer.lr: 0.0002 (workdir) != 1 (now)'),
        (changed(optimizer={'betas': (0.5, 0.9)}), '[0.0, 0.9] (workdir) != [0.5, 0.9] (now)'),
        (changed(data={'name': 'x'}), 'data.name: (absent) (workdir) != "x" (now)'),
        (changed(method='glo', n_dis=1), '"sngan" (workdir) != "glo" (now), n_dis: 5 (workdir)'),
    ],
)
def test_other_differences_are_refused(tmp_path, config, message):
    check_config(tmp_path, CONFIG)
    before = (tmp_path / 'config.json').read_text()
    with pytest.raises(ValueError) as info:
        check_config(tmp_path, config, computed)
    assert message in str(info.value)
    assert '\n' not in str(info.value) and '--workdir' in str(info.value)
    assert (tmp_path / 'config.json').read_text() == before


@pytest.mark.parametrize('text', ['', '{"method": "sn', '[1, 2]', '\x00\x00'])
def test_damaged_config_is_said(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match=r'config\.json is damaged') as info:
        check_config(tmp_path, CONFIG)
    assert '\n' not in str(info.value)


def test_config_must_be_json(tmp_path):
    with pytest.raises(ValueError, match='cannot be written as JSON'):
        check_config(tmp_path, {'method': object()})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_has_its_default_and_is_then_written(tmp_path):
    check_config(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r'n_critic: 1 \(workdir\) != 2 \(now\)'):
        check_config(tmp_path, changed(n_critic=2), computed)
    newer = changed(n_critic=1)
    assert compare_config(tmp_path, newer, computed) == [('n_critic', '(absent)', '1')]
    check_config(tmp_path, newer, computed)
    assert compare_config(tmp_path, newer) == []


def test_a_removed_key_may_be_neutral_and_is_refused_in_one_line_otherwise(tmp_path):
    check_config(tmp_path / 'a', changed(removed=0))
    assert compare_config(tmp_path / 'a', CONFIG, computed) == [('removed', '0', '(absent)')]
    check_config(tmp_path / 'b', changed(removed=3))
    with pytest.raises(ValueError, match=r'b cannot be resumed: removed is gone$'):
        check_config(tmp_path / 'b', CONFIG, computed)


def test_the_folder_of_a_sweep_is_refused(tmp_path):
    (tmp_path / 'journal.jsonl').touch()
    with pytest.raises(ValueError, match='holds a sweep: add --mode=sweep'):
        check_config(tmp_path, CONFIG)
    assert not (tmp_path / 'config.json').exists()
