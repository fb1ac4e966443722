"""Tests of --mode=report as users start it, and of its page in a browser (`apt-get install
chromium`).
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.modes import report
from helpers.browser import open_tab
from helpers.launching import ROOT, Outcome
from helpers.report_pages import digits, make_run
from helpers.tensorboard_server import serve


@pytest.mark.parametrize(
    ('module', 'left_out'),
    [('modes.report', ['flax', 'jax']), ('report.leaderboard', ['flax', 'jax', 'matplotlib'])],
)
def test_comparing_runs_imports_only_what_it_needs(module, left_out):
    probe = f'import sys, experiments.{module}; print(sorted({set(left_out)} & set(sys.modules)))'
    command = [sys.executable, '-c', probe]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_launch_writes_it_and_refuses_in_one_line(tmp_path, launcher):
    make_run(tmp_path / 'a', digits(), step=100, distance=4.0)
    outcome = launcher.run('--mode=report', f'--workdir={tmp_path}/*')
    assert (outcome.code, outcome.stderr) == (0, '')
    assert f'{tmp_path}/report.html and .svg, .pdf, .png' in outcome.stdout
    assert {p.name for p in tmp_path.glob('*.*')} == {
        f'report.{end}' for end in ('html', 'svg', 'pdf', 'png', 'md', 'tex', 'csv')
    }
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
    names = [f'{name}{seed}' for name in ('sn', 'clip') for seed in (0, 1)]
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
