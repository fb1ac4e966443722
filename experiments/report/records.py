"""The parts of a report as plain data: pages of sections of tables, figures and texts.

Other modules of this package build these records from runs; `page` and `figure` render them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from experiments.report.spreads import Point, Spread


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the text shown.
        order: the number to sort the column by; None sorts by the text.
        style: number of the series whose mark is shown before the text; None shows no mark.
        hint: text shown while the pointer is over the cell.
    """

    text: str
    order: float | int | None = None
    style: int | None = None
    hint: str = ''


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with one row of column heads.

    Attributes:
        heads: one for each column.
        rows: each as long as `heads`.
        caption: shown above the table.
        groups: (text, number of columns) of a row above the heads, from the left; () for none.
        best: columns whose lowest (-1) or highest (1) `order` is set in bold.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ''
    groups: Sequence[tuple[str, int]] = ()
    best: Mapping[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve; `style` is the number of its series, the same in all figures of a page."""

    name: str
    style: int
    points: Sequence[Point]


@dataclasses.dataclass(frozen=True)
class CurvePanel:
    """Curves over steps."""

    title: str
    lines: Sequence[Line]
    x_label: str = 'generator updates'


@dataclasses.dataclass(frozen=True)
class Series:
    """One method in a `CategoryPanel`.

    Attributes:
        name: of the method.
        style: number of the series.
        values: for each category the scores of its seeds, or None.
        remarks: for each category a text such as '2 of 3 diverged', or ''.
    """

    name: str
    style: int
    values: Sequence[Spread | None]
    remarks: Sequence[str]


@dataclasses.dataclass(frozen=True)
class CategoryPanel:
    """Points with error bars, the series side by side in each category."""

    title: str
    categories: Sequence[str]
    series: Sequence[Series]
    x_label: str = ''


Panel = CurvePanel | CategoryPanel


@dataclasses.dataclass(frozen=True)
class Figure:
    """Panels that share a legend, which is (name, style) for each series."""

    panels: Sequence[Panel]
    legend: Sequence[tuple[str, int]]
    caption: str = ''


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """Images in rows and columns.

    Attributes:
        columns: heads.
        rows: (name, style or None, PNG for each column); None stands for a missing image.
        caption: shown above the images.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, int | None, Sequence[bytes | None]]]
    caption: str = ''


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph; with `is_code` its lines are kept as they are."""

    text: str
    is_code: bool = False


Block = Table | Figure | ImageTable | Text


@dataclasses.dataclass(frozen=True)
class Section:
    """Blocks under a title; a folded section is opened by a click."""

    title: str
    blocks: Sequence[Block]
    is_folded: bool = False


@dataclasses.dataclass(frozen=True)
class Page:
    """The whole report; `about` are the lines under the title."""

    title: str
    about: Sequence[str]
    sections: Sequence[Section]
