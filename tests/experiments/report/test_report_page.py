"""Tests of the page: its tables, its texts and its samples."""

import re

import numpy as np
from PIL import Image

from experiments.modes import report
from experiments.report import page, thumbnails
from experiments.report.records import (
    Cell,
    CurvePanel,
    Figure,
    ImageTable,
    Line,
    Page,
    Section,
    Table,
    Text,
)
from experiments.report.samples import equal_steps
from experiments.report.spreads import curve
from helpers.report_pages import Outline, digits, make_run
from snjax.runs import images


def test_whatever_stands_in_a_record_is_text_on_the_page():
    bad = '<script>alert("1")</script> & \'x\''
    series = Line(bad, 0, curve([{1: 1.0}]))
    sections = [
        Section(
            bad, [Text(bad), Text(bad, is_code=True), Table([bad], [[Cell(bad, hint=bad)]], bad)]
        ),
        Section(bad, [Figure([CurvePanel(bad, [series])], [(bad, 0)], bad)], is_folded=True),
        Section(bad, [ImageTable([bad], [(bad, 0, [b'x'])], bad)]),
    ]
    text = page.render(Page(bad, [bad], sections))
    found = Outline(text)
    assert [tag for tag, _ in found.tags].count('script') == 1  # our own
    assert '<script>alert' not in text
    assert bad in next(attrs for tag, attrs in found.tags if tag == 'td')['title']


def test_the_name_of_a_run_may_break_between_its_overrides():
    rows = [[Cell('method=gan,loss=hinge', style=0), Cell('a,b')]]
    pictures = ImageTable(['step 1'], [('method=gan,loss=hinge', 0, [b'x'])], '')
    text = page.render(Page('', [], [Section('', [Table(['run', 'x'], rows), pictures])]))
    assert 'method=gan,<wbr>loss=hinge</td>' in text and 'a,b</td>' in text
    assert 'method=gan,<wbr>loss=hinge</th>' in text  # beside pictures, which would cover its end


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


def test_the_page_needs_nothing_else(tmp_path):
    make_run(tmp_path / 'a', digits(), step=100, distance=4.0)
    report.run_report(tmp_path / 'a')
    text = (tmp_path / 'a' / 'report.html').read_text()
    tags = [attributes for _, attributes in Outline(text).tags]
    sources = [a[k] for a in tags for k in ('src', 'href') if k in a]
    assert sources and all(s.startswith('data:image/png;base64,') for s in sources)
    assert not re.search(r'https?://|url\((?!#)|@import', text)


def test_what_a_figure_refers_to_is_in_it_and_on_the_page_once(tmp_path):
    make_run(tmp_path / 'a', digits(), step=100, distance=4.0)
    report.run_report(tmp_path / 'a')
    text = (tmp_path / 'a' / 'report.html').read_text()
    assert text.count('<svg viewBox="0 0 460') >= 2
    for svg in re.findall(r'<svg viewBox="0 0 460.*?</svg>', text, re.DOTALL):
        named = re.findall(r' id="([^"]+)"', svg)
        used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', svg))
        assert used and used == set(named)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
