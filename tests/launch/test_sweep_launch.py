"""launch.py --mode=sweep: started as users start it, killed, and compared bit for bit."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from configs import sngan_digits
from configs.sweeps import paper_settings, paper_table2
from experiments.modes import sweep as sweeps
from helpers import launching
from helpers.launching import (
    DIGITS,
    NUM_STEPS,
    ROOT,
    SLOTS,
    SWEEP,
    TINY,
    assert_same_run,
    bytes_under,
    logged_step,
    wait,
)
from helpers.tensorboard_server import ask, hparams_rows, serve, wait_for
from helpers.waiting import wait_until
from snjax.runs import tags
from snjax.runs.lock import WorkdirLock
from snjax.sweeps import definition, journal
from snjax.sweeps.journal import RunState
from snjax.sweeps.sweep_state import restore_jobs

# ml_collections loads config files by a function that importlib gives up.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module')


def write_sweep(folder: Path, body: str) -> str:
    path = folder / 'definition.py'
    path.write_text(f'def get_sweep(h, *argument):\n    {body}\n')
    return f'--sweep={path}'


def runs_of(folder: Path) -> list[dict]:
    return json.loads((folder / 'sweep.json').read_text())['runs']


# ---- what is run


def test_a_dry_run_prints_commands_that_launch_reads_and_writes_nothing(launcher, tmp_path):
    flag = write_sweep(tmp_path, "return h.product({'optimizer.lr': [1e-4, 2e-3]}, {'seed': [0]})")
    before = bytes_under(tmp_path)
    folder = tmp_path / 'x'
    outcome = launcher.run(
        *SWEEP, DIGITS, flag, '--config.n_dis=3', f'--workdir={folder}', '--dry_run'
    )
    assert outcome.code == 0 and outcome.stderr == ''
    *commands, last = outcome.stdout.splitlines()
    assert last == '2 runs; nothing was started'
    assert bytes_under(tmp_path) == before
    for command, lr in zip(commands, ('0.0001', '0.002'), strict=True):
        *cores, python, program, config, a, b, c, workdir = shlex.split(command)
        assert cores[:2] == ([] if SLOTS == 1 else ['taskset', '-c'])
        assert (python, program, config) == ('python', str(ROOT / 'launch.py'), DIGITS)
        overrides = [f'--config.{x}' for x in (f'optimizer.lr={lr}', 'seed=0', 'n_dis=3')]
        assert [a, b, c] == overrides
        assert re.fullmatch(rf'--workdir={folder}/runs/lr={lr}-\w{{10}}', workdir)


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
    refused = launcher.run('--mode=sweep', DIGITS, sweep, f'--workdir={finished_run.workdir}')
    assert refused.code == 2 and 'holds a run' in refused.error_line()
    assert bytes_under(finished_run.workdir) == before
    folder = tmp_path / 'x'
    folder.mkdir()
    (folder / 'journal.jsonl').touch()
    refused = launcher.run(*TINY, f'--workdir={folder}')
    assert refused.code == 2 and 'holds a sweep: add --mode=sweep' in refused.error_line()
    assert not (folder / 'config.json').exists()


def test_the_commands_resolve_to_the_config_that_the_run_has(finished_run):
    (item,) = definition.checked([{}])
    flags = dict(flag.removeprefix('--config.').split('=', 1) for flag in TINY[1:])
    item |= {'config': DIGITS.removeprefix('--config=')} | flags
    own = json.loads((finished_run.workdir / 'config.json').read_text())
    assert sweeps.resolve(item) == own


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        ('del c.clip', 'mine.py: the key clip is missing; start from base.get_config()'),
        ('c.num_seeds = 4', 'mine.py: num_seeds was removed in 0.2; several seeds are a sweep'),
        ('del c.n_dis; c.n_ds = 1', 'mine.py: there is no key n_ds; did you mean n_dis?'),
    ],
)
def test_a_config_file_of_an_item_is_checked_as_that_of_a_training(tmp_path, body, expected):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from configs import base\n\n\ndef get_config():\n    c = base.get_config()\n'
        f'    with c.unlocked():\n        {body}\n    return c\n'
    )
    with pytest.raises(ValueError) as error:
        plan(tmp_path, f"return [{{}}, {{'config': {str(path)!r}}}]")
    assert str(error.value).startswith(f'{tmp_path}/{expected}')


def test_a_removed_key_of_an_item_names_the_definition_and_the_remedy(launcher, tmp_path):
    sweep = write_sweep(tmp_path, "return [{'num_seeds': 4}]")
    outcome = launcher.run('--mode=sweep', DIGITS, sweep, f'--workdir={tmp_path / "x"}')
    expected = f'launch.py: {tmp_path}/definition.py: num_seeds was removed in 0.2; several seeds'
    assert outcome.code == 2 and outcome.error_line().startswith(expected)


def test_nothing_starts_if_the_check_of_the_configs_itself_fails(tmp_path, monkeypatch):
    made = plan(tmp_path, 'return [{}]')
    monkeypatch.setattr(sweeps, '_CHECK', 'experiments.no_such_module')
    with pytest.raises(ValueError, match=r'ended with 1: .*No module named') as error:
        sweeps.run_sweep(made, tmp_path / 'x')
    assert '\n' not in str(error.value) and not (tmp_path / 'x').exists()


# ---- which runs are the same


def plan(folder: Path, body: str):
    """The runs of a sweep over the digits config in `folder`."""
    flag = write_sweep(folder, body)
    file = DIGITS.removeprefix('--config=')
    return sweeps.plan(file, flag.removeprefix('--sweep='), {}, folder / 'x')


def test_items_that_compute_the_same_are_one_run_and_a_line_says_so(tmp_path, capsys):
    made = plan(
        tmp_path, "return h.product({'data.workers': [1, 8], 'data.stream': ['on', 'off']})"
    )
    assert [run.item['data.workers'] for run in made] == [1]
    expected = 'left out 3 of 4 items: they compute the same as others\n'
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ('key', 'values'), [('eval.num_samples', '[50, 100]'), ('num_steps', '[5, 7]')]
)
def test_a_sweep_keeps_apart_what_it_varies(tmp_path, capsys, key, values):
    made = plan(tmp_path, f"return h.product({{'{key}': {values}}}, {{'data.workers': [1, 8]}})")
    assert len(made) == 2 and len({run.name for run in made}) == 2
    assert 'left out 2 of 4 items' in capsys.readouterr().out


def test_an_older_versions_runs_are_found_again(tmp_path):
    """Their names end in another hash; their configs lack new keys and have removed ones."""
    body = "return h.product({'seed': [0, 1]}, {'data.workers': [1]})"
    first, second = plan(tmp_path, body)
    old = json.loads(json.dumps(first.config))
    old['num_seeds'] = 1
    del old['data']['workers'], old['data']['stream']
    old['log']['every'] += 1
    workdir = tmp_path / 'x' / 'runs' / 'seed=0-0123456789'
    workdir.mkdir(parents=True)
    (workdir / 'config.json').write_text(json.dumps(old))
    with journal.Journal(tmp_path / 'x' / 'journal.jsonl') as opened:
        opened.append('0123456789', RunState.FINISHED, code=0)
    found, other = plan(tmp_path, body)
    assert found.workdir(tmp_path / 'x') == workdir and found.id == '0123456789'
    assert other.name == second.name
    lines = journal.read(tmp_path / 'x' / 'journal.jsonl')
    states = [job.state for job in restore_jobs([found, other], tmp_path / 'x', lines)]
    assert states == ['finished', 'pending']
    # A run that computes something else is another run.
    (workdir / 'config.json').write_text(json.dumps(old | {'n_dis': old['n_dis'] + 1}))
    assert plan(tmp_path, body)[0].name == first.name


# ---- the sweeps in configs/


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def planned(*args):
    return sweeps.plan(*args, {}, Path('nowhere'))


@pytest.mark.usefixtures('at_root')
def test_the_digits_sweep_has_twelve_runs():
    made = planned('configs/sngan_digits.py', None)
    values = {(r.config['optimizer']['lr'], r.config['n_dis'], r.config['seed']) for r in made}
    assert len(made) == len(values) == 12
    plain = sngan_digits.get_config().to_dict()
    assert plain in [r.config for r in made]


@pytest.mark.usefixtures('at_root')
@pytest.mark.parametrize(
    ('image_set', 'name', 'size'), [('', 'cifar10', 32), (':digits', 'digits', 16)]
)
def test_the_papers_settings_are_54_runs(image_set, name, size):
    made = planned('configs/base.py', f'configs/sweeps/paper_settings.py{image_set}')
    kinds = [
        (
            r.config['method'],
            r.config['clip'],
            r.config['penalty']['gradient'],
            r.config['optimizer']['lr'],
            r.config['optimizer']['beta1'],
            r.config['optimizer']['beta2'],
            r.config['n_dis'],
        )
        for r in made
    ]
    assert len(made) == 3 * 6 * 3 and len(set(kinds)) == 3 * 6
    assert {k[:3] for k in kinds} == {('sngan', 0, 0), ('wgan_gp', 0, 10), ('gan', 0.01, 0)}
    assert {r.config['seed'] for r in made} == {0, 1, 2}
    assert {(r.config['data']['name'], r.config['data']['image_size']) for r in made} == {
        (name, size)
    }


@pytest.mark.usefixtures('at_root')
@pytest.mark.parametrize(('settings', 'num'), [('', 30), (':ABCDEF', 165)])
def test_the_papers_table_2_is_all_methods(settings, num):
    made = planned('configs/base.py', f'configs/sweeps/paper_table2.py{settings}')
    assert len(made) == num
    assert sum(r.config['model']['architecture'] == 'resnet' for r in made) == 3


@pytest.mark.parametrize(
    ('module', 'argument'), [(paper_settings, 'lsun'), (paper_table2, 'CX'), (paper_table2, '')]
)
def test_other_arguments_are_named(module, argument):
    with pytest.raises(ValueError, match='accepted are'):
        module.get_sweep(definition, argument)


# ---- runs


def last_running(folder: Path, name: str) -> dict | None:
    """The journal's last line of a run, if the run is running; None otherwise."""
    (id_,) = (run['id'] for run in runs_of(folder) if run['name'].startswith(name))
    lines = [line for line in journal.read(folder / 'journal.jsonl') if line['run'] == id_]
    return lines[-1] if lines and lines[-1]['state'] == RunState.RUNNING else None


