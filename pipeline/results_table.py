"""Tables of text for a terminal, and lines of text for files and other programs."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping, Sequence

import rich.box
import rich.table
from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from transforms.records import VideoResult
from transforms.text import printable

_NUMBERS = frozenset({"count", "exact", "confidence", "seconds", "took"})
"""Headings of columns of numbers, which are aligned to the right."""

_LEAST_NEEDED = ("took", "seconds", "confidence")
"""Headings of columns that are left out if the terminal is too narrow, the first one first."""

_GAP = 3
"""Characters between two columns."""

_WIDEST = 10_000
"""Most characters in a line of a table in a file."""


def is_terminal() -> bool:
    """Returns whether standard output is a terminal."""
    return Console().is_terminal


def print_results(results: Iterable[VideoResult]) -> None:
    """Prints results: a table on a terminal, else one line per video."""
    results = list(results)
    if not is_terminal():
        for result in results:
            print_line(result)
    elif results:
        console = Console()
        console.print(results_table(results, console.width))


def print_line(result: VideoResult) -> None:
    """Prints a result as one line of text for other programs, its fields separated by tabs and "-" for a missing value.

    The fields are URI, count, exact count, confidence, seconds of video and remark.
    """
    fields = (
        printable(result.uri),
        _whole(result.count_rounded),
        _decimals(result.count, 1),
        _decimals(result.confidence, 2),
        _decimals(result.duration_sec, 1),
        printable(result.remark),
    )
    print("\t".join(field or "-" for field in fields), flush=True)


def results_table(results: Sequence[VideoResult], width: int) -> rich.table.Table:
    """Returns the table of results.

    Columns without any value are left out. If the table is wider than `width`, the times and the confidence are left out too,
    then the messages of failures, whose codes remain. What is still too long continues on the next line.

    Args:
      results: Results in their order.
      width: Number of characters in a line.
    """
    columns = {
        "video": _short_names([result.uri for result in results]),
        "count": [_whole(result.count_rounded) for result in results],
        "exact": [_decimals(result.count, 1) for result in results],
        "confidence": [_decimals(result.confidence, 2) for result in results],
        "seconds": [_decimals(result.duration_sec, 1) for result in results],
        "took": ["" if result.wall_sec is None else f"{result.wall_sec:.1f} s" for result in results],
        "remark": [result.remark for result in results],
    }
    columns = {heading: cells for heading, cells in columns.items() if any(cells)}
    columns = fit_columns(columns, _LEAST_NEEDED, width)
    if _width(columns) > width and "remark" in columns:
        columns["remark"] = [result.code or result.remark for result in results]
    return text_table(list(columns), zip(*columns.values(), strict=True), numbers=_NUMBERS)


def fit_columns(columns: Mapping[str, list[str]], least_needed: Iterable[str], width: int) -> dict[str, list[str]]:
    """Returns the columns that fit into `width` characters.

    Args:
      columns: Cells by heading.
      least_needed: Headings that are left out while the table is too wide, the first one first.
      width: Number of characters in a line.
    """
    fitting = dict(columns)
    for heading in least_needed:
        if _width(fitting) > width:
            fitting.pop(heading, None)
    return fitting


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """Returns how many characters wide a table of these columns is."""
    widths = [max(map(len, [heading, *cells])) for heading, cells in columns.items()]
    return sum(widths) + _GAP * (len(columns) - 1) + 2  # a space at either end


def text_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[str] = ()) -> rich.table.Table:
    """Returns a table whose cells are safe to print and are not markup. A cell that is too long continues on the next line.

    Args:
      headings: Headings of the columns.
      rows: Rows with a cell for each column.
      numbers: Headings of the columns that are aligned to the right.
    """
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in numbers else "left", overflow="fold", no_wrap=heading in numbers
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def print_table(table: rich.table.Table) -> None:
    """Prints a table. In a file it is as wide as it needs to be, so that `grep` finds whole lines."""
    console = Console()
    if not console.is_terminal:
        widest = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, Measurement.get(console, widest, table).maximum)
    console.print(table)


def _short_names(uris: Sequence[str]) -> list[str]:
    """Returns the URIs without the folders that all of them share."""
    names = [uri.split("/") for uri in uris]
    levels = zip(*(name[:-1] for name in names), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda folders: len(set(folders)) == 1, levels))
    return ["/".join(name[shared:]) for name in names]


def _whole(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
