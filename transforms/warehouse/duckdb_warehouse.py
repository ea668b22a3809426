"""Tables in a DuckDB file: a run's Parquet files are committed in one transaction."""

from __future__ import annotations

import dataclasses
import datetime
import glob
import hashlib
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import tenacity

from transforms.records import VideoRef, VideoRefCoder
from transforms.warehouse import sql as statements
from transforms.warehouse.base import (
    AS_IT_IS,
    STAGING_KEPT_SEC,
    Selected,
    Selection,
    TableOptions,
    WarehouseError,
    check_curves,
    check_number,
)
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance, RunTotals, UploadDates, run_row, to_record_batch
from transforms.warehouse.run_history import RunHistory
from transforms.warehouse.schema import (
    FAILURES,
    FRAME_CURVES,
    LISTING,
    RUNS,
    TABLES,
    VIDEO_COUNTS,
    VIEWS,
    Column,
    Mode,
    Table,
    View,
    quoted,
)
from transforms.warehouse.sql import DUCKDB, Dialect

MERGE_BYTES = 128 * 1024 * 1024
"""Bytes of rows in one MERGE, which DuckDB holds in memory all at once. A run that has more takes several per table."""

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

_FILES = "read_parquet($paths)"
"""What stands for staged rows in SQL."""

_REMOVE_COUNTED_FAILURES = f"DELETE FROM failures WHERE {statements.is_counted(DUCKDB, 'failures')}"


