"""The interface of a warehouse: the tables that runs read and write, whichever database holds them.

Every warehouse keeps these promises:

- Rows are merged on the table's key. If two runs process the same video with the same model and options, the row of the run
  that started later wins, whichever commits first. Committing a run again changes nothing.
- A count stays until a later run's count replaces it. A count deletes the failure with the same key. A failure never replaces a
  count, since this version of the video could be counted; the run's own row still includes it in `failed`, and the log has it.
- A run that dies at any point leaves valid tables. The next run counts every video that has neither a count nor a failure.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from model.errors import UserError
from transforms.machine_faults import MachineFaultError
from transforms.records import Selection, SelectionTotals, VideoRef, VideoResult
from transforms.text import printable
from transforms.warehouse import sql
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.reading import spell, unify
from transforms.warehouse.rows import Provenance, Row, RunTotals, run_row
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS, Table
from transforms.warehouse.sql import Dialect

STAGING_KEPT_SEC = 7 * 24 * 3600.0
"""Age in seconds at which files staged by killed runs are deleted."""

MAX_NAMED_FAILURES = 20
"""Maximum number of failures that a commit logs because no table has them."""

EndRun = Callable[[int, float, Collection[datetime.date]], tuple[RunTotals, Row]]
"""Returns a run's totals and its own row, from the scored frames and seconds of video of its counts, and its upload dates."""


class WarehouseError(UserError):
    """The tables cannot be read or written, or a run's staged files lack rows."""


class WarehouseFaultError(WarehouseError, MachineFaultError):
    """The database is damaged or locked, or its disk is full or broken: a fault of the machine, not of the command line."""


@dataclasses.dataclass(frozen=True)
class EarlierRuns:
    """Sizes of counted videos and speed of earlier runs, from which the next run is estimated.

    Attributes:
      bytes_per_sec: Mean bytes per second of all counted videos of a size class. Class n has 2**n to 2**(n + 1) - 1 bytes.
      num_videos: Number of counted videos in each of those size classes.
      run_video_sec: Seconds of video counted by all runs with the model.
      run_wall_sec: Wall time in seconds of all runs with the model.
    """

    bytes_per_sec: Mapping[int, float]
    num_videos: Mapping[int, int]
    run_video_sec: float
    run_wall_sec: float


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """Options of the tables that only BigQuery has.

    Attributes:
      location: Region in which to create a missing data set; None makes a missing data set an error.
      partition_expiration_days: Days after upload at which BigQuery deletes a video's rows; 0 for never, None for no change.
      require_partition_filter: Whether queries of `frame_curves` must name upload dates; None for no change.
    """

    location: str | None = None
    partition_expiration_days: int | None = None
    require_partition_filter: bool | None = None


UNCHANGED = TableOptions()
"""Creates no data set and changes no option."""