def workdir_of(folder: Path, name: str) -> Path:
    (run,) = (run for run in runs_of(folder) if run['name'].startswith(name))
    return folder / run['workdir']


def trained(folder: Path, name: str, step: int) -> bool:
    """Whether the run whose name starts with `name` is running and has logged `step`."""
    if not (folder / 'sweep.json').exists() or not last_running(folder, name):
        return False
    return logged_step(workdir_of(folder, name)) >= step


def kill_the_sweep(launcher, flags, folder, name, step):
    """Starts a sweep, and kills its own process when run `name` has logged `step`."""
    process = launcher.start(*flags)
    came = wait_until(lambda: trained(folder, name, step), process)
    process.send_signal(signal.SIGKILL)
    assert came, wait(process)
    wait(process)


def kill_a_run(launcher, flags, folder, name, step):
    """Starts a sweep, kills run `name` when it has logged `step`, and waits for the sweep."""
    process = launcher.start(*flags)
    came = wait_until(lambda: trained(folder, name, step), process)
    line = last_running(folder, name)
    assert came and line, wait(process)
    os.kill(line['pid'], signal.SIGKILL)
    return wait(process)


@pytest.fixture(scope='module')
def killed_sweep(launcher, tmp_path_factory):
    """A sweep of two runs: the sweep was killed, and after a restart one of its runs."""
    where = tmp_path_factory.mktemp('sweep')
    folder = where / 'x'
    sweep = write_sweep(where, "return h.product({'seed': [1, 0]})")
    flags = [*SWEEP, *TINY, sweep, f'--workdir={folder}']
    kill_the_sweep(launcher, flags, folder, 'seed=1', 12)
    outcome = kill_a_run(launcher, flags, folder, 'seed=1', 35)
    return folder, outcome, flags


