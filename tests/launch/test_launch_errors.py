"""How launch.py fails: one line, an exit code that says of what kind, and the workdir as it was."""

import concurrent.futures
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs import sngan_digits
from experiments import build
from experiments.modes import errors, train
from helpers.launching import (
    DIGITS,
    NUM_STEPS,
    ROOT,
    TINY,
    bytes_under,
    checkpoints,
    metrics,
    state,
    tiny_config_of,
    wait,
)
from helpers.preloaded import Forked
from helpers.waiting import wait_until
from snjax.runs import config_file
from snjax.runs.checkpoint import Checkpointer
from snjax.runs.lock import WorkdirLock

CONFIGS = ROOT / 'configs'
# name: (flags, environment, what the one line must say). One of every kind; more of what a plan
# refuses is in tests/experiments/test_build.py.
BAD_INPUT = {
    'a typo': ([DIGITS, '--config.n_dsi=5'], {}, ['n_dsi', 'n_dis']),
    'a wrong type': ([DIGITS, '--config.n_dis=abc'], {}, ['n_dis', 'abc']),
    'unknown method': ([DIGITS, '--config.method=sngn'], {}, ["'sngn'", '--config.method=sngan']),
    'unknown set': ([DIGITS, '--config.data.name=digts'], {}, ["'digts'", 'digits']),
    'no config': ([], {}, ['--config=configs/sngan_digits.py']),
    'no such config': ([f'--config={CONFIGS}/sngan_digts.py'], {}, ['sngan_digts.py']),
    'unknown mode': ([DIGITS, '--mode=tain'], {}, ['tain', 'train']),
    'unknown flag': ([DIGITS, '--wrkdir=x'], {}, ['wrkdir', 'workdir']),
    'not a flag': ([DIGITS, 'train'], {}, ["'train'"]),
    'config argument': (
        [f'--config={CONFIGS}/sngan_cifar_cnn.py:Z'],
        {},
        ['sngan_cifar_cnn.py:Z', 'A, B, C, D, E, F'],
    ),
    'argument not taken': ([f'{DIGITS}:C'], {}, ['sngan_digits.py:C', 'takes no argument']),
    'a cache in a file': (
        [DIGITS, f'--compilation_cache={ROOT}/LICENSE'],
        {},
        ['--compilation_cache', 'LICENSE cannot be written', 'auto or off'],
    ),
    'a trace of a sweep': (
        [DIGITS, '--mode=sweep', '--profile=2'],
        {},
        ['--profile', 'leave it out'],
    ),
    'a trace of less than nothing': ([DIGITS, '--profile=-1'], {}, ['profile', '-1']),
    'no such folder': (
        [f'--config={CONFIGS}/sngan_folder.py:/no/such/folder'],
        {},
        ['/no/such/folder'],
    ),
    'no such device': (
        [DIGITS],
        {'JAX_PLATFORMS': 'cuda'},
        ["JAX_PLATFORMS='cuda'", 'jax[cuda13]'],
    ),
    'no such platform': (
        [DIGITS],
        {'JAX_PLATFORMS': 'nonsense'},
        ["JAX_PLATFORMS='nonsense'", 'cpu'],
    ),
    'no cluster': ([DIGITS, '--distributed=auto'], {}, ['--distributed=auto', 'SLURM', 'explicit']),
    'no argument': ([f'--config={CONFIGS}/from_workdir.py'], {}, ['from_workdir.py', ':workdir']),
    'no get_config': (
        [f'--config={ROOT}/snjax/host/supervisor.py'],
        {},
        ['supervisor.py has no get_config()'],
    ),
    'workdir is a file': ([DIGITS, f'--workdir={ROOT}/LICENSE'], {}, ['LICENSE']),
    'samples of nothing': (['--mode=sample', '--workdir=nowhere'], {}, ['nowhere', 'config.json']),
}


