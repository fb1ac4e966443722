"""Tests of the names of runs, and of the tables of a report as Markdown, LaTeX and CSV."""

import csv
import json
from pathlib import Path

import pytest

from experiments.modes import report
from experiments.report import names, tables
from experiments.report.records import Cell, Page, Section, Table
from helpers.report_pages import digits, make_run


@pytest.mark.parametrize(
    ('kinds', 'expected'),
    [
        ([['runs/plain'], ['runs/sn']], ['plain', 'sn']),
        ([['runs/plain-seed0', 'runs/plain-seed1'], ['runs/sn1']], ['plain', 'sn1']),
        ([['runs/sn_s0', 'runs/sn_s1']], ['sn']),
        ([['runs/hinge-a', 'runs/hinge-b']], ['hinge']),
        ([['runs/monday', 'runs/sunday']], ['monday and 1 more']),
        ([['x/run'], ['y/run']], ['x/run', 'y/run']),
        ([['x/run'], ['x/run']], ['x/run (1)', 'x/run (2)']),
        (
            [['sweep/runs/lr=0.1,seed=0-0123456789', 'sweep/runs/lr=0.1,seed=1-1123456789']],
            ['lr=0.1'],
        ),
        ([['sweep/runs/seed=0-0123456789', 'sweep/runs/seed=1-1123456789']], ['sweep']),
    ],
)
def test_kinds_are_named_by_their_folders(tmp_path, kinds, expected):
    (tmp_path / 'sweep').mkdir()
    (tmp_path / 'sweep' / 'journal.jsonl').touch()
    assert names.names([[tmp_path / path for path in folders] for folders in kinds]) == expected


def test_runs_of_a_sweep_have_the_names_that_it_gives_them(tmp_path):
    folders = {name: [f'runs/{name}_SN,seed={s}-{s}123456789' for s in (0, 1)] for name in 'ab'}
    sweep = tmp_path / 'sweep'
    sweep.mkdir()
    (sweep / 'journal.jsonl').touch()
    kinds = [[sweep / path for path in paths] for paths in folders.values()]
    assert names.names(kinds) == ['a_SN', 'b_SN']  # while there is no summary yet
    runs = [
        {'workdir': path, 'overrides': {'name': f'{name} SN'}}
        for name, paths in folders.items()
        for path in paths
    ]
    (sweep / 'sweep.json').write_text(json.dumps({'runs': runs}))
    assert names.names(kinds) == ['a SN', 'b SN']
    (sweep / 'sweep.json').write_text('{"runs": [')
    assert names.names(kinds) == ['a_SN', 'b_SN']


def test_tables_are_text_in_markdown_and_latex():
    rows = [[Cell('a_b|c'), Cell('1.0 ± 0.5', 1.0)], [Cell('50 %'), Cell('2', 2.0)]]
    table = Table(['run', 'FID ↓'], rows, 'A & B', groups=[('', 1), ('here', 1)], best={1: -1})
    page = Page('Runs', [], [Section('Scores', [table]), Section('No', [table], is_folded=True)])
    assert tables.markdown(page) == (
        '# Runs\n\n## Scores\n\nA & B\n\n| run | FID ↓ |\n| --- | --- |\n'
        '| a\\_b\\|c | **1.0 ± 0.5** |\n| 50 % | 2 |\n'
    )
    text = tables.latex(page)
    assert text.count(r'\begin{tabular}{lr}') == 1
    assert r'a\_b$|$c & \textbf{1.0 $\pm$ 0.5} \\' in text
    assert r'run & FID $\downarrow$ \\' in text and r'50 \% & 2 \\' in text
    assert r'\caption{A \& B}' in text


def test_a_report_leaves_its_tables_as_files_with_the_same_names(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path / f'sn{seed}', digits(), step=100, distance=3.0 + seed, seed=seed)
    make_run(tmp_path / 'plain', digits(), step=100, distance=9.0, loss='wasserstein')
    report.run_report(tmp_path / '*')
    found = list(csv.DictReader((tmp_path / 'report.csv').read_text().splitlines()))
    assert [row['run'] for row in found] == ['sn', 'plain']
    assert [float(row['frechet_distance']) for row in found] == [3.5, 9.0]
    assert Path(found[1]['workdirs']).name == 'plain'
    assert '| sn | 2 | 2 finished | 100 | **3.50 ± 0.71** |' in (tmp_path / 'report.md').read_text()
    assert r'sn & 2 & 2 finished & 100 & \textbf{3.50 $\pm$ 0.71}' in (
        (tmp_path / 'report.tex').read_text()
    )
