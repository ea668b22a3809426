"""The tables that people read on a terminal, or in a file of what it would have shown."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Sequence

import rich.box
import rich.table
from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from transforms.records import VideoResult

_WIDEST = 10_000
"""Characters of a line in a file, at most."""


def results_table(results: Iterable[VideoResult]) -> rich.table.Table:
    """Returns the table to print; columns in which no row has anything are left out."""
    rows = list(results)
    columns = {
        "video": _short_names([row.uri for row in rows]),
        "count": [_decimals(row.count, 1) for row in rows],
        "confidence": [_decimals(row.confidence, 2) for row in rows],
        "seconds": [_decimals(row.duration_sec, 1) for row in rows],
        "took": ["" if row.wall_sec is None else f"{row.wall_sec:.1f} s" for row in rows],
        "remark": [row.remark for row in rows],
    }
    kept = {heading: cells for heading, cells in columns.items() if any(cells)}
    return text_table(list(kept), zip(*kept.values(), strict=True), numbers={"count", "confidence", "seconds", "took"})


def print_results(results: Iterable[VideoResult]) -> None:
    """Prints the table of results, if there are any."""
    results = list(results)
    if results:
        print_table(results_table(results))


def text_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[str] = ()) -> rich.table.Table:
    """Returns a table whose cells are safe to print, not taken for markup, and folded where they are too long.

    Args:
      headings: of the columns.
      rows: a cell for each column.
      numbers: headings of the columns that are set to the right.
    """
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def print_table(table: rich.table.Table) -> None:
    """Prints a table. A file has no width: there it is as wide as it needs to be, so that `grep` finds whole lines."""
    console = Console()
    if not console.is_terminal:
        widest = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, Measurement.get(console, widest, table).maximum)
    console.print(table)


def _short_names(uris: Sequence[str]) -> list[str]:
    """Returns what tells the videos apart: their addresses without the folders that all have in common."""
    names = [uri.split("/") for uri in uris]
    levels = zip(*(name[:-1] for name in names), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda folders: len(set(folders)) == 1, levels))
    return ["/".join(name[shared:]) for name in names]


def printable(text: str) -> str:
    """Returns text that is safe to print: a file name may hold line breaks, terminal commands or bytes that are no text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _decimals(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
