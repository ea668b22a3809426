"""Tables in a DuckDB file: a run's Parquet files are committed in one transaction."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import pathlib
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import duckdb
import pyarrow as pa
import tenacity

from transforms.coders import VideoRefCoder
from transforms.machine_faults import is_machine_fault
from transforms.records import Selection, SelectionTotals, VideoRef
from transforms.run_files import ATTEMPTS_SUFFIX
from transforms.warehouse import sql
from transforms.warehouse.base import (
    UNCHANGED,
    EndRun,
    TableOptions,
    Warehouse,
    WarehouseError,
    WarehouseFaultError,
    selection_totals,
)
from transforms.warehouse.duckdb_staged_rows import FILES, check_staged, frames_and_seconds, merge, outlived_lines, patterns
from transforms.warehouse.duckdb_staging import StagingFolders
from transforms.warehouse.duckdb_tables import DIALECT, create_file, find_changes, open_file, upgrade, upgrade_tables
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance, RunTotals, to_record_batch
from transforms.warehouse.schema import FAILURES, LISTING, RUNS, TABLES, VIDEO_COUNTS, Table
from transforms.warehouse.sql import Dialect

MERGE_BYTES = 128 * 1024 * 1024
"""Maximum bytes of rows in one MERGE, which DuckDB holds in memory. A run with more rows takes several MERGEs per table."""

LAUNCH_TIMEOUT_SEC = 10.0
"""Seconds to wait, before a run or a deletion starts, for another process to close the file. A commit takes a few seconds."""

READ_ROWS = 10_000
"""Maximum number of rows in a batch that `Warehouse.read` yields."""

READ_LIST_ROWS = 256
"""The same for rows with lists, which may be long: the curve of a video of an hour has 100,000 points."""

_LOGGER = logging.getLogger(__name__)

_T = TypeVar("_T")

_BUSY = (
    "Could not set lock on file",  # another process has the file open
    "is already attached by database",  # another thread is closing the file
    "different configuration than existing connections",  # another thread has the file open read-only
    "Conflict on ",  # another transaction wrote the same rows
    "write-write conflict",  # another transaction created the same tables
)
"""Messages of errors caused by another process or transaction. DuckDB's exception types do not tell them from others."""

_WRITING = threading.Lock()
"""Held by the thread that writes. DuckDB keeps other processes out, but threads share the file. Two MERGEs that only insert do
not conflict, so each would insert a row for the same video."""


