"""The rows that a run has staged for a DuckDB file: what a commit checks of them, merges and tells."""

from __future__ import annotations

import datetime
import glob
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from transforms.warehouse import base, sql
from transforms.warehouse.base import check_num_rows
from transforms.warehouse.duckdb_tables import DIALECT
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.schema import Table

FILES = "read_parquet($paths)"
"""SQL for the rows of staged files."""


def check_staged(connection: duckdb.DuckDBPyConnection, table: Table, files: Collection[StagedFile]) -> list[datetime.date]:
    """Returns the upload dates of the rows staged for a table; raises WarehouseError if rows are missing."""
    if not files:
        return []
    rows = connection.execute(sql.num_rows_by_date(FILES), {"paths": patterns(files)}).fetchall()
    return check_num_rows(table.name, files, rows)


def frames_and_seconds(connection: duckdb.DuckDBPyConnection, files: Sequence[StagedFile]) -> tuple[int, float]:
    """Returns the total scored frames and seconds of video of the staged counts."""
    if not files:
        return 0, 0.0
    query = sql.frames_and_seconds(FILES)
    ((scored_frames, video_sec),) = connection.execute(query, {"paths": patterns(files)}).fetchall()
    return scored_frames, video_sec


def outlived_lines(
    connection: duckdb.DuckDBPyConnection, failures: Sequence[StagedFile], dates: Sequence[datetime.date]
) -> list[str]:
    """Returns lines for the log that name staged failures which no table has: see `base.outlived_lines`."""
    if not failures:
        return []
    parameters = {"paths": patterns(failures), "dates": dates}
    return base.outlived_lines(DIALECT, FILES, lambda query: connection.execute(query, parameters).fetchall())


def merge(connection: duckdb.DuckDBPyConnection, table: Table, source: str, parameters: Mapping[str, Any]) -> None:
    """Merges the rows of `source`, which is SQL with `parameters`, into a table."""
    connection.execute(sql.merge(DIALECT, table, source), parameters)


def patterns(files: Collection[StagedFile]) -> list[str]:
    """Returns the files' paths, escaped since DuckDB reads * and [ in paths as patterns."""
    return [glob.escape(file.path) for file in files]
