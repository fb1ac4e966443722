"""Tests of figures: what a panel shows is where its values are, and files are the same every time."""

import io
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from PIL import Image

from experiments.report import figure, panels, style
from experiments.report.limits import curve_limits, limits, short
from experiments.report.records import CategoryPanel, CurvePanel, Figure, Line, Series
from experiments.report.spreads import curve, spread

INF = math.inf


def drawn(panel):
    """The axes of a panel."""
    axes = Canvas().add_subplot()
    panels.draw(axes, panel)
    return axes


def lines_of(axes, name):
    """The artists of a series: lines, and marks without a line."""
    return [line for line in axes.lines if (line.get_gid() or '').endswith(f' {name}')]


def two_lines():
    low, high = curve([{0: 0.0, 100: 0.0}]), curve([{0: 1.0, 100: 1.0}])
    return CurvePanel('a < b', [Line('low', 0, low), Line('high', 9, high)])


# ---- axes


@pytest.mark.parametrize(
    'low, high', [(0, 1), (-3, 17), (0.011, 0.0113), (2, 250_000), (1e-5, 1e5), (3, 200), (3, 2000)]
)
def test_ticks_are_few_inside_and_increasing(low, high):
    axes = drawn(CurvePanel('', [Line('', 0, curve([{0: low, 1: high}]))]))
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if bottom <= tick <= top]
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(ticks)
    assert (axes.get_yscale() == 'log') == (low > 0 and high / low > 50)


def test_an_outlier_does_not_squash_a_curve_where_it_may_be_cut():
    values = [1 + 0.01 * i for i in range(100)] + [1e4]
    assert limits(values, may_cut=True).high < 2.5
    assert limits([-v for v in values]).low < -1e4
    assert limits([]) == (0, 1, False)
    axes = drawn(CurvePanel('', [Line('', 0, curve([dict(enumerate(values))]))]))
    assert axes.get_ylim()[1] < 2.5
    assert [short(v) for v in (0, 0.25, 1500, 2e6, 2e15)] == ['0', '0.25', '1.5k', '2M', '2e+15']


def test_a_wild_seed_widens_the_axis_by_half_of_it_at_most():
    calm = [{0: 10.0, 1: 20.0}, {0: 10.0, 1: 20.0}]
    near, wild = (
        curve([*calm, {0: 10.0, 1: 23.0}]),
        curve([{0: 10.0, 1: 20.0}, {0: 10.0, 1: 900.0}]),
    )
    assert curve_limits(curve(calm)) == pytest.approx((9.5, 20.5, False))
    assert curve_limits(near).high == pytest.approx(21 + math.sqrt(3), abs=0.01)
    means = limits([10.0, 460.0])
    assert curve_limits(wild).high == pytest.approx(means.high + 0.5 * (means.high - means.low))


# ---- curves


def test_a_panel_draws_each_line_where_its_values_are():
    axes = drawn(two_lines())
    low, low_marks = lines_of(axes, 'low')
    high, _ = lines_of(axes, 'high')
    assert low.get_xydata().tolist() == low_marks.get_xydata().tolist() == [[0, 0], [100, 0]]
    assert high.get_xydata().tolist() == [[0, 1], [100, 1]]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] >= 100
    assert (low.get_linestyle(), high.get_linestyle()) == ('-', '--')  # the tenth is dashed
    assert to_hex(low.get_color()) == style.colour(0) != to_hex(high.get_color()) == style.colour(1)
    assert axes.get_title(loc='left') == 'a < b' and axes.get_xlabel() == 'generator updates'


def test_a_band_reaches_one_deviation_to_each_side():
    axes = drawn(CurvePanel('', [Line('a', 0, curve([{0: 1.0, 9: 3.0}, {0: 3.0, 9: 3.0}]))]))
    (band,) = axes.collections
    corners = {tuple(np.round(v, 4)) for v in band.get_paths()[0].vertices}
    assert corners >= {(0, 0.5858), (0, 3.4142), (9, 3)}


def test_a_band_that_reaches_zero_stays_finite_on_a_logarithmic_axis():
    axes = drawn(CurvePanel('', [Line('a', 0, curve([{0: 1.0, 9: 300.0}, {0: 1.0, 9: 0.1}]))]))
    (band,) = axes.collections
    low = band.get_paths()[0].vertices[:, 1].min()
    assert axes.get_yscale() == 'log' and 0 < low < axes.get_ylim()[0]


def test_a_line_is_thin_where_a_seed_is_missing():
    points = curve([{0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}, {0: 3.0, 1: 3.0, 3: 3.0}])
    thin, whole, marks = lines_of(drawn(CurvePanel('', [Line('a', 0, points)])), 'a')
    assert thin.get_linewidth() < 1 < whole.get_linewidth()
    assert np.array_equal(thin.get_ydata(), [math.nan, 2, 1, 2], equal_nan=True)
    assert np.array_equal(whole.get_ydata(), [2, 2, math.nan, 2], equal_nan=True)
    assert marks.get_linestyle() == 'None' and list(marks.get_ydata()) == [2, 2, 1, 2]