@pytest.mark.slow
def test_a_killed_sweep_ends_as_if_nothing_had_been(killed_sweep, other_seed):
    folder, outcome, _ = killed_sweep
    assert outcome.code == 0 and outcome.stderr == '', outcome
    assert_same_run(workdir_of(folder, 'seed=1'), other_seed)
    assert re.search(r'^seed=1-\w+: resumes from step \d+ on CPU \d', outcome.stdout, re.MULTILINE)
    assert re.search(r'^seed=1-\w+: interrupted: ended by SIGKILL$', outcome.stdout, re.MULTILINE)
    assert '2 of 2 runs finished' in outcome.stdout


def test_the_summary_says_what_each_run_came_to(killed_sweep, other_seed):
    folder, _, flags = killed_sweep
    found = json.loads((folder / 'sweep.json').read_text())
    assert found['engine'] == 'local' and shlex.split(found['command'])[2:] == flags
    first, second = found['runs']
    assert [run['state'] for run in found['runs']] == ['finished', 'finished']
    assert [run['overrides']['seed'] for run in found['runs']] == [1, 0]
    assert first['attempts'] >= 3 and first['step'] == first['num_steps'] == NUM_STEPS
    last = launching.metrics(other_seed)[-1]
    expected = {name: v for k, v in last.items() if (name := tags.score_name(k))}
    assert 'precision' in expected
    assert expected.items() <= first['scores'].items()
    assert first['scores']['frechet_distance'] != second['scores']['frechet_distance']


