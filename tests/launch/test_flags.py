"""Flags of launch.py: which are read, which are refused, what has moved, and the list of keys."""

import json
import pathlib
import subprocess
import sys

import pytest
from absl import flags

import launch
from configs import base, from_workdir
from configs.modes import diagnose, evaluate, invert, sample
from experiments.modes import command_line, key_errors, list_keys
from experiments.settings import keys
from helpers.launching import DIGITS, ROOT
from snjax.runs.config_file import flatten

OPTIONS = {'sample': sample, 'invert': invert, 'evaluate': evaluate, 'diagnose': diagnose}
OLD_CONFIG = {
    'method': 'gan',
    'optimizer': {'lr': 0.5},
    'num_seeds': 4,
    'members': {'lr': '', 'beta1': '', 'beta2': ''},
    'fakes_at_once': True,
    'sampling': {'every': 7, 'num': 9, 'what': 'morph', 'label': 3},
    'inversion': {'operator': 'inpaint', 'fraction': 0.5},
    'eval': {'extractor': 'digits', 'protocols': 'paper', 'steps': '10'},
    'mine': {'weight': 2.0},
}


def answer(*words, cwd=None):
    """Exit code and the one line on stderr of a launch that ends before JAX is imported."""
    done = subprocess.run(
        [sys.executable, str(ROOT / 'launch.py'), *words],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
    )
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stderr.strip()


# ---- which flags are read


def test_every_flag_of_the_launcher_is_in_the_table():
    mine = {flag.name for flag in flags.FLAGS.flags_by_module_dict()[launch.__name__]}
    assert mine == set(command_line.READ_WITH)
    named = {name for needs in command_line.READ_WITH.values() for name in needs}
    assert named == {'mode', 'distributed', 'engine'}


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (
            ['--mode=report', '--profile=3'],
            '--profile is a flag of --mode=train, not of --mode=rep',
        ),
        (
            ['--mode=report', '--distributed=auto'],
            '--distributed is a flag of --mode=train, --mode',
        ),
        (['--mode=report', DIGITS], '--config is a flag of'),
        ([DIGITS, '--target=v5e:2x4'], '--target is a flag of --mode=compile, not of --mode=train'),
        (
            [DIGITS, '--mode=sample', '--dry_run'],
            '--dry_run is a flag of --mode=train, --mode=sweep',
        ),
        ([DIGITS, '--invert.num=3'], '--invert is a flag of --mode=invert, not of --mode=train'),
        ([DIGITS, '--num_processes=2'], '--num_processes is a flag of --distributed=explicit'),
        ([DIGITS, '--join_timeout=9'], '--join_timeout is a flag of --distributed=auto'),
        ([DIGITS, '--mode=sweep', '--compilation_cache=off'], 'not of --mode=sweep: leave it out'),
        ([DIGITS, '--mode=sweep', '--slurm=time=9'], 'add --engine=slurm, or leave it out'),
        (
            [DIGITS, '--mode=sample', '--config.n_dis=3'],
            'only data.data_dir, data.cache_dir, data.path, data.accept',
        ),
    ],
)
def test_a_flag_that_nothing_would_read_is_refused(words, expected):
    code, line = answer(*words)
    assert code == 2 and expected in line


def test_a_mode_needs_a_run_and_a_file_that_is_there():
    assert answer('--mode=invert') == (
        2,
        'launch.py: --workdir is missing: give a run, as --workdir=runs/sngan_digits',
    )
    code, line = answer(DIGITS, '--mode=sample', '--sample=nowhere.py')
    assert (code, line) == (2, 'launch.py: --sample=nowhere.py: there is no such file')
    assert answer('--config=configs/sngan_digit.py') == (
        2,
        'launch.py: --config=configs/sngan_digit.py: there is no such file; did you mean '
        'configs/sngan_digits.py?',
    )
    assert answer('--config=nowhere.py') == (
        2,
        'launch.py: --config=nowhere.py: there is no such file',
    )


@pytest.mark.parametrize(
    ('mode', 'remedy'),
    [
        ('sample', 'give the --workdir of a training'),
        ('evaluate', 'give the --workdir of a training'),
        ('train', 'give --config, or the --workdir of a training'),
    ],
)
def test_a_workdir_without_a_run_is_named_as_it_was_given(tmp_path, mode, remedy):
    assert answer(f'--mode={mode}', '--workdir=no_run', cwd=tmp_path) == (
        2,
        f'launch.py: no_run holds no run: there is no no_run/config.json; {remedy}',
    )


