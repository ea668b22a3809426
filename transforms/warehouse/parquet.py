"""Writes staged rows to Parquet files of bounded size.

Beam's `WriteToParquet` would not do: it does not bound a file's size, does not return how many rows it wrote, and moves every
file a second time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import requests
from apache_beam.io.filesystems import FileSystems

from transforms.warehouse.schema import Table

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""Bytes of rows in memory at which a row group is written."""

ROW_GROUP_ROWS = 1024
"""Number of rows at which a row group is written. Until then a row, as many small arrays, takes about forty times its bytes."""

FILE_BYTES = 64 * 1024 * 1024
"""Bytes of rows in memory at which a file is closed and the next one started."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StagedFile:
    """A Parquet file of rows to commit.

    Attributes:
      table: Name of the table that the rows belong to.
      path: Path or `gs://` URI of the file.
      num_rows: Number of rows written to the file.
      num_bytes: Size in bytes of these rows in memory.
    """

    table: str
    path: str
    num_rows: int
    num_bytes: int


@dataclasses.dataclass
class _OpenFile:
    path: str
    stream: BinaryIO
    parquet: pq.ParquetWriter
    num_rows: int = 0
    num_bytes: int = 0


class TableWriter:
    """Writes rows of one table to as many files as their size needs; writes no file without a row."""

    def __init__(self, folder: str, table: Table) -> None:
        self._folder = folder
        self._table = table
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._open: _OpenFile | None = None
        self._files: list[StagedFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows, and writes them once they make a row group."""
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= ROW_GROUP_BYTES or len(self._pending) >= ROW_GROUP_ROWS:
            with _refusals():
                self._write_row_group()

    def close(self) -> list[StagedFile]:
        """Writes the remaining rows and returns all files written."""
        with _refusals():
            if self._pending:
                self._write_row_group()
            if self._open is not None:
                self._close_file(self._open)
        return self._files

    def discard(self) -> None:
        """Closes the open file of a failed bundle. It is not returned, so never committed, and is deleted with the folder."""
        if self._open is None:
            return
        for stream in (self._open.parquet, self._open.stream):
            try:
                stream.close()
            except Exception:  # the cause of the failed bundle, such as a full disk, may fail this as well
                _LOGGER.debug("A file of a failed bundle could not be closed: %s", self._open.path, exc_info=True)
        self._open = None

    def _write_row_group(self) -> None:
        if self._open is None:
            path = FileSystems.join(self._folder, self._table.name, f"{uuid.uuid4().hex}.parquet")
            stream = FileSystems.create(path)
            self._open = _OpenFile(path, stream, pq.ParquetWriter(stream, self._table.arrow_schema, compression="zstd"))
        rows = pa.Table.from_batches(self._pending)
        self._open.parquet.write_table(rows, row_group_size=rows.num_rows)
        self._open.num_rows += rows.num_rows
        self._open.num_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        if self._open.num_bytes >= FILE_BYTES:
            self._close_file(self._open)

    def _close_file(self, file: _OpenFile) -> None:
        file.parquet.close()
        file.stream.close()
        self._files.append(StagedFile(self._table.name, file.path, file.num_rows, file.num_bytes))
        self._open = None


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turns the error of an upload that Cloud Storage refuses into that of any other request, which says why."""
    try:
        yield
    except Exception as error:
        response = getattr(error, "response", None)  # InvalidResponse of the client's uploads, which has no base of its own
        if not isinstance(response, requests.Response):
            raise
        from google.api_core.exceptions import from_http_response

        raise from_http_response(response) from error