def test_series_have_marks_of_their_own_which_do_not_hide_long_lines():
    points = curve([{step: 1.0 for step in range(100)}])
    axes = drawn(CurvePanel('', [Line(f'n{i}', i, points) for i in range(7)]))
    marks = [lines_of(axes, f'n{i}')[-1] for i in range(7)]
    assert len({mark.get_marker() for mark in marks}) == 7
    places = [set(range(*mark.get_markevery()[:1], 100, mark.get_markevery()[1])) for mark in marks]
    assert all(len(steps) <= 8 for steps in places) and not places[0] & places[1]


# ---- points by category


def test_bars_reach_one_deviation_and_what_did_not_finish_is_marked():
    two = Series('sngan', 0, [spread([10.0, 20.0]), None], ['', '2 of 2 diverged'])
    panel = CategoryPanel('FID', ['A', 'B'], [two], 'setting')
    axes = drawn(panel)
    (bar,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    (dots,) = [c for c in axes.collections if isinstance(c, PathCollection)]
    deviation = math.sqrt(50)
    ((_, low), (_, high)) = bar.get_segments()[0]
    assert (low, high) == pytest.approx((15 - deviation, 15 + deviation))
    assert list(dots.get_offsets()[:, 1]) == [10, 20]
    (mean,) = lines_of(axes, 'sngan: 15.0 ± 7.1')
    assert list(mean.get_ydata()) == [15] and 0 < mean.get_xdata()[0] < 1
    (dagger,) = [text for text in axes.texts if text.get_text() == '†']
    assert 1 < dagger.get_position()[0] < 2
    assert [label.get_text() for label in axes.get_xticklabels()] == ['A', 'B']
    svg = figure.panel_svg(panel)
    assert '<title>sngan: 15.0 ± 7.1</title>' in svg
    assert '<title>sngan: 2 of 2 diverged</title>' in svg and '†' in svg


def test_a_single_seed_has_a_mark_and_no_bar():
    one = Series('sngan', 3, [spread([4.0])], [''])
    axes = drawn(CategoryPanel('FID', ['A'], [one]))
    assert not axes.collections
    assert [list(line.get_ydata()) for line in axes.lines] == [[4]]


# ---- files


def whole_figure():
    return Figure([two_lines()], [('low', 0), ('high $x$', 9)], 'Some words. ' * 20)


def test_files_are_the_same_every_time_and_have_no_date():
    first, again = figure.files(whole_figure()), figure.files(whole_figure())
    assert first == again and list(first) == ['svg', 'pdf', 'png']
    assert b'Date' not in first['svg'] + first['pdf'] + first['png']


def test_colours_are_literal_in_files_and_follow_the_screen_on_a_page():
    svg = figure.files(whole_figure())['svg'].decode()
    assert style.colour(0) in svg and style.PAPER in svg
    assert not re.search(r'var\(|currentColor|class=', svg)
    with Image.open(io.BytesIO(figure.files(whole_figure())['png'])) as png:
        colours = {colour[:3] for _, colour in png.convert('RGB').getcolors(png.width * png.height)}
    assert {(255, 255, 255), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
    inline = figure.panel_svg(two_lines())
    assert 'var(--c0072b2)' in inline and not re.search(r'#[0-9a-f]{6}\b', inline)


MISSING = 'not in this environment: pip install -r requirements-dev.txt'


def test_a_pdf_has_the_legend_and_the_whole_caption_as_text():
    pdfium = pytest.importorskip('pypdfium2', reason=MISSING)
    with pdfium.PdfDocument(figure.files(whole_figure())['pdf']) as document:
        assert document[0].get_width() == pytest.approx(234, abs=1)  # half of a page's width
        text = ' '.join(document[0].get_textpage().get_text_bounded().split())
    assert all(words in text for words in ('a < b', 'low', 'high $x$'))
    assert text.count('Some words.') == 20


def test_other_renderers_show_what_the_png_shows():
    """Cells of a grid are compared, because each renderer smooths the edges of letters in its way."""
    resvg = pytest.importorskip('resvg_py', reason=MISSING)
    pdfium = pytest.importorskip('pypdfium2', reason=MISSING)
    made = figure.files(whole_figure())
    with Image.open(io.BytesIO(made['png'])) as png:
        wanted, (width, height) = coarse(png), png.size
    assert wanted.min() < 200 and np.median(wanted) > 250  # marks on white paper
    text = made['svg'].decode()  # its size is in points, which need a resolution
    svg = resvg.svg_to_bytes(svg_string=text, dpi=96, width=width, height=height)
    rendered = {'svg': Image.open(io.BytesIO(bytes(svg)))}
    with pdfium.PdfDocument(made['pdf']) as document:
        rendered['pdf'] = document[0].render(scale=300 / 72).to_pil()
    if rsvg := shutil.which('rsvg-convert'):
        command = [rsvg, f'--width={width}', f'--height={height}']
        done = subprocess.run(command, input=made['svg'], capture_output=True, check=True)
        rendered['rsvg'] = Image.open(io.BytesIO(done.stdout))
    for name, picture in rendered.items():
        difference = np.abs(coarse(picture) - wanted)
        assert difference.max() < 30 and difference.mean() < 1.5, name


def coarse(picture):
    """Mean colours (32, 32, 3) of a picture on white paper, in cells of about a tenth of an inch."""
    paper = Image.new('RGBA', picture.size, 'white')
    paper.alpha_composite(picture.convert('RGBA'))
    return np.asarray(paper.convert('RGB').resize((32, 32), Image.Resampling.BOX), float)
