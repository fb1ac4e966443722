"""Tests of --mode=report: that its numbers are right, that nothing breaks it, and that its page stands alone."""

import html.parser
import json
import math
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import base, sngan_digits, sngan_paper
from experiments import report
from experiments.report import paper
from experiments.report.samples import equal_steps
from helpers.browser import open_tab
from helpers.launching import ROOT, Outcome
from helpers.tensorboard_server import serve
from snjax.metrics.evaluate import Row
from snjax.report import figure, page, thumbnails
from snjax.report.axes import axis_of, short
from snjax.report.records import (
    Categories,
    Cell,
    Curves,
    Figure,
    Line,
    Page,
    Section,
    Series,
    Sheet,
    Table,
    Text,
)
from snjax.report.spreads import curve, spread
from snjax.runs import config_file, images, lock, scores_file, workdir

MANIFEST = {
    'protocol': 'train/all/500',
    'real': 'digits, train',
    'real_count': 1797,
    'fake_count': 500,
    'extractor': 'digits',
    'checkpoint': 'last',
    'weights': 'ema',
    'batch_statistics': 'running',
    'eval_seed': 0,
}


def make_run(folder: Path, config: ConfigDict, *, step: int, distance: float | None = None, **more):
    """A workdir as a run leaves it, with a falling loss, a grid at steps 0 and `step`, and a score."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(more)
    config_file.check_config(folder, config.to_dict())
    lines = [{'step': s, 'wall_time': 1.0, 'train/dis_loss': 2.0 - s / step} for s in (1, step)]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'checkpoints' / str(step)).mkdir(parents=True)
    for at in (0, step):
        grid = np.full((18, 18, 1), config.seed * 50 % 256, np.uint8)
        images.save_png(folder / 'samples' / f'{at:08d}.png', grid)
    if distance is not None:
        scores = {'frechet_distance': distance, 'classifier_score': 10 / distance}
        row = Row(scores, MANIFEST | {'step': step, 'seed': config.seed})
        scores_file.add(folder / 'scores.json', [row])


def digits(num_steps: int = 100) -> ConfigDict:
    config = sngan_digits.get_config()
    config.num_steps = num_steps
    return config


class Outline(html.parser.HTMLParser):
    """What a page holds: tables as rows of texts, attributes of tags; fails where tags do not match."""

    VOID = ('meta', 'img', 'path', 'circle', 'rect', 'br', 'link')

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.tables = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'td' in self.open or 'th' in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, head: str) -> list[dict[str, str]]:
        """The rows, by head, of the first table that has this head."""
        for rows in self.tables:
            for i, heads in enumerate(rows):
                if head in heads:
                    return [dict(zip(heads, row, strict=True)) for row in rows[i + 1 :]]
        raise AssertionError(f'no table has {head!r}')


def outline(folder: Path) -> Outline:
    return Outline((folder / 'report.html').read_text())


# ---- seeds taken together


def test_a_spread_is_mean_and_sample_deviation_of_what_is_finite():
    found = spread([1.0, 2.0, 6.0, math.nan, math.inf])
    assert found == (3.0, statistics.stdev([1, 2, 6]), (1.0, 2.0, 6.0))
    assert found.std == pytest.approx(math.sqrt(7))
    assert spread([4.0]) == (4.0, None, (4.0,))
    assert spread([math.nan]) is None


def test_a_curve_has_the_seeds_that_are_there_and_says_where_some_are_not():
    points = curve([{10: 1.0, 20: 3.0}, {10: 3.0, 20: math.nan}, {}])
    assert [(p.step, p.spread.mean, p.spread.std, p.is_whole) for p in points] == [
        (10, 2.0, math.sqrt(2), True),
        (20, 3.0, None, False),
    ]


def test_a_thinned_curve_keeps_the_spread_between_seeds_and_not_that_along_the_curve():
    steps = range(1, 1001)
    points = curve([{s: float(s) for s in steps}, {s: s + 2.0 for s in steps}], bins=10)
    assert len(points) == 10
    assert all(p.spread.std == pytest.approx(math.sqrt(2)) for p in points)
    assert all(p.spread.mean == pytest.approx(p.step + 1) for p in points)


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ([10.0, 12.0], '11.0 ± 1.4'),
        ([0.001, 0.003], '0.0020 ± 0.0014'),
        ([100.0, 400.0], '250 ± 212'),
        ([5.0, 5.0], '5 ± 0'),
        ([12.34567], '12.35'),
    ],
)
def test_a_spread_is_said_as_far_as_its_deviation_allows(values, text):
    assert figure.said(spread(values)) == text


# ---- axes and figures


@pytest.mark.parametrize(
    'low, high', [(0, 1), (-3, 17), (0.011, 0.0113), (2, 250_000), (1e-5, 1e5)]
)
def test_ticks_are_few_inside_and_increasing(low, high):
    axis = axis_of([low, high])
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(ticks)
    assert all(-1e-9 <= axis.at(t) <= 1 + 1e-9 for t in ticks)
    assert axis.is_log == (low > 0 and high / low > 50)


def test_an_outlier_does_not_squash_a_curve_where_it_may_be_cut():
    values = [1 + 0.01 * i for i in range(100)] + [1e4]
    assert axis_of(values, may_cut=True).high < 2.5
    assert axis_of([-v for v in values]).low < -1e4
    assert axis_of([]).ticks()
    assert [short(v) for v in (0, 0.25, 1500, 2e6)] == ['0', '0.25', '1.5k', '2M']


def test_a_panel_draws_each_line_where_its_values_are():
    low, high = curve([{0: 0.0, 100: 0.0}]), curve([{0: 1.0, 100: 1.0}])
    drawn = figure.panel(Curves('a < b', [Line('low', 0, low), Line('high', 9, high)]))
    paths = re.findall(r'<path d="M([\d. L]+)" fill="none" stroke="currentColor"', drawn)
    ends = [[tuple(map(float, point.split())) for point in path.split('L')] for path in paths]
    (l0, l1), (h0, h1) = ends
    assert l0[1] == l1[1] > h0[1] == h1[1]  # SVG's y grows downwards
    assert l0[0] == h0[0] < l1[0] == h1[0]
    assert 'a &lt; b' in drawn
    assert 'class="s1"' in drawn and 'stroke-dasharray="6 3"' in drawn  # the tenth is dashed


def test_bars_reach_one_deviation_and_what_did_not_finish_is_marked():
    two = Series('sngan', 0, [spread([10.0, 20.0]), None], ['', '2 of 2 diverged'])
    drawn = figure.panel(Categories('FID', ['A', 'B'], [two], 'setting'))
    (bar,) = re.findall(r'M[\d.]+ ([\d.]+)V([\d.]+)M', drawn)
    (mean,) = re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)" r="3.2"', drawn)
    top, foot, middle = float(bar[0]), float(bar[1]), float(mean)
    assert top < middle < foot
    assert middle - top == pytest.approx(foot - middle, abs=0.2)
    assert '<title>sngan: 15.0 ± 7.1</title>' in drawn
    assert '<title>sngan: 2 of 2 diverged</title>' in drawn and '†' in drawn


# ---- the page


def test_whatever_stands_in_a_record_is_text_on_the_page():
    bad = '<script>alert("1")</script> & \'x\''
    series = Line(bad, 0, curve([{1: 1.0}]))
    sections = [
        Section(
            bad, [Text(bad), Text(bad, is_code=True), Table([bad], [[Cell(bad, hint=bad)]], bad)]
        ),
        Section(bad, [Figure([Curves(bad, [series])], [(bad, 0)], bad)], is_folded=True),
        Section(bad, [Sheet([bad], [(bad, 0, [b'x'])], bad)]),
    ]
    text = page.render(Page(bad, [bad], sections))
    found = Outline(text)
    assert [tag for tag, _ in found.tags].count('script') == 1  # our own
    assert 'alert("1")' not in text
    assert bad in next(attrs for tag, attrs in found.tags if tag == 'td')['title']


def test_the_best_of_a_column_is_bold_whichever_way_is_better():
    cells = [
        [Cell('a', 1.0), Cell('a', 1.0)],
        [Cell('b', 2.0), Cell('b', 2.0)],
        [Cell(''), Cell('')],
    ]
    text = page.render(Page('', [], [Section('', [Table(['x', 'y'], cells, best={0: -1, 1: 1})])]))
    assert re.findall('<strong>(.)</strong>', text) == ['a', 'b']


def test_large_pictures_are_cut_between_two_images(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    images.save_png(tmp_path / 'x.png', images.grid(noise))
    png = (tmp_path / 'x.png').read_bytes()
    budget = thumbnails.Budget(len(png) // 4 + 1)
    (tmp_path / 'y.png').write_bytes(budget.take(png, 32))
    assert np.array_equal(
        Image.open(tmp_path / 'y.png'),
        images.grid(noise.reshape(10, 10, 32, 32, 3)[:5, :5].reshape(25, 32, 32, 3)),
    )
    assert budget.remark()
    assert thumbnails.Budget(len(png)).take(png, 32) == png


def test_samples_are_of_equal_steps():
    every = dict.fromkeys(range(0, 1001, 100))
    assert equal_steps([every, dict.fromkeys([0, 500, 1000])], 4) == [500, 1000]
    assert equal_steps([every], 4) == [200, 500, 800, 1000]
    assert equal_steps([{0: 1}], 4) == [0]
    assert equal_steps([{0: 1, 10: 1}, {0: 1, 20: 1}], 1) in ([10], [20])


# ---- runs


def test_seeds_are_one_row_and_other_configs_others(tmp_path):
    for seed, distance in enumerate([10.0, 12.0, 17.0]):
        make_run(tmp_path / f'a{seed}', digits(), step=100, distance=distance, seed=seed)
    more = {'optimizer.lr': 1e-3, 'seed': 5}
    make_run(tmp_path / 'b', digits(), step=100, distance=4.0, **more)
    make_run(tmp_path / 'c', digits(), step=40, **{'loss': 'wasserstein'})
    report.run_report(tmp_path / '*')
    found = outline(tmp_path)
    first, second = found.table('Frechet distance (digits) ↓')
    assert first['run'].endswith('lr=0.001') and first['seeds'] == '1'
    assert first['Frechet distance (digits) ↓'] == '4'
    assert (second['seeds'], second['state'], second['step']) == ('3', '3 finished', '100')
    assert second['Frechet distance (digits) ↓'] == '13.0 ± 3.6'
    mean = statistics.fmean([1, 10 / 12, 10 / 17])
    assert second['Classifier score ↑'].startswith(f'{mean:.2f} ± ')
    (without,) = next(t[1:] for t in found.tables if t[0] == ['run', 'seeds', 'state', 'step'])
    assert without[1:] == ['1', 'interrupted', '40 of 100']
    # What is not the same in all, and nothing else.
    rows = found.table('optimizer.lr')
    assert list(rows[0]) == ['run', 'loss', 'optimizer.lr', 'seed']
    assert {(r['loss'], r['optimizer.lr'], r['seed']) for r in rows} == {
        ('hinge', '0.0005', '0, 1, 2'),
        ('hinge', '0.001', '5'),
        ('wasserstein', '0.0005', '0'),
    }
    text = (tmp_path / 'report.html').read_text()
    assert 'model.gen_width: 16' in text
    assert '500 fakes against 1797 real images (digits, train), extractor digits' in text
    assert (tmp_path / 'report.svg').read_text().startswith('<svg xmlns=')
    assert '5 runs of 3 kinds: ' in text


def test_a_seed_that_was_run_twice_counts_once(tmp_path, capsys):
    make_run(tmp_path / 'a', digits(), step=100, distance=10.0)
    make_run(tmp_path / 'again', digits(), step=100, distance=12.0)
    last = tmp_path / 'again' / 'metrics.jsonl'
    last.write_text(json.dumps({'step': 100, 'wall_time': 1.0, 'train/dis_loss': 3.0}) + '\n')
    report.run_report(tmp_path / '*')
    assert capsys.readouterr().out.startswith('2 runs of 1 kind, 2 finished; ')
    (row,) = outline(tmp_path).table('Frechet distance (digits) ↓')
    assert (row['seeds'], row['Frechet distance (digits) ↓']) == ('1', '11')
    runs, _ = report.run_folders.read([tmp_path / 'a', tmp_path / 'again'])
    (group,) = report.groups_of(runs)
    at_the_end = group.curve('train/dis_loss')[-1].spread
    assert (at_the_end.mean, at_the_end.std) == (2.0, None)


def test_the_page_needs_nothing_else(tmp_path):
    make_run(tmp_path / 'a', digits(), step=100, distance=4.0)
    report.run_report(tmp_path / 'a')
    text = (tmp_path / 'a' / 'report.html').read_text()
    sources = [a[k] for _, a in Outline(text).tags for k in ('src', 'href') if k in a]
    assert sources and all(s.startswith('data:image/png;base64,') for s in sources)
    without_names = text.replace('http://www.w3.org/2000/svg', '')
    assert not re.search(r'https?://|url\(|@import', without_names)


def test_each_state_is_told_apart(tmp_path):
    folder = tmp_path / 'x' / 'runs'
    for seed, name in enumerate(['done-1', 'half-2', 'wild-3', 'live-4', 'crashed-5']):
        make_run(folder / name, digits(), step=100 if seed == 0 else 40, seed=seed)
    (folder / 'wild-3' / workdir.DIVERGED_NAME).write_text('diverged by step 41: dis_loss = nan\n')
    journal = [
        {'run': '5', 'state': 'crashed', 'note': 'MemoryError'},
        {'run': '2', 'state': 'running'},
    ]
    lines = [json.dumps(line) for line in journal]
    (tmp_path / 'x' / 'journal.jsonl').write_text('\n'.join([*lines, '{"run": "1", "sta']))
    with lock.WorkdirLock(folder / 'live-4'):
        report.run_report(tmp_path / 'x')
        with pytest.raises(ValueError, match='in use'):  # asking left the lock as it was
            lock.WorkdirLock(folder / 'live-4').__enter__()
    rows = outline(tmp_path / 'x').table('workdir')
    assert {Path(r['workdir']).name: r['state'] for r in rows} == {
        'done-1': 'finished',
        'half-2': 'interrupted',
        'wild-3': 'diverged',
        'live-4': 'running',
        'crashed-5': 'crashed',
    }
    remarks = {Path(r['workdir']).name: r['remark'] for r in rows}
    assert remarks['wild-3'] == 'diverged by step 41: dis_loss = nan'
    assert remarks['crashed-5'] == 'MemoryError'


def test_what_is_torn_damaged_or_no_run_is_said_and_stops_nothing(tmp_path, capsys):
    for name in ('whole', 'torn', 'damaged', 'no-config', 'scores'):
        make_run(tmp_path / name, digits(), step=100, distance=3.0, seed=len(name))
    with open(tmp_path / 'torn' / 'metrics.jsonl', 'a') as file:
        file.write('{"step": 100, "train/dis')
    (tmp_path / 'damaged' / 'metrics.jsonl').write_text('{"step":\n[1]\n{"step": 7, "x": "NaN"}\n')
    (tmp_path / 'no-config' / 'config.json').write_text('{')
    (tmp_path / 'scores' / 'scores.json').write_text('{"rows": [{}]}')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'fresh').mkdir()
    (tmp_path / 'fresh' / 'config.json').write_text(json.dumps(digits().to_dict()))
    report.run_report(tmp_path / '*')
    out = capsys.readouterr().out.splitlines()
    told = sorted(line for line in out if line.startswith('left out: '))
    assert len(told) == 4
    for line, words in zip(
        told,
        [
            'damaged/metrics.jsonl: 2 lines',
            'empty holds no run',
            'no-config/config.json is damaged',
            'scores/scores.json is damaged',
        ],
        strict=True,
    ):
        assert words in line
    assert '5 runs of' in out[-1]
    rows = {Path(r['workdir']).name: r for r in outline(tmp_path).table('workdir')}
    assert rows['fresh']['step'] == '0 of 100'
    assert rows['torn']['step'] == '100 of 100'


def test_best_checkpoints_of_seeds_are_one_row_although_their_steps_differ(tmp_path):
    for seed, step in enumerate((40, 80)):
        folder = tmp_path / str(seed)
        make_run(folder, digits(), step=100, seed=seed)
        manifest = MANIFEST | {'checkpoint': 'best', 'step': step, 'seed': seed}
        scores_file.add(folder / 'scores.json', [Row({'frechet_distance': 3.0 + seed}, manifest)])
    report.run_report(tmp_path / '*')
    (row,) = outline(tmp_path).table('Frechet distance (digits) ↓')
    assert (row['seeds'], row['step']) == ('2', '40-80')
    assert row['Frechet distance (digits) ↓'] == '3.50 ± 0.71'


# ---- the paper's layouts


def test_methods_and_settings_are_told_from_the_values_of_a_config():
    for method in sngan_paper.METHODS:
        for setting in sngan_paper.SETTINGS:
            config = sngan_paper.get_config(f'{method},{setting},stl')
            flat = dict(report.leaderboard.leaves(config.to_dict()))
            assert paper.place_of(flat) == (method, setting, 'stl10')
    flat = dict(report.leaderboard.leaves(base.get_config().to_dict()))
    assert paper.place_of(flat) is None  # n_dis 5 at a rate of 2e-4 is no setting
    flat = dict(report.leaderboard.leaves(sngan_paper.get_config().to_dict()))
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
    assert 'cifar10: FID' in svg and 'prefers-color-scheme:dark' in svg


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


# ---- as users start it


def test_launch_writes_it_without_jax_and_refuses_in_one_line(tmp_path, launcher):
    make_run(tmp_path / 'a', digits(), step=100, distance=4.0)
    probe = 'import sys; from experiments import report; print(sorted({"jax", "flax"} & set(sys.modules)))'
    done = subprocess.run(
        [sys.executable, '-c', probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'
    outcome = launcher.run('--mode=report', f'--workdir={tmp_path}/*')
    assert (outcome.code, outcome.stderr) == (0, '')
    assert f'{tmp_path}/report.html and .svg' in outcome.stdout
    bad: dict[str, Outcome] = {
        'holds no run': launcher.run('--mode=report', f'--workdir={tmp_path}/nowhere'),
        '--workdir is missing': launcher.run('--mode=report'),
        'settings': launcher.run('--mode=report', f'--workdir={tmp_path}/a', '--layout=settings'),
    }
    for words, outcome in bad.items():
        assert outcome.code == 2
        assert words in outcome.error_line()


# ---- in a browser (`apt-get install chromium`)


@pytest.fixture(scope='module')
def sweep(tmp_path_factory, launcher):
    """Four real runs: two methods, two seeds."""
    folder = tmp_path_factory.mktemp('sweep') / 'runs'
    plain = (
        '--config.method=gan',
        '--config.loss=non_saturating',
        '--config.model.normalization=none',
    )
    for seed in (0, 1):
        launcher.train(folder / f'sn{seed}', f'--config.seed={seed}')
        launcher.train(
            folder / f'clip{seed}', f'--config.seed={seed}', *plain, '--config.clip=0.01'
        )
    return folder.parent


def colours_of(path: Path) -> dict[tuple[int, ...], int]:
    """How many pixels of a screenshot have each colour."""
    with Image.open(path) as shot:
        pixels = np.asarray(shot.convert('RGB')).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(map(int, v)): int(n) for v, n in zip(values, counts, strict=True)}


# Pictures of grids that have come, inside the shadow roots too.
PICTURES = """(() => {
  const found = node => [...node.querySelectorAll('*')].flatMap(
    e => [e, ...(e.shadowRoot ? found(e.shadowRoot) : [])]);
  return found(document).filter(e => e.nodeName === 'IMG' && e.naturalWidth > 50).length;
})()"""


@pytest.mark.slow
def test_the_page_is_drawn_and_sorted_in_a_browser(sweep, tmp_path):
    report.run_report(sweep)
    with open_tab() as tab:
        for dark, paper_colour, blue in (
            (False, (255, 255, 255), (0x00, 0x72, 0xB2)),
            (True, (0x16, 0x16, 0x18), (0x56, 0xA8, 0xE8)),
        ):
            tab.go((sweep / 'report.html').as_uri(), dark=dark, height=3000)
            found = colours_of(tab.screenshot(tmp_path / f'{dark}.png'))
            assert max(found, key=lambda colour: found[colour]) == paper_colour
            assert found.get(blue, 0) > 50  # the first series
            drawn = (
                'document.images.length > 0 && [...document.images].every(i => i.naturalWidth > 0)'
            )
            assert tab.evaluate(drawn)
            assert tab.evaluate('document.documentElement.scrollWidth <= innerWidth')
        table = (
            "[...document.querySelectorAll('table')].find(t => t.textContent.includes('Frechet'))"
        )
        column = (
            f'(() => {{ const t = {table}, heads = [...t.tHead.rows].at(-1).cells; '
            "const i = [...heads].findIndex(h => h.textContent.includes('Frechet')); CLICK; "
            'return [...t.tBodies[0].rows].map(r => Number(r.cells[i].dataset.order)); })()'
        )
        click = "heads[i].querySelector('button').click()"
        rising = tab.evaluate(column.replace('CLICK', click))
        falling = tab.evaluate(column.replace('CLICK', click))
        assert len(rising) == 2 and rising == sorted(rising) and falling == rising[::-1]


@pytest.mark.slow
def test_tensorboard_shows_the_hparams_and_images_of_all_runs_in_a_browser(sweep, tmp_path):
    names = [f'{name}{seed}/tensorboard' for name in ('sn', 'clip') for seed in (0, 1)]
    with serve(sweep / 'runs') as url, open_tab() as tab:
        tab.go(f'{url}/#hparams', width=1600, height=1000)
        tab.wait(lambda: all(name in tab.text() for name in names))
        text = tab.text()
        assert all(word in text for word in ('clip', 'n_dis', 'non_saturating'))
        shot = colours_of(tab.screenshot(tmp_path / 'hparams.png'))
        assert len(shot) > 20
        tab.go('about:blank')
        tab.go(f'{url}/#images', width=1600, height=1400)
        tab.wait(lambda: tab.evaluate(PICTURES) >= 2)
        text = tab.text()
        assert 'samples' in text and all(name in text for name in names)
        tab.screenshot(tmp_path / 'images.png')
