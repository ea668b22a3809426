"""Rows of tables and views as CSV, JSON lines or Parquet, in batches so that memory does not grow with their number."""

from __future__ import annotations

import datetime
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from pipeline.count_formats import FORMULA_MARKS

_FORMULA = f"^([{re.escape(''.join(FORMULA_MARKS))}])"
"""Start of a text that spreadsheets run as a formula, for RE2."""

_FEW_ROWS = 16
_GROUP_BYTES = 32 << 20


def to_csv(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Yields CSV, with a header even if there is no row.

    Lists are JSON in their cell, and NULL is an empty cell without quotes. A text that a spreadsheet would run as a formula
    starts with an apostrophe.
    """
    for number, batch in enumerate(batches):
        cells = pa.RecordBatch.from_arrays([_to_cells(column) for column in batch.columns], names=batch.schema.names)
        sink = io.BytesIO()
        pyarrow.csv.write_csv(cells, sink, pyarrow.csv.WriteOptions(include_header=not number))
        yield sink.getvalue().decode("utf-8")


def to_jsonl(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Yields one JSON object per row and line; dates and times are texts in ISO 8601."""
    for batch in batches:
        yield "".join(f"{_to_json(row)}\n" for row in _values(batch))


def write_parquet(batches: Iterable[pa.RecordBatch], path: Path) -> None:
    """Writes a Parquet file with the types of the batches; there must be one batch at least.

    Raises:
      OSError: The file cannot be written.
    """
    groups = _groups(batches)
    first = next(groups)
    with pyarrow.parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for group in itertools.chain([first], groups):
            writer.write_table(group)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yields batches together, so that readers of the file meet row groups of a useful size."""
    waiting: list[pa.RecordBatch] = []
    waiting_bytes = 0
    for batch in batches:
        waiting.append(batch)
        waiting_bytes += batch.nbytes
        if waiting_bytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, waiting_bytes = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _to_cells(column: pa.Array) -> pa.Array:
    """Returns a column as values that CSV has."""
    if pa.types.is_nested(column.type):
        return pa.array([None if value is None else _to_json(value) for value in _values(column)], pa.string())
    return pc.replace_substring_regex(column, _FORMULA, r"'\1") if pa.types.is_string(column.type) else column


def _values(rows: pa.Array | pa.RecordBatch) -> Iterator[Any]:
    """Yields rows as Python's values. A few at a time: those of a curve take ten times its memory."""
    for first in range(0, len(rows), _FEW_ROWS):
        yield from rows.slice(first, _FEW_ROWS).to_pylist()


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_to_text)


def _to_text(value: datetime.date) -> str:
    return value.isoformat()
