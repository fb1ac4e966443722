"""Runs of a sweep: identity, names and folders."""

import json
import re

from snjax.sweeps import runs

PLACES = ('data_dir', 'cache_dir')


def config(**changes):
    return {'seed': 0, 'num_steps': 10, 'data': {'name': 'digits', 'data_dir': ''}} | changes


def identify(config):
    """All keys except the folders of the data."""
    if 'members' in config:
        raise ValueError('members is gone')
    return config | {'data': {k: v for k, v in config['data'].items() if k not in PLACES}}


def make(items, configs, folder):
    num_steps = [config['num_steps'] for config in configs]
    return runs.make(items, configs, folder, identify, num_steps=num_steps)


def add_folder(sweep, name, config=None):
    """Adds the folder of a run to the folder of a sweep."""
    folder = sweep / 'runs' / name
    folder.mkdir(parents=True)
    if config is not None:
        (folder / 'config.json').write_text(
            config if isinstance(config, str) else json.dumps(config)
        )


def test_a_run_is_its_identity(tmp_path):
    same = config(data={'data_dir': '/elsewhere', 'name': 'digits'})
    others = [config(seed=1), config(num_steps=20), config(data={'name': 'stl10'})]
    configs = [config(), same, *others]
    made = make([{'config': f'c{i}'} for i in range(5)], configs, tmp_path)
    assert [run.item['config'] for run in made] == ['c0', 'c2', 'c3', 'c4']
    assert len({run.id for run in made}) == 4
    assert all(re.fullmatch('[0-9a-f]{10}', run.id) for run in made)


def test_names_say_what_differs_and_a_folder_keeps_its_name(tmp_path):
    file = 'configs/x.py:m/n,A'
    items = [{'config': file, 'optimizer.lr': lr, 'seed': 0, 'n': 1} for lr in (1e-3, 0.1)]
    configs = [config(lr=lr) for lr in (1e-3, 0.1)]
    first, second = make(items, configs, tmp_path)
    assert re.fullmatch('lr=0.001-[0-9a-f]{10}', first.name) and first.name.endswith(first.id)
    first.workdir(tmp_path).mkdir(parents=True)
    # The definition grows, and its order is reversed.
    more = [
        {'config': file, 'optimizer.lr': lr, 'seed': s, 'n': 1}
        for s in (1, 0)
        for lr in (0.1, 1e-3)
    ]
    grown = make(more, [config(lr=i['optimizer.lr'], seed=i['seed']) for i in more], tmp_path)
    assert grown[3].name == first.name and grown[3].id == first.id
    assert grown[2].id == second.id and grown[2].name == f'lr=0.1,seed=0-{second.id}'
    others = [{'config': file}, {'config': 'configs/y.py'}]
    names = [run.name for run in make(others, [config(n=1), config(n=2)], tmp_path)]
    assert [name[:-11] for name in names] == ['x_m_n,A', 'y']


def test_a_folder_with_another_hash_is_found_by_the_config_inside(tmp_path):
    """Older versions hashed other keys."""
    add_folder(tmp_path, 'seed=0-0123456789', config(data={'name': 'digits', 'cache_dir': '/old'}))
    add_folder(tmp_path, '00000000aa', config(seed=1))
    items = [{'config': 'c', 'seed': seed} for seed in (0, 1, 2)]
    made = make(items, [config(seed=seed) for seed in (0, 1, 2)], tmp_path)
    assert [run.name for run in made[:2]] == ['seed=0-0123456789', '00000000aa']
    assert [run.id for run in made[:2]] == ['0123456789', '00000000aa']
    assert made[2].name.startswith('seed=2-')


def test_of_equal_folders_the_one_with_exactly_this_config_is_taken(tmp_path):
    for name, place in (('a-0000000001', '/a'), ('b-0000000002', '/b')):
        add_folder(tmp_path, name, config(data={'name': 'digits', 'data_dir': place}))
    for place, name in (('/a', 'a'), ('/b', 'b'), ('/c', 'a')):
        (run,) = make(
            [{'config': 'c'}], [config(data={'name': 'digits', 'data_dir': place})], tmp_path
        )
        assert run.label == name


def test_no_two_runs_share_a_folder(tmp_path):
    """Even if the config in one run's folder is now that of the other."""
    items, configs = [{'config': 'a'}, {'config': 'b'}], [config(seed=0), config(seed=1)]
    first, second = make(items, configs, tmp_path)
    add_folder(tmp_path, first.name, config(seed=1))
    again = make(items, configs, tmp_path)
    assert [run.name for run in again] == [first.name, second.name]


def test_a_folder_without_a_readable_config_or_hash_is_passed_over(tmp_path):
    add_folder(tmp_path, 'a-0000000001', '{"damaged')
    add_folder(tmp_path, 'b-0000000002', config() | {'members': {}})
    add_folder(tmp_path, 'c-0000000003')
    add_folder(tmp_path, 'made_by_hand', config())
    (run,) = make([{'config': 'd'}], [config()], tmp_path)
    assert run.name == f'd-{run.id}'


def test_a_given_name_stands_for_the_overrides_and_changes_no_identity(tmp_path):
    plain = [{'config': 'c', 'seed': s, 'lr': lr} for s in (0, 1) for lr in (0.1, 0.2)]
    named = [{'name': f'rate {i["lr"]}', **i} for i in plain]
    configs = [config(lr=i['lr'], seed=i['seed']) for i in plain]
    before, after = make(plain, configs, tmp_path), make(named, configs, tmp_path)
    assert [run.id for run in before] == [run.id for run in after]
    assert [run.name[:-11] for run in after] == [f'rate_{i["lr"]},seed={i["seed"]}' for i in plain]
    assert [run.arguments(tmp_path)[:-1] for run in before] == [
        run.arguments(tmp_path)[:-1] for run in after
    ]
    # A folder that is there keeps its name.
    before[0].workdir(tmp_path).mkdir(parents=True)
    assert make(named, configs, tmp_path)[0].name == before[0].name
