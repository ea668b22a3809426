"""Where the rows end up: a run's Parquet files are committed to a DuckDB file, once in effect however often it is tried.

What committing means, for this backend and any other:

- Rows are merged on the table's key. Of two runs that settle the same video with the same model and options, the row of the one
  that started later stays, whichever commits first. Committing a run again changes nothing, and no run adds a second row.
- A count stays until a later run's count replaces it. It removes the failure of the same key, and a failure never takes its
  place: the video was counted in this very version, and what went wrong at another time says nothing against that. The row of
  the run still says how many of its videos failed.
"""

from __future__ import annotations

import dataclasses
import datetime
import glob
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import duckdb
import pyarrow as pa
import tenacity

from transforms.rows import Provenance, RunTotals, run_row, to_record_batch
from transforms.schema import FAILURES, FRAME_CURVES, RUNS, TABLES, VIDEO_COUNTS, VIEWS, Column, Mode, Table, quoted

MERGE_BYTES = 128 * 1024 * 1024
"""Bytes of rows in one MERGE, which DuckDB holds in memory all at once. A run that has more takes several per table."""

STAGING_KEPT_SEC = 7 * 24 * 3600.0
"""How long the staging folder of a run that was killed is left after its last file was written."""

LAUNCH_TIMEOUT_SEC = 10.0
"""How long what comes before the work waits for another process to close the database: one that commits takes seconds."""

_LOGGER = logging.getLogger(__name__)

_T = TypeVar("_T")

_STAGING_INFIX = ".staging-"

_BUSY = (
    "Could not set lock on file",  # another process has it open
    "is already attached by database",  # another thread is closing it
    "different configuration than existing connections",  # another thread has it open read-only
    "Conflict on ",  # another transaction has written the same rows
    "write-write conflict",  # another transaction has made the same tables
)
"""What DuckDB says when somebody else is in the way; its exceptions tell these cases from others by their text only."""

_SAME_KEY = " AND ".join(f"failures.{name} = video_counts.{name}" for name in VIDEO_COUNTS.key)

_REMOVE_COUNTED_FAILURES = f"DELETE FROM failures WHERE EXISTS (SELECT 1 FROM video_counts WHERE {_SAME_KEY})"

_RUN_RESULTS = """\
SELECT video_uri, count, confidence, duration_sec, flags, NULL AS code, NULL AS message FROM video_counts WHERE run_id = $run_id
UNION ALL
SELECT video_uri, NULL, NULL, NULL, [], code, message FROM failures WHERE run_id = $run_id
ORDER BY video_uri LIMIT $limit"""

_NUM_RUN_RESULTS = """\
SELECT (SELECT COUNT(*) FROM video_counts WHERE run_id = $run_id) + (SELECT COUNT(*) FROM failures WHERE run_id = $run_id)"""


class WarehouseError(Exception):
    """The tables cannot take a run's rows or cannot be read, or the run's files do not hold what was written to them.

    From `commit`, it means that nothing of the run was committed; from what reads the tables, it says nothing of that.
    """


@dataclasses.dataclass(frozen=True)
class StagedFile:
    """A Parquet file that waits for its run's commit.

    Attributes:
      table: name of the table that its rows are for.
      path: where it is.
      num_rows: rows that were written to it.
      num_bytes: size of these rows in memory.
    """

    table: str
    path: str
    num_rows: int
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """What a run made of a video.

    Attributes:
      video_uri: which.
      count: repetitions; None if it failed.
      confidence: 0..1; None if it failed.
      duration_sec: seconds of video; None if it failed or is not known.
      flags: names of `VideoFlag`s; none if it failed.
      code: name of the `FailureCode`; None if it was counted.
      message: why it failed, in words; None if it was counted.
    """

    video_uri: str
    count: float | None
    confidence: float | None
    duration_sec: float | None
    flags: tuple[str, ...]
    code: str | None
    message: str | None


class Warehouse(Protocol):
    """Tables for the rows of runs. A pickled one holds only where they are."""

    def check(self) -> None:
        """Makes sure, before any work and without writing, that rows can be taken; else raises WarehouseError."""

    def prepare(self) -> None:
        """Creates the tables and views, or adds what they lack; drops none. Removes what runs killed long ago left staged."""

    def staging_folder(self, run_id: str) -> str:
        """Returns the folder that holds a run's files, and nothing else, until they are committed."""

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Merges a run's files and its own row into the tables, all or nothing; once or many times, to the same effect.

        Args:
          provenance: the run.
          files: all that it staged.
          listed: videos that it listed.
          skipped: videos that it left out since the tables had them.
          run_ended: now.

        Returns:
          What became of the run's videos.

        Raises:
          WarehouseError: the rows could not be committed, or the files do not hold what was written to them.
        """

    def remove_staging(self, run_id: str) -> None:
        """Removes a run's staging folder, once its commit is safe; one that cannot be removed is logged and left."""


