"""True counts of videos, read from a CSV file."""

from __future__ import annotations

import csv
import math
import os

from pipeline.command_line import UsageError

MAX_TRUE_COUNT = 1_000_000
"""Largest plausible true count. A larger number is a time or an identifier in the wrong column."""


def read_labels(path: str) -> dict[str, float]:
    """Reads true counts.

    Args:
      path: CSV file in UTF-8. Its first line names the columns, among them `file` and `count`; other columns and empty lines
        are ignored.

    Returns:
      {file: true count} in the order of the lines. Files are relative to the folder of the videos, without `.` and `..`.

    Raises:
      UsageError: The file cannot be read, a column is missing, or a line is invalid or repeats a file. The message names the
        line.
    """
    labels: dict[str, float] = {}
    first_lines: dict[str, int] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            headings = [heading.strip() for heading in next(rows, [])]
            if headings.count("file") != 1 or headings.count("count") != 1:
                raise UsageError(
                    "the first line of the labels must name the columns file and count, each once, with commas between them. "
                    f"Received: {quote(','.join(headings))}"
                )
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                place = f"line {rows.line_num} of the labels"
                if any(cell.strip() for cell in cells[len(headings) :]):
                    raise UsageError(
                        f"{place}: must have at most {len(headings)} cells; put a cell with a comma in quotation marks. "
                        f"Received: {quote(','.join(cells))}"
                    )
                row = dict(zip(headings, cells, strict=False))  # a short line lacks its last cells
                file = _parse_file(row.get("file", ""), place)
                if file in labels:
                    raise UsageError(f"{place}: must not repeat the file of line {first_lines[file]}. Received: {quote(file)}")
                labels[file] = _parse_count(row.get("count", ""), place)
                first_lines[file] = rows.line_num
    except csv.Error as error:
        raise UsageError(f"the labels must be CSV, but line {rows.line_num} is not: {error}. Received: {path!r}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels must be text in UTF-8: {error}. Received: {path!r}") from error
    except OSError as error:
        raise UsageError(f"the labels must be a readable file: {error.strerror}. Received: {path!r}") from error
    if not labels:
        raise UsageError(f"the labels must have at least one line below the column names. Received: {path!r}")
    return labels


def quote(text: str) -> str:
    """Returns text in quotation marks for a message, shortened to 100 characters."""
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def _parse_file(text: str, place: str) -> str:
    """Returns a path without `.` and `..`; raises UsageError unless it is below the folder of the videos."""
    file = os.path.normpath(text)
    if not text.strip() or "\0" in text or os.path.isabs(file) or file.split(os.sep)[0] in (os.curdir, os.pardir):
        raise UsageError(f"{place}: the file must be a path below the folder of the videos. Received: {quote(text)}")
    return file


def _parse_count(text: str, place: str) -> float:
    try:
        count = math.nan if "_" in text else float(text)  # Python reads 1_2 as 12; in a label it is a typing error
    except ValueError:
        count = math.nan
    if not 0 <= count <= MAX_TRUE_COUNT:
        raise UsageError(
            f"{place}: the count must be a number from 0 to {MAX_TRUE_COUNT:,}, such as 8 or 8.5. Received: {quote(text)}"
        )
    return count
