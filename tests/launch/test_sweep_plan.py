"""Which runs a sweep has: their configs, which are the same, and the sweeps in configs/."""

import json
from pathlib import Path

import pytest

from configs import sngan_digits
from configs.sweeps import paper_settings, paper_table2
from experiments.modes import sweep as sweeps
from helpers.launching import DIGITS, ROOT, TINY
from helpers.sweeps import write_sweep
from snjax.sweeps import definition, journal
from snjax.sweeps.journal import RunState
from snjax.sweeps.sweep_state import restore_jobs

# ml_collections loads config files by a function that importlib gives up.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module')


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