@pytest.fixture(scope='module')
def bad_launches(launcher, tmp_path_factory):
    """All of them, two at a time: each waits for imports more than it computes."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def start(flags, env):
            where = tmp_path_factory.mktemp('bad')
            return where, pool.submit(launcher.run, *flags, cwd=where, **env)

        yield {name: start(flags, env) for name, (flags, env, _) in BAD_INPUT.items()}


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2_before_anything_is_compiled(bad_launches, name):
    _, launch = bad_launches[name]
    outcome = launch.result()
    line = outcome.error_line()
    assert outcome.code == 2
    assert line.startswith('launch.py: ')
    assert 'Traceback' not in line and '\\n' not in line
    assert [part for part in BAD_INPUT[name][2] if part not in line] == [], line
    assert 'compiled' not in outcome.stdout


def test_what_tests_import_does_not_make_launches_start_python(launcher):
    """scikit-learn sets variables of its own, with which a launch took 2 s of CPU more."""
    import sklearn  # noqa: F401

    process = launcher.start('--mode=sample', '--workdir=nowhere')
    assert wait(process).code == 2
    assert isinstance(process, Forked)


def test_samples_without_a_device_do_not_blame_the_checkpoints(launcher, finished_run):
    where = f'--workdir={finished_run.workdir}'
    outcome = launcher.run('--mode=sample', where, JAX_PLATFORMS='nonsense')
    assert outcome.code == 2
    assert 'JAX_PLATFORMS' in outcome.error_line() and 'checkpoint' not in outcome.error_line()


def full_disk(folder: Path, runs: Path) -> list[str]:
    """A command prefix under which `folder` is a disk of 4 kB with a link to the folder `runs`."""
    mount = 'mount -t tmpfs -o size=4k full "$0" && ln -s "$1" "$0/runs" && shift && exec "$@"'
    for unshare in (['unshare', '--mount'], ['unshare', '--map-root-user', '--mount']):
        command = [*unshare, 'sh', '-c', mount, str(folder), str(runs)]
        try:
            if subprocess.run([*command, 'true'], capture_output=True).returncode == 0:
                return command
        except FileNotFoundError:
            break
    pytest.skip('unshare cannot mount here: it needs Linux, and root or user namespaces')


def test_a_full_disk_is_one_line(launcher, finished_run, tmp_path):
    workdir = tmp_path / 'sweep'
    workdir.mkdir()
    before = full_disk(workdir, finished_run.workdir.parent)
    process = launcher.start('--mode=report', f'--workdir={workdir}', before=before)
    outcome = wait(process)
    assert outcome.code == 2
    assert 'No space left on device' in outcome.error_line()
    assert str(workdir) in outcome.error_line()


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_only_errors_that_people_can_mend_are_told_without_a_traceback(number):
    full = errors.input_error(OSError(number, os.strerror(number)), 'runs/x')
    assert os.strerror(number) in str(full) and 'runs/x' in str(full)
    with pytest.raises(OSError, match='Input/output'):
        errors.input_error(OSError(errno.EIO, os.strerror(errno.EIO)), 'runs/x')


@pytest.mark.skipif(sys.platform != 'linux', reason='it is seen in /proc that JAX is imported')
def test_ctrl_c_in_the_first_seconds_is_one_line_at_once(launcher, finished_run, tmp_path):
    """In any mode: the handler is set before the mode is looked at."""
    workdir = finished_run.copy(tmp_path / 'run')
    process = launcher.fresh().start('--mode=evaluate', f'--workdir={workdir}')
    mapped = Path(f'/proc/{process.pid}/maps')
    assert wait_until(lambda: 'jaxlib' in mapped.read_text(), process)
    process.send_signal(signal.SIGINT)
    outcome = wait(process, 20)
    assert (outcome.code, outcome.error_line()) == (130, 'launch.py: interrupted')


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_leaves_nothing_that_refuses_the_corrected_run(bad_launches, name):
    where, launch = bad_launches[name]
    launch.result()
    assert [str(path) for path in where.rglob('config.json')] == []


def tiny_config():
    config = sngan_digits.get_config()
    config.model.gen_width = config.model.dis_width = 4
    config.batch_size = config.gen_batch_size = 8
    return config.lock()


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('n_dis', 0),
        ('batch_size', 0),
        ('batch_size', 1798),
        ('gen_batch_size', -8),
        ('num_steps', 0),
        ('steps_per_call', -1),
        ('update_order', 'gen'),
        ('seed', 2**64),
        ('optimizer.lr', 0.0),
        ('optimizer.lr', -1e-4),
        ('optimizer.name', 'adm'),
        ('optimizer.beta1', 1.0),
        ('optimizer.beta2', -0.5),
        ('optimizer.ema_decay', 1.0),
        ('optimizer.decay_end', -5),
        ('model.gen_width', 0),
        ('model.dis_width', 0),
        ('model.dim_z', 0),
        ('model.latent', 'gaussian'),
        ('model.dtype', 'float16'),
        ('model.variant', 'papr'),
        ('model.spectral_updates', 'never'),
        ('model.n_power_iterations', 0),
        ('model.n_warmup_iterations', -1),
        ('data.image_size', 0),
        ('data.image_size', 17),
        ('data.channels', 2),
        ('data.split', 'tarin'),
        ('checkpoint.every', -1),
        ('checkpoint.keep', 0),
        ('checkpoint.keep_every', -1),
        ('log.every', 0),
        ('log.histograms_every', -1),
        ('sampling.every', -1),
        ('sampling.num', -1),
        ('eval.extractor', 'vgg'),
        ('eval.num_samples', 0),
        ('eval.num_samples', 5),
        ('eval.every', -40),
        ('eval.every', 15),  # no multiple of checkpoint.every
        ('eval.batch_size', 0),
        ('eval.neighbour_num', 3),
    ],
)
def test_impossible_values_are_named_before_anything_is_compiled(
    key, value, tmp_path, monkeypatch, own_errors
):
    config = tiny_config()
    with config.unlocked():
        config.update_from_flattened_dict({key: value})

    def compile_nothing(*_, **__):
        pytest.fail(f'{key} = {value} got as far as the compiler')

    monkeypatch.setattr('snjax.training.program.StepProgram.__init__', compile_nothing)
    with pytest.raises(ValueError, match=re.escape(key.split('.')[-1])) as error:
        train.run_train(config, tmp_path / 'run')
    assert '\n' not in str(error.value)
    # The corrected run may have the same workdir.
    good = tiny_config().to_dict()
    config_file.check_config(tmp_path / 'run', good)


def test_a_workdir_of_another_config_is_refused_with_the_difference(
    launcher,
    finished_run,
    tmp_path,
):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    other = ['--config.n_dis=2', '--config.optimizer.lr=0.001', '--config.log.every=5']
    outcome = launcher.run(*TINY, f'--workdir={workdir}', *other)
    line = outcome.error_line()
    assert outcome.code == 2
    assert 'n_dis: 1 (workdir) != 2 (now)' in line
    assert 'optimizer.lr: 0.0005 (workdir) != 0.001 (now)' in line
    assert 'log.every' not in line  # harmless
    assert 'compiled' not in outcome.stdout
    after = bytes_under(workdir)
    before.pop('.lock'), after.pop('.lock')
    assert after == before


def test_another_config_is_refused_before_images_are_loaded(tmp_path, monkeypatch):
    config = tiny_config()
    config_file.check_config(tmp_path, {**config.to_dict(), 'n_dis': 7})
    monkeypatch.setattr(train, 'load_data', lambda *_: pytest.fail('images were loaded'))
    with pytest.raises(ValueError, match=r'n_dis: 7 \(workdir\) != '):
        train.run_train(config, tmp_path)


def test_a_workdir_in_use_is_refused(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    before = bytes_under(workdir)
    with WorkdirLock(workdir):
        before['.lock'] = (workdir / '.lock').read_bytes()
        outcome = launcher.run(*TINY, f'--workdir={workdir}')
        assert bytes_under(workdir) == before
    line = outcome.error_line()
    assert outcome.code == 2
    assert str(workdir) in line and f'process {os.getpid()}' in line


def test_a_damaged_config_is_one_line(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    (workdir / 'config.json').write_text('{"method": ')
    for flags in (['--mode=sample'], TINY):
        outcome = launcher.run(*flags, f'--workdir={workdir}')
        assert outcome.code == 2
        assert 'config.json' in outcome.error_line()
        assert 'Traceback' not in outcome.stderr


def test_divergence_is_exit_3_with_value_and_step_and_keeps_the_checkpoints(
    launcher,
    finished_run,
    tmp_path,
):
    # A discriminator with biases next to float32's end: one more forward pass overflows.
    workdir = finished_run.copy(tmp_path / 'run')
    run = build.method(tiny_config_of(workdir))
    like = jax.eval_shape(run.init, jax.random.key(0))
    with Checkpointer(workdir / 'checkpoints', keep=3) as kept:
        step, at_the_end = kept.restore_latest(like)
        dis = at_the_end.dis
        params = jax.tree.map(lambda p: p if p.ndim > 1 else p * 0 + 3e38, dis.params)
        brink = at_the_end.replace(dis=dis.replace(params=params), step=at_the_end.step + 1)
        kept.save(step + 1, brink)
    before = state(workdir)

    outcome = launcher.run(*TINY, f'--workdir={workdir}', f'--config.num_steps={NUM_STEPS + 9}')
    assert outcome.code == 3
    assert f'resuming from step {NUM_STEPS + 1}' in outcome.stdout
    lines = outcome.stderr.splitlines()
    assert 'Traceback' not in outcome.stderr
    diverged = f'launch.py: diverged by step {NUM_STEPS + 2}: '
    (line,) = [line for line in lines if line.startswith('launch.py: ')]
    assert line.startswith(diverged)
    assert re.search(r'dis_loss = (nan|inf)', line)
    last = NUM_STEPS + 1
    assert f'the last checkpoint is of step {last}; to go on with other values: ' in line
    assert f'--init_from={workdir}@{last} --workdir=NEW' in line
    assert checkpoints(workdir)[-2:] == [NUM_STEPS, NUM_STEPS + 1]
    after = state(workdir)
    assert after[0] == before[0] == NUM_STEPS + 1
    assert {k: v.tobytes() for k, v in after[1].items()} == {
        k: v.tobytes() for k, v in before[1].items()
    }
    # No number that is not one got into the logs.
    assert max(line['step'] for line in metrics(workdir)) <= NUM_STEPS + 1


def test_another_config_is_refused_before_its_data_are_looked_for(launcher, finished_run, tmp_path):
    flags = [f'--config={CONFIGS}/sngan_folder.py:{tmp_path / "nothing"},32']
    outcome = launcher.run(*flags, f'--workdir={finished_run.workdir}')
    assert outcome.code == 2
    assert 'was made with another config' in outcome.error_line()


def test_a_misspelt_key_of_a_config_file_is_one_line(launcher, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from configs import base\n\n\ndef get_config():\n'
        '    c = base.get_config()\n    c.optimizer.lrr = 3\n    return c\n'
    )
    outcome = launcher.run(f'--config={path}', f'--workdir={tmp_path / "run"}')
    assert outcome.code == 2
    line = outcome.error_line()
    assert 'mine.py, line 6: there is no key optimizer.lrr; did you mean optimizer.lr?' in line
    assert not (tmp_path / 'run').exists()


def test_nobody_reading_on_is_no_traceback(tmp_path):
    sweep = ROOT / 'configs' / 'sweeps' / 'paper_settings.py'
    flags = ['--mode=sweep', DIGITS, f'--sweep={sweep}', f'--workdir={tmp_path / "x"}', '--dry_run']
    process = subprocess.Popen(
        [sys.executable, ROOT / 'launch.py', *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b''
    process.stderr.close()
    assert process.wait(60) == 0
