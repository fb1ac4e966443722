"""Tests of the layouts of SNGAN's paper: methods under settings, and table 2."""

from pathlib import Path

import pytest

from configs import base, sngan_paper
from experiments.modes import report
from experiments.report import paper
from helpers.report_pages import MANIFEST, digits, make_run, outline
from snjax.runs import scores_file
from snjax.runs.config_file import flatten
from snjax.runs.scores_file import Row


def test_methods_and_settings_are_told_from_the_values_of_a_config():
    for method in sngan_paper.METHODS:
        for setting in sngan_paper.SETTINGS:
            config = sngan_paper.get_config(f'{method},{setting},stl')
            flat = flatten(config.to_dict())
            assert paper.place_of(flat) == (method, setting, 'stl10')
    flat = flatten(base.get_config().to_dict())
    assert paper.place_of(flat) is None  # n_dis 5 at a rate of 2e-4 is no setting
    flat = flatten(sngan_paper.get_config().to_dict())
    assert paper.place_of(flat | {'penalty.r1': 1.0}) is None
    assert paper.published('sngan_hinge', 'cifar10')[3:5] == (7.58, 25.5)
    assert paper.published('batch_norm', 'stl10') is None


def make_paper(folder: Path, arguments) -> None:
    manifest = {'extractor': 'inception', 'protocol': 'paper', 'fake_count': 5000}
    for i, (argument, seed, fid) in enumerate(arguments):
        config = sngan_paper.get_config(argument)
        config.num_steps = 100
        run = folder / f'run{i}'
        make_run(run, config, step=100, seed=seed)
        about = MANIFEST | manifest | {'real': config.data.name, 'step': 100, 'seed': seed}
        scores = {'fid': fid, 'inception_score': 100 / fid}
        scores_file.add(run / 'scores.json', [Row(scores, about)])


def test_the_settings_stand_side_by_side_and_table_2_takes_the_best_of_them(tmp_path):
    make_paper(
        tmp_path,
        [
            ('sngan,A,cifar', 0, 30.0),
            ('sngan,A,cifar', 1, 34.0),
            ('sngan,F,cifar', 0, 50.0),
            ('wgan_gp,A,cifar', 0, 40.0),
            ('wgan_gp,F,cifar', 0, 35.0),
        ],
    )
    report.run_report(tmp_path / '*')
    text, found = (tmp_path / 'report.html').read_text(), outline(tmp_path)
    assert 'Scores under the settings A to F' in text
    assert '<title>sngan: 32.0 ± 2.8</title>' in text
    rows = next(t for t in found.tables if any('published' in cell for cell in t[0]))
    assert rows[1] == [
        'method',
        'Inception score ↑',
        'FID ↓',
        'setting',
        'seeds',
        'Inception score ↑',
        'FID ↓',
    ]
    by_method = {row[0]: row[1:] for row in rows[2:]}
    assert by_method['wgan_gp'] == ['2.857', '35', 'F', '1', '6.68', '40.2']
    assert by_method['sngan'][1:] == ['32.0 ± 2.8', 'A', '2', '7.42', '29.3']
    apart = [a for tag, a in found.tags if tag == 'td' and 'apart' in a.get('class', '')]
    assert len(apart) >= 4
    svg = (tmp_path / 'report.svg').read_text()
    assert 'cifar10: FID' in svg


def test_one_setting_of_several_methods_is_table_2_and_other_runs_are_no_paper(tmp_path, capsys):
    make_paper(tmp_path / 'p', [('sngan,C,cifar', 0, 30.0), ('weight_norm,C,stl', 0, 60.0)])
    report.run_report(tmp_path / 'p' / '*')
    assert 'layout table2' in capsys.readouterr().out
    report.run_report(tmp_path / 'p' / '*', 'runs')
    assert 'layout runs' in capsys.readouterr().out
    make_run(tmp_path / 'q', digits(), step=100)
    with pytest.raises(ValueError, match=r'--layout=settings: .*q is no method of .*--layout=runs'):
        report.run_report(tmp_path / 'q', 'settings')
    make_paper(tmp_path / 'r', [('sngan,C,cifar', 0, 30.0)])
    config = sngan_paper.get_config('sngan,C,cifar')
    make_run(tmp_path / 'r' / 'wide', config, step=100, **{'model.gen_width': 128})
    with pytest.raises(ValueError, match='are both sngan under C on cifar10'):
        report.run_report(tmp_path / 'r' / '*', 'table2')