# ---- moved keys


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['--config.sampling.what=morph'], '--config.sampling.what has moved to --mode=sample: use --sample.what'),
        (['--config.inversion.operator=inpaint'], 'use --invert.operator'),
        (['--config.inversion.operatr=inpaint'], 'use --invert.operator'),
        (['--config.eval.protocols=paper'], 'use --evaluate.protocols'),
        (['--config.num_seeds=2'], '--config.num_seeds was removed in 0.2; several seeds are a sweep'),
        (['--mode=sample', '--config.sampling.num=4'], 'of --mode=train: use --sample.num'),
        (['--mode=evaluate', '--config.eval.extractor=digits'], 'use --evaluate.extractor'),
        (['--config.diagnostics.num=4'], 'use --diagnose.num'),
    ],
)  # fmt: skip
def test_an_older_flag_names_the_new_one(words, expected):
    code, line = answer(DIGITS, *words)
    assert code == 2 and expected in line


def test_every_option_has_its_name_of_before():
    before = {'sampling': 'sample', 'inversion': 'invert', 'eval': 'evaluate'}
    groups = before | {'diagnostics': 'diagnose'}
    assert {group: keys.MOVED[group][0] for group in keys.MOVED} == groups
    training = flatten(base.get_config().to_dict())
    for group, mode in groups.items():
        for key in OPTIONS[mode].get_config():
            expected = None if f'{group}.{key}' in training else f'{mode}.{key}'
            assert keys.moved(f'{group}.{key}') == expected
    assert keys.moved('sampling.evry') is keys.moved('n_dis') is keys.moved('sampling') is None


def test_a_run_of_before_has_the_keys_of_today(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(OLD_CONFIG))
    config = from_workdir.get_config(str(tmp_path))
    assert set(flatten(config.to_dict())) == {*flatten(base.get_config().to_dict()), 'mine.weight'}
    assert (config.method, config.optimizer.lr, config.mine.weight) == ('gan', 0.5, 2.0)
    assert (config.sampling.every, config.sampling.num, config.eval.extractor) == (7, 9, 'digits')


# ---- missing and misspelt keys


@pytest.mark.parametrize(
    ('body', 'expected'),
    [
        ('c.optimizer.lrr = 3', 'line 6: there is no key optimizer.lrr; did you mean optimizer.lr?'),
        ('c.optimizr.lr = 3', 'line 6: there is no key optimizr; did you mean optimizer?'),
        ('c.seed = c.sed', 'line 6: there is no key sed; did you mean seed?'),
        ('c.lr = 3', 'line 6: there is no key lr; did you mean burn_in.lr or optimizer.lr?'),
        ('c.update({"model": {"gen_wdth": 3}})', 'no key model.gen_wdth; did you mean model.gen_width?'),
        ('c.update_from_flattened_dict({"data.nam": 3})', 'no key data.nam; did you mean data.name?'),
        ('c.update_from_flattened_dict({"inversion.lr": 3})', 'line 6: inversion.lr has moved'),
        ('c.sampling.what = "morph"', 'line 6: sampling.what has moved to --mode=sample: use --sample.what'),
        ('c.num_seeds = 3', 'line 6: num_seeds was removed in 0.2; several seeds are a sweep'),
        ('c.members.lr = "1"', 'line 6: members was removed in 0.2'),
        ('with c.unlocked(): c.sampling.what = 1', 'mine.py: sampling.what has moved'),
        ('with c.unlocked(): del c.n_dis', 'mine.py: the key n_dis is missing; start from base.get_config()'),
        ('with c.unlocked(): del c.n_dis; c.n_ds = 1', 'mine.py: there is no key n_ds; did you mean n_dis?'),
        ('return 3', 'mine.py: get_config returned 3; a ConfigDict is needed'),
    ],
)  # fmt: skip
def test_a_key_that_is_none_is_named_with_its_file_and_the_nearest(tmp_path, body, expected):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from configs import base\n\n\ndef get_config():\n    c = base.get_config()\n'
        f'    {body}\n    return c\n'
    )
    code, line = answer(f'--config={path}', f'--workdir={tmp_path / "run"}')
    assert code == 2 and line.startswith(f'launch.py: {path}') and expected in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ([DIGITS, '--config.n_dsi=3'], '--config.n_dsi: there is no key n_dsi; did you mean --config.n_dis?'),
        ([DIGITS, '--config.model.gen_wdth=3'], 'did you mean --config.model.gen_width?'),
        ([DIGITS, '--config.qqq=3'], '--config.qqq: there is no key qqq; --list_keys lists all keys'),
        ([DIGITS, '--mode=sample', '--sample.nmu=3'], '--sample.nmu: there is no key nmu; did you mean --sample.num?'),
        ([DIGITS, '--mode=sweep', '--sweep=S.py', '--config.seeed=3'], 'did you mean --config.seed?'),
        ([DIGITS, '--mode=sweep', '--sweep=S.py'], 'S.py: there is no key optimizer.lrr; did you mean optimizer.lr?'),
    ],
)  # fmt: skip
def test_a_misspelt_flag_or_key_of_a_sweep_names_the_nearest(tmp_path, words, expected):
    (tmp_path / 'S.py').write_text("def get_sweep(h):\n    return [{'optimizer.lrr': 1}]\n")
    code, line = answer(*words, cwd=tmp_path)
    assert code == 2 and expected in line