def parse_output(output: str) -> DuckDBWarehouse:
    """Returns the tables that `--output` names, spelled `duckdb:PATH`.

    Raises:
      ValueError: it is spelled otherwise.
    """
    scheme, _, path = output.partition(":")
    if scheme != "duckdb" or not path or path == ":memory:" or "://" in path:
        raise ValueError(f"output must be duckdb:PATH, with the path of a local file. Received: {output!r}")
    path = os.path.abspath(os.path.expanduser(path))
    if set(path) & set("?\\"):  # DuckDB puts its log's ending before a "?", and takes "\" for "/"
        raise ValueError(f"output must be a path without '?' and '\\'. Received: {path!r}")
    return DuckDBWarehouse(path)


@dataclasses.dataclass(frozen=True)
class DuckDBWarehouse:
    """Tables in a DuckDB file, which one process can have open at a time.

    Attributes:
      path: of the file, absolute. It and its folder are made when missing.
      lock_timeout_sec: how long a commit waits for another process to close the file before it gives up. Default: twelve hours,
        since the work of a whole run is at stake, and somebody may have left a shell open over night.
    """

    path: str
    lock_timeout_sec: float = 12 * 3600.0

    def check(self) -> None:
        """Makes sure that rows can be taken; leaves a missing file missing.

        Raises:
          WarehouseError: the path is no DuckDB file, cannot be written, is open elsewhere, or has tables of another shape.
        """
        path = pathlib.Path(self.path)
        if path.is_dir():
            raise WarehouseError(f"the database must be a file, not a folder. Received: {self.path}")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise WarehouseError(f"the database must be a file that can be written to. Received: {self.path}")
            self._connected(_upgrade_statements, LAUNCH_TIMEOUT_SEC)
            return
        folder = next(parent for parent in path.parents if os.path.lexists(parent))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise WarehouseError(f"the database needs a folder to write to, and {folder} is none. Received: {self.path}")

    def prepare(self) -> None:
        """Creates the file, its tables and its views, or adds the columns that they lack; removes old staging folders.

        A run that is killed leaves its staging folder. Those in which nothing was written for `STAGING_KEPT_SEC` go.

        Raises:
          WarehouseError: see `check`.
        """
        self._make_folder()
        self._connected(_in_transaction(_upgrade), LAUNCH_TIMEOUT_SEC)
        self._remove_old_staging()

    def staging_folder(self, run_id: str) -> str:
        """Returns a folder beside the database, PATH.staging-RUN."""
        return f"{self.path}{_STAGING_INFIX}{run_id}"

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Merges a run's files and its own row into the tables in one transaction; see `Warehouse.commit`."""
        by_table = {
            table: [file for file in files if file.table == table.name] for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
        }

        def commit(connection: duckdb.DuckDBPyConnection) -> RunTotals:
            _upgrade(connection)
            num_rows = {table: _reconcile(connection, table, staged) for table, staged in by_table.items()}
            if num_rows[VIDEO_COUNTS] != num_rows[FRAME_CURVES]:
                raise WarehouseError(
                    "every staged count must have a curve. "
                    f"Received: {num_rows[VIDEO_COUNTS]} counts and {num_rows[FRAME_CURVES]} curves of run {provenance.run_id}"
                )
            scored_frames, video_sec = _measure(connection, by_table[VIDEO_COUNTS])
            totals = RunTotals(
                listed=listed,
                counted=num_rows[VIDEO_COUNTS],
                failed=num_rows[FAILURES],
                skipped=skipped,
                scored_frames=scored_frames,
                video_sec=video_sec,
            )
            for table, staged in by_table.items():
                for group in _groups(staged):
                    _merge(connection, table, "read_parquet($paths)", {"paths": _patterns(group)})
            connection.execute(_REMOVE_COUNTED_FAILURES)
            row = to_record_batch(run_row(totals, provenance, run_ended), RUNS)
            connection.register("staged_run", pa.Table.from_batches([row]))
            _merge(connection, RUNS, "staged_run", {})
            return totals

        self._make_folder()
        return self._connected(_in_transaction(commit), self.lock_timeout_sec)

    def remove_staging(self, run_id: str) -> None:
        """Removes a run's staging folder, if there is one; logs what could not be removed."""
        folder = self.staging_folder(run_id)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            _LOGGER.warning("The staged files in %s are committed but could not be removed: %s", folder, error)

    def _remove_old_staging(self) -> None:
        oldest_sec = time.time() - STAGING_KEPT_SEC
        for path in map(pathlib.Path, glob.glob(f"{glob.escape(self.path)}{_STAGING_INFIX}*")):
            try:
                if path.is_symlink() or not path.is_dir():
                    continue
                if max(file.lstat().st_mtime for file in (path, *path.rglob("*"))) < oldest_sec:
                    shutil.rmtree(path)
                    _LOGGER.info("Removed %s, which a run that did not end left behind.", path)
            except FileNotFoundError:
                pass  # another run starts too, or this one was running and has just ended
            except OSError as error:
                _LOGGER.warning("What a run that did not end left in %s could not be removed: %s", path, error)

    def run_totals(self, run_id: str) -> RunTotals | None:
        """Returns what became of a run's videos; None if that run did not commit."""
        names = ", ".join(field.name for field in dataclasses.fields(RunTotals))
        rows = self._query(f"SELECT {names} FROM runs WHERE run_id = $run_id", {"run_id": run_id})
        return RunTotals(*rows[0]) if rows else None

    def run_results(self, run_id: str, limit: int) -> list[VideoResult]:
        """Returns what a run made of its videos, at most `limit` of them, in the order of their addresses.

        Only rows in the tables are results. So these are fewer than the run's totals say: a video that it skipped has none, one
        that a later run settled is that run's, and one that failed while the tables have its count is left out.
        """
        rows = self._query(_RUN_RESULTS, {"run_id": run_id, "limit": limit})
        return [
            VideoResult(uri, count, confidence, duration_sec, tuple(flags), code, message)
            for uri, count, confidence, duration_sec, flags, code, message in rows
        ]

    def num_run_results(self, run_id: str) -> int:
        """Returns how many results of a run there are, which is what `run_results` returns without a limit."""
        ((num_results,),) = self._query(_NUM_RUN_RESULTS, {"run_id": run_id})
        return num_results

    def _query(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._connected(lambda connection: connection.execute(sql, parameters).fetchall(), self.lock_timeout_sec)

    def _make_folder(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as error:
            raise WarehouseError(f"the database's folder cannot be made: {error.strerror}. Received: {self.path}") from error

    def _connected(self, action: Callable[[duckdb.DuckDBPyConnection], _T], timeout_sec: float) -> _T:
        """Runs `action` on a connection of its own, from the start again while another process or transaction is in the way.

        Raises:
          WarehouseError: whatever DuckDB says, or that the others did not get out of the way in time.
        """

        def attempt() -> _T:
            with duckdb.connect(self.path) as connection:
                return action(connection)

        try:
            return tenacity.Retrying(
                retry=tenacity.retry_if_exception(_is_busy),
                wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
                stop=tenacity.stop_after_delay(min(timeout_sec, self.lock_timeout_sec)),
                before_sleep=self._tell_of_waiting,
                reraise=True,
            )(attempt)
        except duckdb.Error as error:
            hint = "close the other program that has the database open" if _is_busy(error) else "the database cannot be used"
            raise WarehouseError(f"{hint}: {str(error).splitlines()[0]}. Received: {self.path}") from error

    def _tell_of_waiting(self, state: tenacity.RetryCallState) -> None:
        """Says once what a program is waiting for, and the rest for those who look into it."""
        if state.attempt_number == 1:
            _LOGGER.warning("Waiting for another program to close %s", self.path)
        error = state.outcome.exception() if state.outcome else None
        _LOGGER.debug("Attempt %d at %s after %.1f s: %s", state.attempt_number, self.path, state.seconds_since_start, error)


def _is_busy(error: BaseException) -> bool:
    """Returns whether another process or transaction is in the way, so that trying again later makes sense."""
    return isinstance(error, duckdb.Error) and any(text in str(error) for text in _BUSY)


def _in_transaction(action: Callable[[duckdb.DuckDBPyConnection], _T]) -> Callable[[duckdb.DuckDBPyConnection], _T]:
    """Returns `action` such that all that it does is done, or nothing if it raises or the process dies."""

    def run(connection: duckdb.DuckDBPyConnection) -> _T:
        connection.begin()
        result = action(connection)
        connection.commit()  # Where this is not reached, the transaction is rolled back as the connection closes.
        return result

    return run


def _upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    for statement in _upgrade_statements(connection):
        connection.execute(statement)


def _upgrade_statements(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Returns the SQL that adds what the tables lack, and makes the views anew.

    Raises:
      WarehouseError: a table lacks a REQUIRED column, or has one of another type.
    """
    found = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = current_schema()"
    ).fetchall()
    statements: list[str] = []
    for table in TABLES:
        existing = {column_name: (data_type, comment) for name, column_name, data_type, comment in found if name == table.name}
        if not existing:
            statements.append(table.duckdb_ddl)
        for column in table.columns:
            data_type, comment = existing.get(column.name, (None, None))
            if data_type is not None:
                additions = _missing_fields(table, column, data_type)
            elif not existing:
                additions = []
            elif column.mode is Mode.REQUIRED:
                raise WarehouseError(
                    f"the table {table.name} must have a column {column.name}. Received: {', '.join(existing)}"
                )
            else:
                additions = [column.duckdb_definition]
            statements += [f"ALTER TABLE {table.name} ADD COLUMN {addition}" for addition in additions]
            if comment != column.description:
                comment = column.description.replace("'", "''")
                statements.append(f"COMMENT ON COLUMN {table.name}.{quoted(column.name)} IS '{comment}'")
    statements += [f"CREATE OR REPLACE VIEW {view.name} AS\n{view.query()}" for view in VIEWS]
    return statements


def _missing_fields(table: Table, column: Column, data_type: str) -> list[str]:
    """Returns the definitions, as in ALTER TABLE … ADD COLUMN, of the STRUCT fields that an existing column lacks.

    Raises:
      WarehouseError: the column, or a field of it, has another type.
    """
    actual, expected = duckdb.sqltype(data_type), duckdb.sqltype(column.duckdb_type)
    if actual == expected:
        return []
    if column.fields and actual.id == "list" and actual.child.id == "struct":
        types = dict(actual.child.children)
        if all(types.get(field.name, field.duckdb_type) == field.duckdb_type for field in column.fields):
            return [
                f"{quoted(column.name)}.element.{field.duckdb_definition}" for field in column.fields if field.name not in types
            ]
    raise WarehouseError(f"the column {table.name}.{column.name} must be {expected}. Received: {actual}")


def _reconcile(connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[StagedFile]) -> int:
    """Returns the number of rows staged for a table; raises WarehouseError unless the files hold just as many."""
    expected = sum(file.num_rows for file in files)
    actual = 0
    if files:
        sql = "SELECT COUNT(*) FROM read_parquet($paths)"
        ((actual,),) = connection.execute(sql, {"paths": _patterns(files)}).fetchall()
    if actual != expected:
        raise WarehouseError(
            f"the files staged for {table.name} must hold the {expected} rows written to them. Received: {actual}"
        )
    return actual


def _measure(connection: duckdb.DuckDBPyConnection, files: Sequence[StagedFile]) -> tuple[int, float]:
    """Returns the frames and the seconds of video of all staged counts."""
    if not files:
        return 0, 0.0
    sql = "SELECT SUM(scored_frames), COALESCE(SUM(duration_sec), 0) FROM read_parquet($paths)"
    ((scored_frames, video_sec),) = connection.execute(sql, {"paths": _patterns(files)}).fetchall()
    return scored_frames, video_sec


def _merge(connection: duckdb.DuckDBPyConnection, table: Table, source: str, parameters: Mapping[str, Any]) -> None:
    """Merges rows into a table on its key, where of two rows that of the run started later wins.

    Args:
      connection: to the database.
      table: which.
      source: what stands for the rows in SQL.
      parameters: of `source`.
    """
    names = [quoted(column.name) for column in table.columns]
    key = [quoted(name) for name in table.key]
    connection.execute(
        f"""
        MERGE INTO {table.name} AS target
        USING (
          SELECT {", ".join(names)} FROM {source}
          QUALIFY ROW_NUMBER() OVER (PARTITION BY {", ".join(key)} ORDER BY run_started DESC) = 1
        ) AS staged
        ON {" AND ".join(f"target.{name} = staged.{name}" for name in key)}
        WHEN MATCHED AND staged.run_started > target.run_started
          THEN UPDATE SET {", ".join(f"{name} = staged.{name}" for name in names if name not in key)}
        WHEN NOT MATCHED THEN INSERT ({", ".join(names)}) VALUES ({", ".join(f"staged.{name}" for name in names)})
        """,
        parameters,
    )


def _groups(files: Sequence[StagedFile]) -> Iterator[list[StagedFile]]:
    """Yields files together as long as their rows stay below `MERGE_BYTES`."""
    group: list[StagedFile] = []
    for file in files:
        if group and sum(member.num_bytes for member in group) + file.num_bytes > MERGE_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _patterns(files: Sequence[StagedFile]) -> list[str]:
    """Returns paths as DuckDB takes them, which would read * and [ as patterns."""
    return [glob.escape(file.path) for file in files]
