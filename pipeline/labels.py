"""True counts of videos and of parts of videos, in a CSV file that is read and corrected."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.replacing import replacing
from pipeline.command_line import UsageError

MAX_TRUE_COUNT = 1_000_000
"""Largest plausible true count. A larger number is a time or an identifier in the wrong column."""


@dataclasses.dataclass(frozen=True)
class Label:
    """The true count of a video, or of a part of it.

    Attributes:
      file: Path relative to the folder of the videos, without `.` and `..`.
      true_count: True number of repetitions, fractions included.
      start_sec: Time of the part's first frame, in seconds from the video's first frame.
      end_sec: Time of the first frame after the part; infinite for the video's end.
      start_frame: Number of the part's first frame, from 0.
      end_frame: Number of the first frame after the part. None for the video's end.
    """

    file: str
    true_count: float
    start_sec: float = 0.0
    end_sec: float = math.inf
    start_frame: int = 0
    end_frame: int | None = None

    @property
    def part(self) -> str | None:
        """The part in words; None for the whole video."""
        if self.start_frame or self.end_frame is not None:
            return f"frames {self.start_frame} to {'the end' if self.end_frame is None else self.end_frame - 1}"
        if self.start_sec or self.end_sec < math.inf:
            return f"{self.start_sec:.6g} s to {'the end' if self.end_sec == math.inf else f'{self.end_sec:.6g} s'}"
        return None

    @property
    def name(self) -> str:
        """The file, with the part if it is not the whole video."""
        return self.file if self.part is None else f"{self.file} ({self.part})"


def read_labels(path: str, *, may_be_empty: bool = False) -> list[Label]:
    """Reads true counts.

    Args:
      path: CSV file in UTF-8. Its first line names the columns, among them `file` and `count`. The columns `start_sec` and
        `end_sec` are optional; an empty cell means the start or the end of the video. Other columns and empty lines are
        ignored.
      may_be_empty: Whether there may be no label below the column names.

    Returns:
      One label for each line, in their order. A file may have several parts.

    Raises:
      UsageError: The file cannot be read, a column is missing, or a line is invalid or repeats a label. The message names the
        line.
    """
    first_places: dict[tuple[str, float, float], str] = {}
    labels: list[Label] = []
    for place, row in read_rows(path, ("file", "count"), ("start_sec", "end_sec"), may_be_empty=may_be_empty):
        file = _parse_file(row.get("file", ""), place)
        start_sec = parse_sec(row.get("start_sec", ""), place, "start_sec", default=0.0)
        end_sec = parse_sec(row.get("end_sec", ""), place, "end_sec", default=math.inf)
        check_part(start_sec, end_sec, place)
        first_place = first_places.setdefault((file, start_sec, end_sec), place)
        if first_place != place:
            first_line = first_place.removesuffix(" of the labels")
            raise UsageError(f"{place}: must not repeat the file of {first_line}. Received: {quote(file)}")
        labels.append(Label(file, parse_count(row.get("count", ""), place), start_sec, end_sec))
    return labels


def read_rows(
    path: str, columns: Sequence[str], optional: Sequence[str] = (), *, may_be_empty: bool = False
) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a CSV file line by line.

    Args:
      path: CSV file in UTF-8 whose first line names the columns.
      columns: Columns that it must have, each once.
      optional: Columns that it may have, each once.
      may_be_empty: Whether no line may follow the first.

    Yields:
      The place of a line for messages, such as "line 2 of the labels", and its cells by column. Cells at the end of a line may
      be missing. Empty lines are left out.

    Raises:
      UsageError: The file cannot be read, a column is missing, a line has too many cells, or no line follows the first.
    """
    is_empty = not may_be_empty
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            headings = [heading.strip() for heading in next(rows, [])]
            if any(headings.count(column) != 1 for column in columns):
                *first, last = columns
                raise UsageError(
                    f"the first line of the labels must name the columns {', '.join(first)} and {last}, each once, with commas "
                    f"between them. Received: {quote(','.join(headings))}"
                )
            if twice := [name for name in optional if headings.count(name) > 1]:
                raise UsageError(
                    f"the first line of the labels must name the column {twice[0]} once. Received: {quote(','.join(headings))}"
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
                is_empty = False
                yield place, dict(zip(headings, cells, strict=False))  # a short line lacks its last cells
    except csv.Error as error:
        raise UsageError(f"the labels must be CSV, but line {rows.line_num} is not: {error}. Received: {path!r}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels must be text in UTF-8: {error}. Received: {path!r}") from error
    except OSError as error:
        raise UsageError(f"the labels must be a readable file: {error.strerror}. Received: {path!r}") from error
    if is_empty:
        raise UsageError(f"the labels must have at least one line below the column names. Received: {path!r}")


class LabelFile:
    """A CSV file of true counts, as `read_labels` reads it, that is corrected video by video. It need not exist yet.

    Every correction is read and written at once, so a person may edit the file in between. Threads may share an instance.
    """

    def __init__(self, path: str) -> None:
        """Names the file; a link stays a link to the file that it leads to."""
        self.path = os.path.realpath(path)
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int, int], dict[str, float]] | None = None  # last version read, and its counts

    def counts(self) -> dict[str, float]:
        """Returns the true counts of whole videos by file; raises UsageError if the file is invalid or cannot be read."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(f"the labels must be a readable file: {error.strerror}. Received: {self.path!r}") from error
        version = status.st_mtime_ns, status.st_size, status.st_ino
        if self._known is None or self._known[0] != version:
            labels = read_labels(self.path, may_be_empty=True) if status.st_size else []
            self._known = version, {label.file: label.true_count for label in labels if label.part is None}
        return self._known[1]

    def save(self, file: str, count: float | None) -> None:
        """Writes the true count of a whole video in place of its former one. All other lines stay as they are.

        The file has the former or the new contents at any moment, whatever ends the program.

        Args:
          file: Path of the video below the folder of the videos, without `.` and `..`.
          count: True number of repetitions; None deletes the label.

        Raises:
          UsageError: The path or the count is invalid, or the file is invalid, would become so, or cannot be read or written.
        """
        if _parse_file(file, "the label") != file:
            raise UsageError(f"the label: the file must be a path without . and .. in it. Received: {quote(file)}")
        text = "" if count is None else _count_text(parse_count(str(count), "the label"))
        with self._lock:
            self.counts()  # raises if the file is invalid
            try:
                before = ""
                with contextlib.suppress(FileNotFoundError), open(self.path, encoding="utf-8", newline="") as labels:
                    before = labels.read()
                after = _with_label(before, file, text)
                if after != before:
                    _replace(self.path, after.encode("utf-8"))
            except UsageError as error:
                raise UsageError(f"the label must leave labels that can be read. Received: {quote(file)}") from error
            except UnicodeEncodeError as error:
                raise UsageError(f"the label: the file's name must be valid Unicode. Received: {quote(file)}") from error
            except OSError as error:
                raise UsageError(f"the labels must be a writable file: {error.strerror}. Received: {self.path!r}") from error


def _with_label(before: str, file: str, count: str) -> str:
    """Returns the text of valid labels with the count of a whole video replaced, added or, if `count` is "", deleted."""
    # Spreadsheets write a byte order mark; a quotation mark behind it would be part of the heading.
    mark = "\ufeff" if before.startswith("\ufeff") else ""
    lines = list(io.StringIO(before.removeprefix(mark) or "file,count\n", newline=""))
    rows = csv.reader(lines, strict=True)
    headings = [heading.strip() for heading in next(rows)]
    line_end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    kept, done, is_new = lines[: rows.line_num], rows.line_num, True
    for cells in rows:
        row = dict(zip(headings, cells, strict=False))
        is_whole = not float(row.get("start_sec", "").strip() or 0) and not row.get("end_sec", "").strip()
        if is_whole and row.get("file", "").strip() and os.path.normpath(row["file"]) == file:
            is_new = False
            if count:
                padded = [*cells, *[""] * (len(headings) - len(cells))]
                padded[headings.index("count")] = count
                kept.append(_row_text(padded, line_end))
        else:
            kept += lines[done : rows.line_num]
        done = rows.line_num
    if is_new and count:
        if not kept[-1].endswith(("\n", "\r")):
            kept.append(line_end)
        new = {"file": file, "count": count}
        kept.append(_row_text([new.get(heading, "") for heading in headings], line_end))
    return mark + "".join(kept)


def _row_text(cells: Sequence[str], line_end: str) -> str:
    text = io.StringIO(newline="")
    has_return = any("\r" in cell for cell in cells)  # which Python 3.11 would leave without quotation marks
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue()


def _replace(path: str, content: bytes) -> None:
    """Writes a file of labels completely or not at all, with the permissions of the one before.

    Raises:
      UsageError: `read_labels` refuses the content. The file stays as it was.
      OSError: The file cannot be written.
    """
    with replacing(Path(path)) as written, written.open("xb") as file:
        with contextlib.suppress(FileNotFoundError):
            written.chmod(os.stat(path).st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        read_labels(str(written), may_be_empty=True)


def _count_text(count: float) -> str:
    return str(int(count)) if count.is_integer() else repr(count)


def quote(text: str) -> str:
    """Returns text in quotation marks for a message, shortened to 100 characters."""
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def parse_count(text: str, place: str) -> float:
    """Returns a true count; raises UsageError, which begins with `place`, if it is not one."""
    count = _parse_number(text)
    if not 0 <= count <= MAX_TRUE_COUNT:
        raise UsageError(
            f"{place}: the count must be a number from 0 to {MAX_TRUE_COUNT:,}, such as 8 or 8.5. Received: {quote(text)}"
        )
    return count


def parse_sec(text: str, place: str, column: str, default: float | None = None) -> float:
    """Returns seconds, or `default` for an empty cell; raises UsageError, which begins with `place`, if it has none."""
    if default is not None and not text.strip():
        return default
    seconds = _parse_number(text)
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{place}: {column} must be seconds of at least 0, such as 3.5. Received: {quote(text)}")
    return seconds


def check_part(start_sec: float, end_sec: float, place: str) -> None:
    """Raises UsageError, which begins with `place`, if a part ends before it starts."""
    if not start_sec < end_sec:
        raise UsageError(f"{place}: the part must end after it starts. Received: {start_sec:g} s to {end_sec:g} s")


def _parse_file(text: str, place: str) -> str:
    """Returns a path without `.` and `..`; raises UsageError unless it is below the folder of the videos."""
    file = os.path.normpath(text)
    if not text.strip() or "\0" in text or os.path.isabs(file) or file.split(os.sep)[0] in (os.curdir, os.pardir):
        raise UsageError(f"{place}: the file must be a path below the folder of the videos. Received: {quote(text)}")
    return file


def _parse_number(text: str) -> float:
    """Returns the number that text stands for; NaN if it is none."""
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_2 as 12; in a label it is a typing error
    except ValueError:
        return math.nan
