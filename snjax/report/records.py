"""What a page is made of: sections of blocks, as plain records."""

import dataclasses
from collections.abc import Mapping, Sequence

from snjax.report.spreads import Point, Spread


@dataclasses.dataclass(frozen=True)
class Cell:
    """Of a table.

    Attributes:
        text: as it is shown.
        order: what the column is sorted by, where that is not the text.
        style: number of the series whose mark stands before the text, or None.
        hint: shown when pointed at.
    """

    text: str
    order: float | int | None = None
    style: int | None = None
    hint: str = ''


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under heads.

    Attributes:
        heads: of the columns.
        rows: each as long as `heads`.
        caption: above it.
        groups: (text, number of columns) over the heads, from the left; none: ().
        best: columns whose lowest (-1) or highest (1) `order` is set in bold.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ''
    groups: Sequence[tuple[str, int]] = ()
    best: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve in a panel; `style` numbers the series in the whole page."""

    name: str
    style: int
    points: Sequence[Point]


@dataclasses.dataclass(frozen=True)
class Curves:
    """A panel of lines over steps."""

    title: str
    lines: Sequence[Line]
    x_label: str = 'generator updates'


@dataclasses.dataclass(frozen=True)
class Series:
    """What a method has in each category: a spread or None, and a remark ('2 of 3 diverged') or ''."""

    name: str
    style: int
    values: Sequence[Spread | None]
    remarks: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Categories:
    """A panel of points with error bars, side by side in each category."""

    title: str
    categories: Sequence[str]
    series: Sequence[Series]
    x_label: str = ''


@dataclasses.dataclass(frozen=True)
class Figure:
    """Panels with one legend: (name, style) of every series."""

    panels: Sequence[Curves | Categories]
    legend: Sequence[tuple[str, int]]
    caption: str = ''


@dataclasses.dataclass(frozen=True)
class Sheet:
    """PNG pictures in rows and columns; None where one is missing. A row's style is its series or None."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, int | None, Sequence[bytes | None]]]
    caption: str = ''


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph, or with `is_code` lines as they are."""

    text: str
    is_code: bool = False


Block = Table | Figure | Sheet | Text


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under a title; folded: shown when asked for."""

    title: str
    blocks: Sequence[Block]
    is_folded: bool = False


@dataclasses.dataclass(frozen=True)
class Page:
    """Everything: `about` are the lines under the title."""

    title: str
    about: Sequence[str]
    sections: Sequence[Section]