def test_started_again_a_finished_sweep_starts_nothing(killed_sweep, launcher):
    folder, _, flags = killed_sweep
    runs = bytes_under(folder / 'runs')
    outcome = launcher.run(*flags)
    assert outcome.code == 0
    assert '2 runs, 0 to do' in outcome.stdout and ': starts' not in outcome.stdout
    assert bytes_under(folder / 'runs') == runs
    dry = launcher.run(*flags, '--dry_run')
    assert dry.stdout.count('    # finished\n') == 2


def test_the_sweeps_own_process_imports_neither_jax_nor_tensorflow(killed_sweep, launcher):
    """Checked by modules of these names that raise when they are imported."""
    folder, _, flags = killed_sweep
    poison = folder.parent / 'poison'
    poison.mkdir()
    for name in ('jax', 'jaxlib', 'flax', 'orbax', 'tensorflow', 'torch'):
        (poison / f'{name}.py').write_text(f'raise ImportError("{name} was imported")\n')
    for more in ([], ['--dry_run']):
        assert launcher.run(*flags, *more, PYTHONPATH=str(poison)).code == 0
    # A run does import them.
    failed = launcher.run(*TINY, f'--workdir={folder.parent / "y"}', PYTHONPATH=str(poison))
    assert 'jax was imported' in failed.stderr


def test_tensorboard_shows_the_sweep_as_one_table_of_what_differs(killed_sweep):
    folder, _, _ = killed_sweep
    with serve(folder) as url:
        rows = wait_for(lambda: hparams_rows(url), lambda rows: len(rows) == 2)
        names = [run['workdir'] for run in runs_of(folder)]
        assert sorted(rows) == sorted(names)
        assert [rows[name]['seed'] for name in names] == [1, 0]
        for name, run in zip(names, runs_of(folder), strict=True):
            score = run['scores']['frechet_distance']
            assert rows[name]['eval/digits/train-all-200/frechet_distance'] == pytest.approx(
                score, rel=1e-6
            )
        infos = ask(url, 'plugin/hparams/experiment', body={})['hparamInfos']
        assert [info['name'] for info in infos if info.get('differs')] == ['seed']


def test_only_one_sweep_works_in_a_folder(killed_sweep, launcher):
    folder, _, flags = killed_sweep
    with WorkdirLock(folder):
        outcome = launcher.run(*flags)
    assert outcome.code == 2
    assert f'{folder} is in use by process {os.getpid()}' in outcome.error_line()


@pytest.mark.slow
def test_a_dozen_runs_killed_twice_end_as_if_nothing_had_been(launcher, tmp_path):
    """The sweep of the digits config, with narrower networks."""
    folders = tmp_path / 'undisturbed', tmp_path / 'killed'
    undisturbed, killed = ([*SWEEP, *TINY, f'--workdir={folder}'] for folder in folders)
    assert launcher.run(*undisturbed).code == 0
    names = [run['name'] for run in runs_of(folders[0])]
    kill_the_sweep(launcher, killed, folders[1], names[3], 30)
    outcome = kill_a_run(launcher, killed, folders[1], names[7], 50)
    assert outcome.code == 0, outcome
    found, expected = (runs_of(folder) for folder in folders)
    assert [run['state'] for run in found] == ['finished'] * 12
    assert [run['scores'] for run in found] == [run['scores'] for run in expected]
    for run in expected:
        assert_same_run(folders[1] / run['workdir'], folders[0] / run['workdir'])
