"""Resume rules: a workdir goes on with the config it began with, and in one process at a time."""

import os

import pytest

from helpers.checkpointing import start
from snjax.runs import resume

CONFIG = {
    'method': 'sngan',
    'num_steps': 100,
    'n_dis': 5,
    'optimizer': {'lr': 2e-4, 'betas': (0.0, 0.9)},
    'log': {'every': 10},
    'data': {},
}
HARMLESS = ('num_steps', 'log.*')


def changed(**groups):
    config = {**CONFIG}
    for key, value in groups.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


def test_config_is_written_once_and_accepted_again(tmp_path):
    workdir = tmp_path / 'runs' / 'a'
    resume.check_config(workdir, CONFIG)
    text = (workdir / 'config.json').read_text()
    assert text.startswith('{\n  "data": {},\n  "log"')
    stamp = (workdir / 'config.json').stat().st_mtime_ns
    resume.check_config(workdir, changed(num_steps=100.0))
    assert (workdir / 'config.json').stat().st_mtime_ns == stamp
    assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_harmless_differences_are_recorded(tmp_path):
    resume.check_config(tmp_path, CONFIG)
    resume.check_config(tmp_path, changed(num_steps=200, log={'every': 20}), harmless=HARMLESS)
    resume.check_config(tmp_path, changed(num_steps=200, log={'every': 20}))
    with pytest.raises(ValueError, match=r'num_steps: 200 \(workdir\) != 100 \(now\)'):
        resume.check_config(tmp_path, CONFIG)


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
    resume.check_config(tmp_path, CONFIG)
    before = (tmp_path / 'config.json').read_text()
    with pytest.raises(ValueError) as info:
        resume.check_config(tmp_path, config, harmless=HARMLESS)
    assert message in str(info.value)
    assert '\n' not in str(info.value) and '--workdir' in str(info.value)
    assert (tmp_path / 'config.json').read_text() == before


@pytest.mark.parametrize('text', ['', '{"method": "sn', '[1, 2]', '\x00\x00'])
def test_damaged_config_is_said(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ValueError, match=r'config\.json is damaged') as info:
        resume.check_config(tmp_path, CONFIG)
    assert '\n' not in str(info.value)


def test_config_must_be_json(tmp_path):
    with pytest.raises(ValueError, match='cannot be written as JSON'):
        resume.check_config(tmp_path, {'method': object()})
    assert list(tmp_path.iterdir()) == []


HOLD = """
with resume.WorkdirLock(sys.argv[1]):
    print('locked', flush=True)
    time.sleep(60)
"""


def test_a_start_that_wrote_nothing_leaves_no_folder(tmp_path):
    made = tmp_path / 'run'
    with pytest.raises(ValueError, match='refused'), resume.WorkdirLock(made):
        assert resume.lock_holder(made)
        raise ValueError('refused')
    assert not made.exists()
    # What was there before stays, and so does what has come to be.
    with resume.WorkdirLock(tmp_path):
        pass
    with resume.WorkdirLock(made):
        resume.check_config(made, CONFIG)
    assert sorted(p.name for p in made.iterdir()) == ['.lock', 'config.json']
    assert (tmp_path / '.lock').exists()


def test_lock_is_of_the_file_that_is_there_when_its_maker_removes_it(tmp_path):
    made = tmp_path / 'run'
    first, second = resume.WorkdirLock(made), resume.WorkdirLock(made)
    first.__enter__()
    opened = second._open()  # as if it were faster than the first's end
    first.__exit__()
    assert not second._lock(opened)
    opened.close()
    with second:
        assert resume.lock_holder(made)


def test_lock_is_exclusive_and_freed_by_a_kill(tmp_path):
    process = start(HOLD, tmp_path)
    try:
        assert process.stdout.readline() == 'locked\n'
        for _ in range(2):  # looking in must not spoil the message
            with pytest.raises(ValueError, match=rf'in use by process {process.pid} on ') as info:
                resume.WorkdirLock(tmp_path).__enter__()
        assert '\n' not in str(info.value)
        with resume.WorkdirLock(tmp_path, process_index=1):
            pass
    finally:
        process.kill()
        process.communicate()
    for _ in range(2):
        with resume.WorkdirLock(tmp_path):
            with pytest.raises(ValueError, match=f'process {os.getpid()} on'):
                resume.WorkdirLock(tmp_path).__enter__()


def test_runs_below_a_run_are_others_and_below_a_program_of_several_its_members(tmp_path):
    for name in ('', 'b', 'a'):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / 'config.json').write_text('{"num_seeds": 1}')
    assert resume.runs_in(tmp_path) == [tmp_path]
    (tmp_path / 'config.json').write_text('{"num_seeds": 2}')
    assert resume.runs_in(tmp_path) == [tmp_path / 'a', tmp_path / 'b']
    (tmp_path / 'config.json').unlink()
    assert resume.runs_in(tmp_path) == [tmp_path / 'a', tmp_path / 'b']
