"""launch.py --mode=sweep and what it refuses, in one line and before anything starts."""

import subprocess
from pathlib import Path

import pytest

from helpers.launching import DIGITS, ROOT, TINY, bytes_under, wait
from helpers.sweeps import write_sweep

TYPO = "return [{'n_dis': 1}, {'optimizer.lrr': 1e-3}]"
# name: (flags, body of get_sweep, what the one line must say)
BAD_INPUT = {
    'a typo': ([DIGITS], TYPO, ['optimizer.lrr', 'did you mean optimizer.lr?']),
    'a wrong type': ([DIGITS], "return [{'n_dis': 'few'}]", ['n_dis', 'few']),
    'a typo for all': ([DIGITS, '--config.n_dsi=1'], 'return [{}]', ['n_dsi', 'n_dis']),
    'set twice': (
        [DIGITS, '--config.seed=3'],
        "return h.product({'seed': [0, 1]})",
        ['--config.seed=3', 'varies seed'],
    ),
    'no items': ([DIGITS], 'return []', ['no items']),
    'no such config': ([], "return [{'config': 'configs/no.py'}]", ['configs/no.py']),
    'not two arguments': ([DIGITS], 'raise ValueError("paper: A, B")', ['paper: A, B']),
    'no such loss': ([DIGITS], "return [{}, {'loss': 'hing'}]", ["'hing'", '--config.loss=hinge']),
    'slots': ([DIGITS, '--slots=4096'], 'return [{}]', ['--slots=4096', 'cores']),
    'retries': ([DIGITS, '--retries=-1'], 'return [{}]', ['--retries=-1']),
    'no such key': ([DIGITS, '--config.bogus=1'], 'return [{}]', ['there is no key bogus']),
    'an error': (
        [DIGITS],
        'return [1 / 0]',
        ['definition.py, line 2: ZeroDivisionError: division'],
    ),
    'no Python': ([DIGITS], 'return [', ['definition.py, line 2: SyntaxError']),
    'no engine': ([DIGITS, '--slurm=time=9'], 'return [{}]', ['add --engine=slurm']),
    'no slots': (
        [DIGITS, '--engine=slurm', '--slots=2'],
        'return [{}]',
        ['--slots is a flag of --engine=local'],
    ),
    'distributed': (
        [DIGITS, '--distributed=auto'],
        'return [{}]',
        ['--distributed is a flag of --mode=train'],
    ),
}


@pytest.mark.parametrize('name', BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2_before_anything_starts(launcher, tmp_path, name):
    flags, body, parts = BAD_INPUT[name]
    sweep = write_sweep(tmp_path, body)
    outcome = launcher.run(
        '--mode=sweep', *flags, sweep, f'--workdir={tmp_path / "x"}', JAX_PLATFORMS='cpu'
    )
    line = outcome.error_line()
    assert outcome.code == 2 and outcome.stdout == ''
    assert [part for part in parts if part not in line] == [], line
    assert not (tmp_path / 'x' / 'runs').exists()


@pytest.mark.parametrize(
    ('flags', 'parts'),
    [
        ([f'--config={ROOT}/configs/sngan_cifar.py'], ['get_sweep', '--sweep=']),
        ([DIGITS, '--sweep=nowhere.py'], ['--sweep=nowhere.py']),
        ([], ['--config is missing']),
    ],
)
def test_a_missing_definition_is_one_line(launcher, tmp_path, flags, parts):
    outcome = launcher.run('--mode=sweep', *flags, f'--workdir={tmp_path / "x"}')
    line = outcome.error_line()
    assert outcome.code == 2
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize('flag', ['--slots=2', '--sweep=mine.py', '--layout=runs'])
def test_a_training_is_not_begun_by_the_flags_of_other_modes(launcher, tmp_path, flag):
    outcome = launcher.run(DIGITS, flag, '--config.num_steps=1', f'--workdir={tmp_path / "x"}')
    assert outcome.code == 2 and not (tmp_path / 'x').exists()
    assert f'{flag.partition("=")[0]} is a flag of --mode=' in outcome.error_line()


def test_an_error_in_a_config_is_the_line_that_is_wrong(launcher, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text('def get_config():\n    return 1 / 0\n')
    outcome = launcher.run(f'--config={config}', f'--workdir={tmp_path / "x"}')
    assert outcome.code == 2
    assert f'{config}, line 2: ZeroDivisionError: division by zero' in outcome.error_line()


def test_a_mode_may_be_a_word_of_its_own_and_the_folder_is_named_after_the_sweep(
    launcher, tmp_path
):
    write_sweep(tmp_path, f"return [{{'config': {DIGITS.removeprefix('--config=')!r}}}]")
    flags = ['--mode', 'sweep', '--sweep', 'definition.py:some', '--dry_run']
    outcome = launcher.run(*flags, cwd=tmp_path)
    assert outcome.code == 0, outcome
    assert '--workdir=sweeps/definition-some/runs/sngan_digits-' in outcome.stdout


def read_only(folder: Path) -> list[str]:
    """A command prefix under which `folder` is read-only, even for root."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = ['unshare', '--mount', 'sh', '-c', mount, str(folder)]
    try:
        if subprocess.run([*command, 'true'], capture_output=True).returncode == 0:
            return command
    except FileNotFoundError:
        pass
    pytest.skip('unshare cannot mount here: it needs Linux and root')


@pytest.mark.parametrize('mode', ['train', 'sweep', 'report'])
def test_a_read_only_file_system_is_one_line(launcher, finished_run, tmp_path, mode):
    before = read_only(tmp_path)
    sweep = write_sweep(tmp_path, "return [{'n_dis': 3}]")
    flags = {
        'train': TINY,
        'sweep': ['--mode=sweep', DIGITS, sweep],
        'report': ['--mode=report'],
    }[mode]
    folder = tmp_path / 'x'
    if mode == 'report':
        finished_run.copy(folder)
    outcome = wait(launcher.start(*flags, f'--workdir={folder}', before=before))
    assert outcome.code == 2
    assert 'Read-only file system' in outcome.error_line() and str(folder) in outcome.error_line()


def test_a_name_that_is_too_long_is_one_line(launcher, tmp_path):
    outcome = launcher.run(*TINY, f'--workdir={tmp_path / ("x" * 300)}')
    assert outcome.code == 2 and 'File name too long' in outcome.error_line()


def test_a_run_and_a_sweep_do_not_share_a_folder(launcher, finished_run, tmp_path):
    sweep = write_sweep(tmp_path, 'return [{}]')
    before = bytes_under(finished_run.workdir)
    flags = '--mode=sweep', DIGITS, sweep, f'--workdir={finished_run.workdir}'
    refused = launcher.run(*flags)
    assert refused.code == 2 and 'holds a run' in refused.error_line()
    assert bytes_under(finished_run.workdir) == before
    folder = tmp_path / 'x'
    folder.mkdir()
    (folder / 'journal.jsonl').touch()
    refused = launcher.run(*TINY, f'--workdir={folder}')
    assert refused.code == 2 and 'holds a sweep: add --mode=sweep' in refused.error_line()
    assert not (folder / 'config.json').exists()


def test_a_removed_key_of_an_item_names_the_definition_and_the_remedy(launcher, tmp_path):
    sweep = write_sweep(tmp_path, "return [{'num_seeds': 4}]")
    where = f'--workdir={tmp_path / "x"}'
    outcome = launcher.run('--mode=sweep', DIGITS, sweep, where)
    expected = f'launch.py: {tmp_path}/definition.py: num_seeds was removed in 0.2; several seeds'
    assert outcome.code == 2 and outcome.error_line().startswith(expected)