class Warehouse(abc.ABC):
    """Tables for the rows of runs. An instance holds only where they are, so it can be pickled.

    Attributes:
      scheme: What `--output` starts with, such as "duckdb".
      place: What follows the scheme and a colon, for messages, such as "PATH".
      is_local: Whether only programs on this machine can reach the tables, so that no worker elsewhere can write to them.
    """

    scheme: ClassVar[str]
    place: ClassVar[str]
    is_local: ClassVar[bool]

    @classmethod
    @abc.abstractmethod
    def parse(cls, place: str, temp_location: str | None) -> Warehouse:
        """Returns the warehouse that `--output SCHEME:PLACE` names; raises ValueError for an invalid place.

        Args:
          place: Text after the scheme and its colon, not empty.
          temp_location: Cloud Storage folder for staged files; "" if nothing will be staged, None if the user gave none.
        """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Where the tables are, as printed for people."""

    @property
    @abc.abstractmethod
    def dialect(self) -> Dialect:
        """How the database spells SQL."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raises WarehouseError unless rows can be written; changes nothing. Runs call it before any work."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Returns whether all tables exist, so that they can be queried; raises WarehouseError if that is unknown."""

    @abc.abstractmethod
    def changes(self, options: TableOptions = UNCHANGED) -> list[str]:
        """Returns a line for each thing that `prepare` would create or change.

        Raises:
          WarehouseError: The tables cannot be read, or one has another shape than the schema.
        """

    @abc.abstractmethod
    def prepare(self, options: TableOptions = UNCHANGED) -> None:
        """Creates missing tables, columns and views, and deletes old files of killed runs; drops no table and no column.

        Raises:
          WarehouseError: See `changes`; or the tables or the staging folder cannot be written.
        """

    @abc.abstractmethod
    def staging_folder(self, run_id: str) -> str:
        """Returns the folder for a run's staged files, which holds nothing else."""

    @property
    @abc.abstractmethod
    def attempts_folder(self) -> str:
        """Folder in which all runs note which videos are in flight: see `transforms.attempts`."""

    @abc.abstractmethod
    def select(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> tuple[SelectionTotals, Iterator[VideoRef]]:
        """Returns how many of a run's listed videos to count, and those videos, each once.

        Args:
          provenance: The run, whose model and options decide which videos are new.
          files: The staged listing, with rows of `schema.LISTING`.
          selection: Which of the listed videos to count.

        Raises:
          WarehouseError: The tables cannot be read, or the files lack rows.
        """

    @abc.abstractmethod
    def durations(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> Iterator[tuple[str, int, float]]:
        """Yields URI, version and seconds of those videos that any model has counted, among those to count without the limit.

        Args:
          provenance: The run, as in `select`.
          files: The staged listing, at least one file.
          selection: Which of the listed videos to count.

        Raises:
          WarehouseError: The tables cannot be read, or the files lack rows.
        """

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Merges a run's staged files and its own row into the tables, and returns the run's totals.

        Committing the same run again changes nothing. The run's own row is written last: once it exists, all other rows do.

        Args:
          provenance: The run.
          files: All files that the run staged.
          listed: Number of videos listed.
          skipped: Number of listed videos that the tables already had.
          run_ended: Time of the commit, with its time zone.

        Raises:
          WarehouseError: The rows cannot be committed, or the files lack rows.
        """
        tables = (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
        staged = {table: [file for file in files if file.table == table.name] for table in tables}
        counted, curves, failed = (sum(file.num_rows for file in table_files) for table_files in staged.values())
        if counted != curves:
            raise WarehouseError(
                f"every staged count must have a curve. Received: {counted} counts and {curves} curves of run "
                f"{provenance.run_id}"
            )

        def end_run(scored_frames: int, video_sec: float, dates: Collection[datetime.date]) -> tuple[RunTotals, Row]:
            totals = RunTotals(listed, counted, failed, skipped, scored_frames, video_sec)
            return totals, run_row(totals, provenance, run_ended, dates)

        return self._commit(provenance.run_id, staged, end_run)

    @abc.abstractmethod
    def _commit(self, run_id: str, staged: Mapping[Table, Sequence[StagedFile]], end_run: EndRun) -> RunTotals:
        """Merges a run's staged files by table, and then the run's own row, from `end_run`: see `commit`."""

    @abc.abstractmethod
    def keep_staging(self, run_id: str) -> None:
        """Keeps a run's staged files for `STAGING_KEPT_SEC` from now on, as each write to them does; logs if it cannot."""

    @abc.abstractmethod
    def remove_staging(self, run_id: str) -> None:
        """Deletes a run's staged files, after its commit; logs what cannot be deleted."""

    @abc.abstractmethod
    def delete_videos(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table and returns the number of rows by table.

        Args:
          uris: URIs of videos to delete, in all their versions.
          before: Upload date (UTC) before which all videos are deleted too; None deletes only `uris`.
          dry_run: Whether to count the rows without deleting them.

        Raises:
          WarehouseError: The rows cannot be deleted.
        """

    @abc.abstractmethod
    def query(self, statement: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query; raises WarehouseError if the database refuses it."""

    @abc.abstractmethod
    def _stream(self, statement: str, parameters: Mapping[str, Any]) -> Generator[pa.RecordBatch]:
        """Yields the rows of a query in batches, with the database's own types; at least one batch, which may be empty."""

    def read(self, query: str, parameters: Mapping[str, Any] | None = None) -> Generator[pa.RecordBatch]:
        """Yields the rows of a query in batches, so that memory does not grow with their number.

        There is always a first batch, which tells the columns; it is empty if there is no row. Whole numbers are int64, other
        numbers float64, and times are in UTC. Reading changes nothing: a DuckDB file is opened read-only. It stays open until
        the last batch was taken or the iterator was closed, and until then a run that commits to the file waits.

        Args:
          query: A SELECT that both databases understand, in which braces are filled in. `{dataset}` stands before each name
            of a table or view, and `{name}` in the place of a value. For a list write `column IN {name}`.
          parameters: Values by name: texts, numbers, truth values, dates, times with a zone, and lists of these that are not
            empty. The database gets them apart from the query.

        Raises:
          WarehouseError: The tables cannot be read, or the database refuses the query. It is raised with the first batch.
        """
        parameters = parameters or {}
        with contextlib.closing(self._stream(spell(self.dialect, query, parameters), parameters)) as batches:
            first = next(batches)
            # BigQuery's first page may be empty although others follow.
            filled = (batch for batch in itertools.chain([first], batches) if batch.num_rows)
            yield unify(next(filled, first))
            yield from map(unify, filled)

    def read_rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> Generator[dict[str, Any]]:
        """Yields the rows of a query as values by column name: see `read`."""
        with contextlib.closing(self.read(query, parameters)) as batches:
            for batch in batches:
                yield from batch.to_pylist()

    def run_totals(self, run_id: str) -> RunTotals | None:
        """Returns a run's totals; None if the run has not committed."""
        return self._read_run(run_id)[0]

    def run_results(self, run_id: str, limit: int) -> list[VideoResult]:
        """Returns at most `limit` of the results that a run has in the tables, sorted by URI.

        There may be fewer than the run's totals say. A skipped video has no row of this run, a later run may have replaced a
        row, and the failure of a video that has a count is not stored. Reads only the partitions that the run wrote to.
        """
        _, dates = self._read_run(run_id)
        if not dates:
            return []
        parameters = {"run_id": run_id, "limit": limit, "dates": dates}
        return [
            VideoResult(uri, count, confidence, duration_sec, tuple(flags), code, message)
            for uri, count, confidence, duration_sec, flags, code, message in self.query(
                sql.run_results(self.dialect), parameters
            )
        ]

    def num_run_results(self, run_id: str) -> int:
        """Returns the number of results that `run_results` returns without a limit."""
        _, dates = self._read_run(run_id)
        if not dates:
            return 0
        parameters = {"run_id": run_id, "dates": dates}
        ((num_results,),) = self.query(sql.num_run_results(self.dialect), parameters)
        return int(num_results)

    def earlier_runs(self, model: str) -> EarlierRuns:
        """Returns the sizes of all counted videos, and the speed of earlier runs with a model."""
        classes = list(self.query(sql.bytes_per_sec(self.dialect), {}))
        rates = {int(size_class): rate for size_class, rate, _ in classes}
        num_videos = {int(size_class): int(number) for size_class, _, number in classes}
        ((video_sec, wall_sec),) = self.query(sql.run_times(self.dialect), {"model": model})
        return EarlierRuns(rates, num_videos, video_sec, wall_sec)

    def _read_run(self, run_id: str) -> tuple[RunTotals | None, list[datetime.date]]:
        """Returns a run's totals and the upload dates of its rows; None and no date if it is not in the tables."""
        rows = list(self.query(sql.run_totals(self.dialect), {"run_id": run_id}))
        if not rows:
            return None, []
        ((*totals, first_date, last_date, dates),) = rows
        return RunTotals(*totals), upload_dates(first_date, last_date, dates)


def upload_dates(
    first: datetime.date | None, last: datetime.date | None, noted: Sequence[datetime.date] | None
) -> list[datetime.date]:
    """Returns the upload dates of a run's rows from its columns in `runs`: all days from first to last if none are noted."""
    if noted or first is None or last is None:
        return list(noted or ())
    return [first + datetime.timedelta(day) for day in range((last - first).days + 1)]  # a version that did not note them


def selection_totals(listed: int, to_do: int, limit: int | None) -> SelectionTotals:
    """Returns the totals of a selection that listed so many different videos, of which the tables lack `to_do`."""
    return SelectionTotals(listed=listed, skipped=listed - to_do, left=0 if limit is None else max(0, to_do - limit))


def check_num_rows(table: str, files: Collection[StagedFile], rows: Iterable[tuple[Any, ...]]) -> list[datetime.date]:
    """Returns the upload dates of a table's staged files.

    Args:
      table: Name of the table.
      files: The files.
      rows: Result of `sql.num_rows_by_date` on them.

    Raises:
      WarehouseError: The files hold another number of rows than were written to them.
    """
    found = dict(rows)
    actual, expected = sum(found.values()), sum(file.num_rows for file in files)
    if actual != expected:
        raise WarehouseError(f"the files staged for {table} must hold the {expected} rows written to them. Received: {actual}")
    return list(found)


def outlived_lines(dialect: Dialect, source: str, query: Callable[[str], Iterable[tuple[Any, ...]]]) -> list[str]:
    """Returns lines for the log that name staged failures which no table has, since their videos have counts.

    Args:
      dialect: How the database spells SQL.
      source: SQL for the staged failures.
      query: Returns the rows of a query with the parameters of `sql.outlived_failures`.
    """
    outlived = sql.outlived_failures(dialect, source)
    lines = [
        f"A failure is in no table, since its video keeps a count. {uri!r}: {code} {printable(message)}"
        for uri, _, code, message in query(sql.first_failures(outlived, MAX_NAMED_FAILURES))
    ]
    if len(lines) == MAX_NAMED_FAILURES:
        ((total,),) = query(sql.num_rows(f"({outlived})"))
        if total > len(lines):
            lines.append(f"Failures of videos that keep a count: and {total - len(lines):,} more")
    return lines