@dataclasses.dataclass(frozen=True)
class DuckDBWarehouse(Warehouse):
    """Tables in a DuckDB file, which only one process can have open at a time.

    Attributes:
      path: Absolute path of the file. `prepare` creates the file and its folder if missing; nothing else does.
      lock_timeout_sec: Seconds for which a commit waits for another process to close the file. Default: twelve hours, since a
        whole run is at stake and somebody may have left a shell open overnight.
    """

    path: str
    lock_timeout_sec: float = 12 * 3600.0

    scheme: ClassVar[str] = "duckdb"
    place: ClassVar[str] = "PATH"
    is_local: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str, temp_location: str | None) -> DuckDBWarehouse:
        """Returns the warehouse in the file at a path; raises ValueError if it is not a usable path of a local file."""
        if place == ":memory:" or "://" in place:
            raise ValueError(f"output must be duckdb:PATH, with the path of a local file. Received: {place!r}")
        path = os.path.abspath(os.path.expanduser(place))
        if set(path) & set("?\\"):  # DuckDB would put the suffix of its log before a "?", and read "\" as "/"
            raise ValueError(f"output must be a path without '?' and '\\'. Received: {path!r}")
        return cls(path)

    @property
    def name(self) -> str:
        """Path of the file."""
        return self.path

    @property
    def dialect(self) -> Dialect:
        """How DuckDB spells SQL."""
        return DIALECT

    def check(self) -> None:
        """Raises WarehouseError unless rows can be written: see `Warehouse.check`. A missing file stays missing."""
        path, notes = pathlib.Path(self.path), pathlib.Path(self.attempts_folder)
        if path.is_dir():
            raise WarehouseError(f"the database must be a file, not a folder. Received: {self.path}")
        if notes.exists() and not notes.is_dir():
            raise WarehouseError(
                f"notes beside the database need a folder; move the file that is in its place. Received: {notes}"
            )
        if path.exists():
            if not os.access(path, os.W_OK):
                raise WarehouseError(f"the database must be a writable file. Received: {self.path}")
            self._read(find_changes, LAUNCH_TIMEOUT_SEC)
            return
        folder = next(parent for parent in path.parents if os.path.lexists(parent))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise WarehouseError(f"the database must be in a writable folder, but {folder} is not one. Received: {self.path}")

    def is_ready(self) -> bool:
        """Returns whether the file exists and has all tables."""
        if not os.path.exists(self.path):
            return False
        query = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        names = self._read(lambda connection: connection.execute(query).fetchall(), LAUNCH_TIMEOUT_SEC)
        return {table.name for table in TABLES} <= {name for (name,) in names}

    def changes(self, options: TableOptions = UNCHANGED) -> list[str]:
        """Returns a line for each thing that `prepare` would create or change: see `Warehouse.changes`."""
        _refuse(options)
        self.check()
        if os.path.exists(self.path):
            changes = self._read(find_changes, LAUNCH_TIMEOUT_SEC)
        else:
            with duckdb.connect() as connection:
                changes = find_changes(connection)
        return [change.line for change in changes if change.line]

    def prepare(self, options: TableOptions = UNCHANGED) -> None:
        """Creates the file, its tables and views, or upgrades them: see `Warehouse.prepare`.

        Opens the file for writing only if there is something to change, since others may be reading it. Deletes staging
        folders of killed runs.
        """
        _refuse(options)
        self._make_folder()
        with self._one_line_errors():
            create_file(self.path)
        if self._read(find_changes, LAUNCH_TIMEOUT_SEC):
            for line in self._connected(_in_transaction(upgrade), LAUNCH_TIMEOUT_SEC):
                _LOGGER.info("%s: %s", self.path, line)
        self._staging.prepare()

    def staging_folder(self, run_id: str) -> str:
        """Returns the folder beside the file, see `StagingFolders`."""
        return self._staging.folder(run_id)

    @property
    def attempts_folder(self) -> str:
        """Folder beside the file, PATH.attempts."""
        return f"{self.path}{ATTEMPTS_SUFFIX}"

    def select(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> tuple[SelectionTotals, Iterator[VideoRef]]:
        """Returns how many listed videos to count, and those videos: see `Warehouse.select`."""
        if not files:
            return SelectionTotals(0, 0, 0), iter(())

        def select(connection: duckdb.DuckDBPyConnection) -> tuple[SelectionTotals, pa.Table]:
            listing = {"paths": patterns(files)}
            dates = check_staged(connection, LISTING, files)
            parameters = listing | sql.selection_parameters(provenance, selection, dates)
            source = sql.in_slice(FILES, selection.part)
            ((listed,),) = connection.execute(sql.num_listed(DIALECT, source), listing).fetchall()
            query = f"CREATE TEMP TABLE selected AS {sql.to_do(DIALECT, source, selection)}"
            connection.execute(query, parameters)
            ((to_do,),) = connection.execute(sql.num_rows("selected")).fetchall()
            videos = connection.sql(sql.select_videos("selected", selection.limit)).to_arrow_table()
            return selection_totals(listed, to_do, selection.limit), videos

        totals, videos = self._read(select, self.lock_timeout_sec)
        return totals, _decoded(videos)

    def durations(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> Iterator[tuple[str, int, float]]:
        """Yields what is known of videos to count: see `Warehouse.durations`."""

        def read(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, float]]:
            dates = check_staged(connection, LISTING, files)
            parameters = sql.selection_parameters(provenance, selection, dates) | {"paths": patterns(files), "dates": dates}
            query = sql.durations(DIALECT, sql.in_slice(FILES, selection.part), selection)
            return connection.execute(query, parameters).fetchall()

        yield from self._read(read, self.lock_timeout_sec)

    def _commit(self, run_id: str, staged: Mapping[Table, Sequence[StagedFile]], end_run: EndRun) -> RunTotals:
        """Merges all rows in one transaction, which leaves nothing if it fails: see `Warehouse._commit`."""

        def commit(connection: duckdb.DuckDBPyConnection) -> tuple[RunTotals, list[str]]:
            upgrade_tables(connection)
            dates = {table: check_staged(connection, table, files) for table, files in staged.items()}
            totals, row = end_run(*frames_and_seconds(connection, staged[VIDEO_COUNTS]), set().union(*dates.values()))
            for table, files in staged.items():
                for group in _groups(files):
                    merge(connection, table, FILES, {"paths": patterns(group)})
            connection.execute(sql.delete_counted_failures(DIALECT, DIALECT.table(VIDEO_COUNTS)))
            connection.register("staged_run", pa.Table.from_batches([to_record_batch(row, RUNS)]))
            merge(connection, RUNS, "staged_run", {})
            return totals, outlived_lines(connection, staged[FAILURES], dates[FAILURES])

        totals, lines = self._connected(_in_transaction(commit), self.lock_timeout_sec)
        for line in lines:
            _LOGGER.warning("%s", line)
        return totals

    def keep_staging(self, run_id: str) -> None:
        """Sets the time of a run's staging folder: see `Warehouse.keep_staging`."""
        self._staging.keep(run_id)

    def remove_staging(self, run_id: str) -> None:
        """Deletes a run's staging folder: see `Warehouse.remove_staging`."""
        self._staging.remove(run_id)

    def delete_videos(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table in one transaction: see `Warehouse.delete_videos`."""
        parameters = sql.deletion_parameters(uris, before)

        def delete(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
            numbers = {}
            for table in sql.PER_VIDEO_TABLES:
                query = sql.num_videos_to_delete(DIALECT, table, parameters)
                numbers[table.name] = sum(number for _, number in connection.execute(query, parameters).fetchall())
                if not dry_run:
                    connection.execute(sql.delete_videos(DIALECT, table, parameters), parameters)
            return numbers

        if not os.path.exists(self.path):
            raise WarehouseError(f"the database must exist. Received: {self.path}")
        connected = self._read if dry_run else self._connected
        return connected(_in_transaction(delete), LAUNCH_TIMEOUT_SEC)

    def query(self, statement: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query, all read at once so that the file is free for others."""
        yield from self._read(lambda connection: connection.execute(statement, parameters).fetchall(), self.lock_timeout_sec)

    def _stream(self, statement: str, parameters: Mapping[str, Any]) -> Generator[pa.RecordBatch]:
        """Yields the rows of a query from the file, opened read-only: see `Warehouse._stream`.

        Several readers can have the file open. While a run commits, a reader waits `LAUNCH_TIMEOUT_SEC` for it. A run that
        commits waits for all readers.
        """
        if not os.path.exists(self.path):
            raise WarehouseError(f"the database must exist. Received: {self.path}")

        def start() -> tuple[duckdb.DuckDBPyConnection, pa.RecordBatchReader]:
            connection = open_file(self.path, read_only=True)
            try:
                connection.execute("SET TimeZone = 'UTC'")
                relation = connection.sql(statement, params=dict(parameters))
                has_lists = any(of_column.id == "list" for of_column in relation.types)
                return connection, relation.to_arrow_reader(READ_LIST_ROWS if has_lists else READ_ROWS)
            except BaseException:
                connection.close()
                raise

        connection, batches = self._retried(start, LAUNCH_TIMEOUT_SEC)
        with connection, batches, self._one_line_errors():
            is_empty = True
            for batch in batches:
                is_empty = False
                yield batch
            if is_empty:
                yield pa.RecordBatch.from_pylist([], schema=batches.schema)

    def _make_folder(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as error:
            kind = WarehouseFaultError if is_machine_fault(error) else WarehouseError
            raise kind(f"the database's folder cannot be created: {error.strerror}. Received: {self.path}") from error

    @property
    def _staging(self) -> StagingFolders:
        return StagingFolders(self.path)

    def _connected(self, action: Callable[[duckdb.DuckDBPyConnection], _T], timeout_sec: float) -> _T:
        """Runs `action` on a new connection; starts again while another process or transaction is in the way.

        Raises:
          WarehouseError: The tables are not those that `action` needs.
          WarehouseFaultError: The file or its disk cannot be used, or is gone, or the file was busy until the timeout.
        """

        def attempt() -> _T:
            if not os.path.exists(self.path):  # a new file would lack the rows because of which a run skips videos
                raise WarehouseFaultError(
                    f"the database was there at the start and is gone; put it back, or start again. Received: {self.path}"
                )
            with _WRITING:
                return self._run(action, read_only=False)

        return self._retried(attempt, timeout_sec)

    def _read(self, action: Callable[[duckdb.DuckDBPyConnection], _T], timeout_sec: float) -> _T:
        """Does the same with a file that is there, and which `action` only reads: others may read it as well."""
        return self._retried(lambda: self._run(action, read_only=True), timeout_sec)

    def _run(self, action: Callable[[duckdb.DuckDBPyConnection], _T], *, read_only: bool) -> _T:
        with open_file(self.path, read_only=read_only) as connection:
            return action(connection)

    def _retried(self, attempt: Callable[[], _T], timeout_sec: float) -> _T:
        """Returns the result of `attempt`, tried again while another process or transaction is in the way: see `_connected`."""
        with self._one_line_errors():
            return tenacity.Retrying(
                retry=tenacity.retry_if_exception(_is_busy),
                wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
                stop=tenacity.stop_after_delay(min(timeout_sec, self.lock_timeout_sec)),
                before_sleep=self._log_waiting,
                reraise=True,
            )(attempt)

    @contextlib.contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Turns errors of DuckDB into a WarehouseError of one line."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            is_busy = _is_busy(error)
            hint = "close the other program that has the database open" if is_busy else "the database cannot be used"
            if isinstance(error, OSError):
                is_fault = is_machine_fault(error)
            else:  # a ProgrammingError is about a statement, which names what these tables lack
                is_fault = not isinstance(error, duckdb.ProgrammingError) and not os.path.isdir(self.path)
            kind = WarehouseFaultError if is_busy or is_fault else WarehouseError
            raise kind(f"{hint}: {str(error).splitlines()[0]}. Received: {self.path}") from error

    def _log_waiting(self, state: tenacity.RetryCallState) -> None:
        """Logs one warning that another program has the file open, and the later attempts as debug messages."""
        if state.attempt_number == 1:
            _LOGGER.warning("Waiting for another program to close %s", self.path)
        error = state.outcome.exception() if state.outcome else None
        _LOGGER.debug("Attempt %d at %s after %.1f s: %s", state.attempt_number, self.path, state.seconds_since_start, error)


def _is_busy(error: BaseException) -> bool:
    """Returns whether another process or transaction is in the way, so that a later attempt may succeed."""
    return isinstance(error, duckdb.Error) and any(text in str(error) for text in _BUSY)


def _in_transaction(action: Callable[[duckdb.DuckDBPyConnection], _T]) -> Callable[[duckdb.DuckDBPyConnection], _T]:
    """Returns `action` in a transaction, which changes nothing if `action` raises or the process dies."""

    def run(connection: duckdb.DuckDBPyConnection) -> _T:
        connection.begin()
        result = action(connection)
        connection.commit()  # Without a commit, closing the connection rolls back.
        return result

    return run


def _refuse(options: TableOptions) -> None:
    """Raises WarehouseError if any option is set, since only BigQuery has them."""
    if options != UNCHANGED:
        raise WarehouseError(
            "location, partition_expiration_days and require_partition_filter need --output bigquery:PROJECT.DATASET"
        )


def _decoded(videos: pa.Table) -> Iterator[VideoRef]:
    """Yields selected videos, decoding them one at a time since the encoded column takes far less memory."""
    coder = VideoRefCoder()
    for batch in videos.to_batches():
        for video in batch.column(0).to_pylist():
            yield coder.decode(video.encode("ascii"))


def _groups(files: Sequence[StagedFile]) -> Iterator[list[StagedFile]]:
    """Yields groups of files with at most `MERGE_BYTES` of rows; a larger file is a group by itself."""
    group: list[StagedFile] = []
    for file in files:
        if group and sum(member.num_bytes for member in group) + file.num_bytes > MERGE_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
