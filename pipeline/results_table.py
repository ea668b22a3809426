"""The table of results that people read on a terminal."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import rich.box
import rich.table
from rich.text import Text


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """One video's line.

    Attributes:
      uri: the video.
      count: repetitions; None if it failed.
      confidence: 0..1; None if it failed.
      video_sec: its duration; None if unknown.
      wall_sec: time that counting it took; None if unknown.
      remark: code and message of a failure, or the flags of a count.
    """

    uri: str
    count: float | None
    confidence: float | None
    video_sec: float | None
    wall_sec: float | None = None
    remark: str = ""


def results_table(rows: Iterable[ResultRow]) -> rich.table.Table:
    """Returns the table to print; columns in which no row has anything are left out."""
    rows = list(rows)
    columns = [
        ("video", "left", [printable(name) for name in _short_names([row.uri for row in rows])]),
        ("count", "right", [_decimals(row.count, 1) for row in rows]),
        ("confidence", "right", [_decimals(row.confidence, 2) for row in rows]),
        ("seconds", "right", [_decimals(row.video_sec, 1) for row in rows]),
        ("took", "right", ["" if row.wall_sec is None else f"{row.wall_sec:.1f} s" for row in rows]),
        ("remark", "left", [printable(row.remark) for row in rows]),
    ]
    kept = [column for column in columns if any(column[2])]
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading, side, _ in kept:
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for cells in zip(*(column[2] for column in kept), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


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