def test_options_may_lie_in_a_file_which_is_checked_too(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({"nm": 3})\n'
    )
    code, line = answer(DIGITS, '--mode=sample', f'--sample={path}')
    assert (code, line) == (2, f'launch.py: {path}: there is no key nm; did you mean num?')


def test_an_error_that_is_no_missing_key_is_not_explained():
    for error in (KeyError('n_dis'), AttributeError("'int' object has no attribute 'x'")):
        try:
            raise error
        except (KeyError, AttributeError) as raised:
            assert key_errors.explained(raised) is None


def test_a_key_that_a_method_lacks_is_named():
    config = base.get_config()
    with pytest.raises(AttributeError) as raised:
        print(config.glo.levls)
    assert str(key_errors.explained(raised.value)).endswith(
        'there is no key glo.levls; did you mean glo.levels?'
    )
    assert f'{pathlib.Path(__file__)}, line ' in str(key_errors.explained(raised.value))


# ---- the list of keys


@pytest.mark.parametrize('flag', keys.FILES)
def test_every_key_has_a_meaning_and_its_default(flag):
    found = list_keys.keys_of(flag)
    values = flatten(key_errors.defaults(flag).to_dict())
    assert {key.name.removeprefix(f'{flag}.'): key.default for key in found} == values
    assert [
        key.name for key in found if len(key.meaning) < 10 or key.meaning[-1] not in '.?)'
    ] == []


def test_the_list_holds_all_keys_or_those_that_match():
    listed = subprocess.run(
        [sys.executable, str(ROOT / 'launch.py'), '--list_keys'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flags_there = [line for line in listed.splitlines() if line.startswith('--')]
    assert len(flags_there) == sum(len(list_keys.keys_of(flag)) for flag in keys.FILES)
    assert '--config.optimizer.lr=0.0002\n    Learning rate.\n' in listed
    assert max(map(len, listed.splitlines())) <= 100
    names = [key.name for key in list_keys.matching('acgan')]
    expected = 'dis_weight', 'gen_weight', 'temperature', 'margin'
    assert names == [f'config.acgan.{key}' for key in expected]
    assert 'sample.fps' in [key.name for key in list_keys.matching('Frames per second')]
    with pytest.raises(ValueError, match=r'--list_keys=optmizer: .*did you mean .*=optimizer\?'):
        list_keys.matching('optmizer')


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['--list_keys'], ['--list_keys=']),
        (['--list_keys', 'acgan'], ['--list_keys=acgan']),
        (['--list_keys=acgan'], ['--list_keys=acgan']),
        (['--list_keys', '--mode=report'], ['--list_keys=', '--mode=report']),
    ],
)
def test_a_text_to_search_for_may_follow_after_a_space(words, expected):
    assert command_line.completed(['launch.py', *words]) == ['launch.py', *expected]