@dataclasses.dataclass(frozen=True)
class DuckDBWarehouse(RunHistory):
    """Tables in a DuckDB file, which one process can have open at a time.

    Attributes:
      path: of the file, absolute. It and its folder are made when missing.
      lock_timeout_sec: how long a commit waits for another process to close the file before it gives up. Default: twelve hours,
        since the work of a whole run is at stake, and somebody may have left a shell open over night.
    """

    path: str
    lock_timeout_sec: float = 12 * 3600.0

    @property
    def address(self) -> str:
        """The file."""
        return self.path

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
            self._connected(_find_changes, LAUNCH_TIMEOUT_SEC)
            return
        folder = next(parent for parent in path.parents if os.path.lexists(parent))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise WarehouseError(f"the database needs a folder to write to, and {folder} is none. Received: {self.path}")

    def is_ready(self) -> bool:
        """Tells whether the file is there with all tables."""
        return os.path.exists(self.path) and not any(
            change.line for change in self._connected(_find_changes, LAUNCH_TIMEOUT_SEC)
        )

    def changes(self, options: TableOptions = AS_IT_IS) -> list[str]:
        """Returns what `prepare` would create or add, a line each.

        Raises:
          WarehouseError: see `check`; or the options ask for what DuckDB has not.
        """
        _refuse(options)
        self.check()
        if not os.path.exists(self.path):
            with duckdb.connect() as connection:
                return [change.line for change in _find_changes(connection) if change.line]
        changes = self._connected(_find_changes, LAUNCH_TIMEOUT_SEC)
        return [change.line for change in changes if change.line]

    def prepare(self, options: TableOptions = AS_IT_IS) -> None:
        """Creates the file, its tables and its views, or adds the columns that they lack; removes old staging folders.

        A run that is killed leaves its staging folder. Those in which nothing was written for `STAGING_KEPT_SEC` go.

        Raises:
          WarehouseError: see `changes`.
        """
        _refuse(options)
        self._make_folder()
        self._connected(_in_transaction(_upgrade), LAUNCH_TIMEOUT_SEC)
        self._remove_old_staging()

    def staging_folder(self, run_id: str) -> str:
        """Returns a folder beside the database, PATH.staging-RUN."""
        return f"{self.path}{_STAGING_INFIX}{run_id}"

    def select(self, provenance: Provenance, files: Collection[StagedFile], selection: Selection) -> Selected:
        """Finds out which of the listed videos to count; see `Warehouse.select`."""

        def select(connection: duckdb.DuckDBPyConnection) -> Selected:
            if not files:
                return Selected(0, 0, 0, iter(()))
            listing = {"paths": _patterns(list(files))}
            sql = statements.count_and_dates(_FILES)
            ((actual, first_date, last_date),) = connection.execute(sql, listing).fetchall()
            check_number(LISTING.name, files, actual)
            dates = UploadDates(first_date, last_date)
            parameters = listing | statements.selection_parameters(provenance, selection, dates)
            sql = statements.number_selected(DUCKDB, _FILES, selection)
            ((listed, to_do),) = connection.execute(sql, parameters).fetchall()
            taken = to_do if selection.limit is None else min(to_do, selection.limit)
            sql = statements.select_videos(DUCKDB, _FILES, selection)
            videos = connection.sql(sql, params=parameters).to_arrow_table()
            return Selected(listed, listed - to_do, to_do - taken, _decoded(videos))

        return self._connected(select, self.lock_timeout_sec)

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Merges a run's files and its own row into the tables in one transaction; see `Warehouse.commit`.

        A run that cannot be committed leaves nothing in the tables.
        """
        by_table = {
            table: [file for file in files if file.table == table.name] for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
        }

        def commit(connection: duckdb.DuckDBPyConnection) -> RunTotals:
            _upgrade(connection)
            found = {table: _reconcile(connection, table, staged) for table, staged in by_table.items()}
            num_rows = {table: number for table, (number, _) in found.items()}
            check_curves(num_rows[VIDEO_COUNTS], num_rows[FRAME_CURVES], provenance.run_id)
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
                    _merge(connection, table, _FILES, {"paths": _patterns(group)})
            connection.execute(_REMOVE_COUNTED_FAILURES)
            dates = UploadDates.around(dates for _, dates in found.values())
            row = to_record_batch(run_row(totals, provenance, run_ended, dates), RUNS)
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

    @property
    def dialect(self) -> Dialect:
        """DuckDB's."""
        return DUCKDB

    def query(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query, which are read at once, so that the file is not kept from others."""
        yield from self._connected(lambda connection: connection.execute(sql, parameters).fetchall(), self.lock_timeout_sec)

    def forget(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table in one transaction; see `Warehouse.forget`."""
        parameters: dict[str, Any] = {"uris": list(uris)} if uris else {}
        if before is not None:
            parameters["before"] = before
        condition = statements.forgotten(DUCKDB, by_uri=bool(uris), by_date=before is not None)

        def forget(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
            numbers = {}
            for table in statements.PER_VIDEO_TABLES:
                sql = f"SELECT COUNT(*) FROM {table.name} WHERE {condition}"
                ((numbers[table.name],),) = connection.execute(sql, parameters).fetchall()
                if not dry_run:
                    connection.execute(f"DELETE FROM {table.name} WHERE {condition}", parameters)
            return numbers

        if not os.path.exists(self.path):
            raise WarehouseError(f"there is no such database. Received: {self.path}")
        return self._connected(_in_transaction(forget), self.lock_timeout_sec)

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


@dataclasses.dataclass(frozen=True)
class _Change:
    """A statement that brings the database up to the schema; `line` tells people of it, unless it is empty."""

    line: str
    sql: str


def _refuse(options: TableOptions) -> None:
    """Raises WarehouseError for options that DuckDB has not."""
    if options != AS_IT_IS:
        raise WarehouseError("a location, and what becomes of partitions, can be chosen for bigquery:PROJECT.DATASET only")


def _upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    for change in _find_changes(connection):
        connection.execute(change.sql)


def _find_changes(connection: duckdb.DuckDBPyConnection) -> list[_Change]:
    """Returns what adds what the tables lack, and makes those views anew that are others.

    Raises:
      WarehouseError: a table lacks a REQUIRED column, or has one of another type.
    """
    found = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = current_schema()"
    ).fetchall()
    changes: list[_Change] = []
    for table in TABLES:
        existing = {column_name: (data_type, comment) for name, column_name, data_type, comment in found if name == table.name}
        if not existing:
            changes.append(_Change(f"create table {table.name}", table.duckdb_ddl))
        for column in table.columns:
            data_type, comment = existing.get(column.name, (None, None))
            if data_type is not None:
                additions = _missing_fields(table, column, data_type)
            elif not existing:
                additions = {}
            elif column.mode is Mode.REQUIRED:
                raise WarehouseError(
                    f"the table {table.name} must have a column {column.name}. Received: {', '.join(existing)}"
                )
            else:
                additions = {column.name: column.duckdb_definition}
            for name, addition in additions.items():
                changes.append(_Change(f"add column {table.name}.{name}", f"ALTER TABLE {table.name} ADD COLUMN {addition}"))
            if comment != column.description:
                line = f"describe column {table.name}.{column.name}" if data_type is not None else ""
                changes.append(
                    _Change(line, f"COMMENT ON COLUMN {table.name}.{quoted(column.name)} IS {_literal(column.description)}")
                )
    sql = "SELECT view_name, comment FROM duckdb_views() WHERE database_name = current_database() AND NOT internal"
    comments = dict(connection.execute(sql).fetchall())
    for view in VIEWS:
        comment = _view_comment(view)
        if comments.get(view.name) != comment:
            verb = "change" if view.name in comments else "create"
            changes.append(_Change(f"{verb} view {view.name}", f"CREATE OR REPLACE VIEW {view.name} AS\n{view.query()}"))
            changes.append(_Change("", f"COMMENT ON VIEW {view.name} IS {_literal(comment)}"))
    if any(change.sql.startswith("ALTER") for change in changes):
        # A view that takes all columns of a table has those from when it was made, and fails once there are more.
        changes += [_Change("", f"CREATE OR REPLACE VIEW {view.name} AS\n{view.query()}") for view in VIEWS]
        changes += [_Change("", f"COMMENT ON VIEW {view.name} IS {_literal(_view_comment(view))}") for view in VIEWS]
    return changes


def _view_comment(view: View) -> str:
    """Returns a view's description with the hash of its query, by which one that has changed is told."""
    return f"{view.description} (Query {hashlib.sha256(view.query().encode()).hexdigest()[:8]}.)"


def _literal(text: str) -> str:
    quotes = text.replace("'", "''")
    return f"'{quotes}'"


def _missing_fields(table: Table, column: Column, data_type: str) -> dict[str, str]:
    """Returns the definitions, as in ALTER TABLE … ADD COLUMN, of an existing STRUCT column's missing fields, by their path.

    Raises:
      WarehouseError: the column, or a field of it, has another type.
    """
    actual, expected = duckdb.sqltype(data_type), duckdb.sqltype(column.duckdb_type)
    if actual == expected:
        return {}
    if column.fields and actual.id == "list" and actual.child.id == "struct":
        types = dict(actual.child.children)
        if all(types.get(field.name, field.duckdb_type) == field.duckdb_type for field in column.fields):
            return {
                f"{column.name}.{field.name}": f"{quoted(column.name)}.element.{field.duckdb_definition}"
                for field in column.fields
                if field.name not in types
            }
    raise WarehouseError(f"the column {table.name}.{column.name} must be {expected}. Received: {actual}")


def _reconcile(
    connection: duckdb.DuckDBPyConnection, table: Table, files: Sequence[StagedFile]
) -> tuple[int, UploadDates | None]:
    """Returns how many rows are staged for a table, and their dates; raises WarehouseError unless as many as were written."""
    if not files:
        return 0, None
    sql = statements.count_and_dates(_FILES)
    ((actual, first_date, last_date),) = connection.execute(sql, {"paths": _patterns(files)}).fetchall()
    check_number(table.name, files, actual)
    return actual, UploadDates(first_date, last_date) if actual else None


def _measure(connection: duckdb.DuckDBPyConnection, files: Sequence[StagedFile]) -> tuple[int, float]:
    """Returns the frames and the seconds of video of all staged counts."""
    if not files:
        return 0, 0.0
    ((scored_frames, video_sec),) = connection.execute(statements.measure(_FILES), {"paths": _patterns(files)}).fetchall()
    return scored_frames, video_sec


def _merge(connection: duckdb.DuckDBPyConnection, table: Table, source: str, parameters: Mapping[str, Any]) -> None:
    """Merges rows into a table; `source` stands for them in SQL, with `parameters`."""
    connection.execute(statements.merge(DUCKDB, table, source), parameters)


def _decoded(videos: pa.Table) -> Iterator[VideoRef]:
    """Yields the videos of a selection, whose one column is compact until then."""
    coder = VideoRefCoder()
    for batch in videos.to_batches():
        for video in batch.column(0).to_pylist():
            yield coder.decode(video.encode("ascii"))


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
