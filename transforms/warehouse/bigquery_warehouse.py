"""Tables in a BigQuery data set: load jobs bring in a run's Parquet files, and one MERGE per table commits them.

Each statement is a job of its own, not part of one transaction. Their order lets a run die between any two: curves come before
counts, so every count has its curve; a failure is deleted before the count that replaces it is merged, so at worst the video is
counted once more; the run's own row comes last.

BigQuery enforces no keys, and two MERGEs that only insert do not conflict. So each of two runs may insert a row for the same
video. After its MERGE, each run deletes all such rows but the latest. The run whose MERGE ends last sees them all.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import logging
import re
import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import tenacity

from model.storage import FOLDER_URI, FOLDER_URI_RULE, PROJECT_ID, PROJECT_ID_RULE
from transforms.coders import VideoRefCoder
from transforms.records import Selection, SelectionTotals, VideoRef
from transforms.run_files import ATTEMPTS_FOLDER
from transforms.warehouse import sql
from transforms.warehouse.base import (
    UNCHANGED,
    EndRun,
    TableOptions,
    Warehouse,
    WarehouseError,
    check_num_rows,
    outlived_lines,
    selection_totals,
)
from transforms.warehouse.bigquery_jobs import Jobs, one_line_errors
from transforms.warehouse.bigquery_staging import StagingBucket
from transforms.warehouse.bigquery_tables import DAY_MSEC, create_dataset, find_changes
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance, Row, RunTotals, to_record_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, LISTING, RUNS, SELECTED, TABLES, VIDEO_COUNTS, Mode, Table
from transforms.warehouse.sql import Dialect
from transforms.warehouse.views import VIEWS

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery

_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")

MAX_PARTITIONS = 4000
"""Maximum number of partitions that one job may change, by BigQuery's quotas."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BigQueryWarehouse(Warehouse):
    """Tables in a BigQuery data set.

    Attributes:
      project: Id of the data set's project, which runs the jobs and pays for them.
      dataset: Name of the data set.
      temp_location: Cloud Storage folder for staged files, without a slash at its end; "" if nothing will be staged.
    """

    project: str
    dataset: str
    temp_location: str

    scheme: ClassVar[str] = "bigquery"
    place: ClassVar[str] = "PROJECT.DATASET"
    is_local: ClassVar[bool] = False

    @classmethod
    def parse(cls, place: str, temp_location: str | None) -> BigQueryWarehouse:
        """Returns the warehouse in PROJECT.DATASET; raises ValueError if either has invalid characters, or lacks a folder."""
        project, _, dataset = place.rpartition(".")
        if not PROJECT_ID.fullmatch(project) or not _DATASET.fullmatch(dataset):
            raise ValueError(
                f"output must be bigquery:PROJECT.DATASET, with a project ID of {PROJECT_ID_RULE}, and a data set of letters, "
                f"digits and '_'. Received: {place!r}"
            )
        if temp_location is None or (temp_location and not FOLDER_URI.fullmatch(temp_location)):
            raise ValueError(
                "BigQuery loads rows from Cloud Storage: --temp_location must be a folder of a bucket in its region, "
                f"{FOLDER_URI_RULE}. Received: {temp_location!r}"
            )
        return cls(project, dataset, temp_location.rstrip("/"))

    @property
    def name(self) -> str:
        """Project and data set, as PROJECT.DATASET."""
        return f"{self.project}.{self.dataset}"

    @property
    def dialect(self) -> Dialect:
        """How BigQuery spells SQL, with this data set before table names."""
        return Dialect(
            quote="`",
            parameter_sign="@",
            dataset=f"`{self.name}`.",
            list_items="UNNEST({})",
            no_texts="ARRAY<STRING>[]",
            epoch_sec="UNIX_MILLIS({}) / 1000",
        )

    def check(self) -> None:
        """Raises WarehouseError unless rows can be written: see `Warehouse.check`.

        Data set, bucket and permissions must exist, and the bucket must be where BigQuery can load from.
        """
        with one_line_errors(f"BigQuery refuses {self.name}"):
            jobs = self._jobs()
            changes = find_changes(jobs.client, self.name, UNCHANGED)
            jobs.dry_run("SELECT 1")
            if not changes:
                jobs.dry_run(sql.delete_nothing(jobs.dialect, FAILURES))
        if self.temp_location:
            self._staging.check(jobs.location)

    def is_ready(self) -> bool:
        """Returns whether all tables exist."""
        with one_line_errors(f"BigQuery refuses {self.name}"):
            found = {table.table_id for table in self._client().list_tables(self.name)}
        return {table.name for table in TABLES} <= found

    def changes(self, options: TableOptions = UNCHANGED) -> list[str]:
        """Returns a line for each thing that `prepare` would create or change: see `Warehouse.changes`."""
        with one_line_errors(f"BigQuery refuses {self.name}"):
            client = self._client()
            location, is_missing = self._find_location(client, options)
            if is_missing:
                lines = [f"create data set {self.dataset} in {location}"]
                lines += [f"create table {table.name}" for table in TABLES]
                return lines + [f"create view {view.name}" for view in VIEWS]
            return [change.line for change in find_changes(client, self.name, options) if change.line]

    def prepare(self, options: TableOptions = UNCHANGED) -> None:
        """Creates the tables and views, or upgrades them, and deletes old staged files: see `Warehouse.prepare`."""
        from google.api_core.exceptions import PreconditionFailed

        with one_line_errors(f"BigQuery refuses {self.name}"):
            client = self._client()
            location, is_missing = self._find_location(client, options)
            if is_missing:
                create_dataset(client, self.name, location)
            elif options.location and options.location.casefold() != location.casefold():
                _LOGGER.warning("The data set %s is in %s and stays there, not in %s.", self.name, location, options.location)
            for attempt in tenacity.Retrying(  # another run may have changed a table in the meantime
                retry=tenacity.retry_if_exception_type(PreconditionFailed), stop=tenacity.stop_after_attempt(3), reraise=True
            ):
                with attempt:
                    for change in find_changes(client, self.name, options):
                        change.apply()
                        if change.line:
                            _LOGGER.info("%s: %s", self.name, change.line)
            _warn_of_expiration(client, self.name)
        if self.temp_location:
            self._staging.prepare()

    def staging_folder(self, run_id: str) -> str:
        """Returns a folder below `temp_location`."""
        return self._staging.folder(run_id)

    @property
    def attempts_folder(self) -> str:
        """Folder below `temp_location`, apart from staged files, which are deleted sooner."""
        return f"{self.temp_location}/{ATTEMPTS_FOLDER}/{self.name}"

    def select(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> tuple[SelectionTotals, Iterator[VideoRef]]:
        """Returns how many listed videos to count, and those videos, by an anti-join in BigQuery: see `Warehouse.select`."""
        if not files:
            return SelectionTotals(0, 0, 0), iter(())
        with one_line_errors(f"new videos cannot be selected from {self.name}"):
            jobs = self._jobs(provenance.run_id)
            source, dates = _load_listing(jobs, files, selection)
            parameters = sql.selection_parameters(provenance, selection, dates)
            ((listed,),) = jobs.query(sql.num_listed(jobs.dialect, source))
            selected = f"`{jobs.create_staging(SELECTED)}`"
            to_do = sql.to_do(jobs.dialect, source, selection)
            jobs.execute("select", sql.insert_rows(jobs.dialect, SELECTED, selected, to_do), parameters)
            ((num_selected,),) = jobs.query(sql.num_rows(selected))
            rows = jobs.query(sql.select_videos(selected, selection.limit))
        return selection_totals(listed, num_selected, selection.limit), self._decode(rows)

    def durations(
        self, provenance: Provenance, files: Collection[StagedFile], selection: Selection
    ) -> Iterator[tuple[str, int, float]]:
        """Yields what is known of videos to count, by a join in BigQuery: see `Warehouse.durations`."""
        with one_line_errors(f"durations cannot be read from {self.name}"):
            jobs = self._jobs(provenance.run_id)
            source, dates = _load_listing(jobs, files, selection)
            parameters = sql.selection_parameters(provenance, selection, dates) | {"dates": dates}
            yield from jobs.query(sql.durations(jobs.dialect, source, selection), parameters)

    def _commit(self, run_id: str, staged: Mapping[Table, Sequence[StagedFile]], end_run: EndRun) -> RunTotals:
        """Loads a run's files into tables of its own and merges those: see `Warehouse._commit`.

        If it fails, some of the run's rows may be in the tables, each valid, but the run has no row in `runs`.
        """
        with one_line_errors(f"run {run_id} cannot be committed to {self.name}"):
            jobs = self._jobs(run_id)
            loaded = {table: _load(jobs, table, files) for table, files in staged.items()}
            counts, curves, failures = loaded[VIDEO_COUNTS], loaded[FRAME_CURVES], loaded[FAILURES]
            scored_frames, video_sec = 0, 0.0
            if counts.dates:
                ((scored_frames, video_sec),) = jobs.query(sql.frames_and_seconds(counts.source))
                _merge_counts(jobs, counts, curves)
            if failures.dates:
                _merge_failures(jobs, failures)
                query = functools.partial(jobs.query, parameters={"dates": list(failures.dates)})
                for line in outlived_lines(jobs.dialect, failures.source, query):
                    _LOGGER.warning("%s", line)
            totals, row = end_run(scored_frames, video_sec, {*counts.dates, *failures.dates})
            _merge_run(jobs, row)
        return totals

    def keep_staging(self, run_id: str) -> None:
        """Writes an empty file beside a run's staged files; logs if it cannot."""
        try:
            with one_line_errors("its staged rows could not be kept"):
                self._staging.keep(run_id)
        except WarehouseError as error:
            _LOGGER.warning("Run %s goes on, but %s", run_id, error)

    def remove_staging(self, run_id: str) -> None:
        """Deletes a run's own tables and files; logs what cannot be deleted, which the next runs delete after a week."""
        try:
            with one_line_errors("its staged rows could not be deleted"):
                jobs = self._jobs(run_id)
                for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES, LISTING, SELECTED):
                    jobs.client.delete_table(jobs.staging_table(table), not_found_ok=True)
                self._staging.remove(run_id)
        except WarehouseError as error:
            _LOGGER.warning("Run %s has ended, but %s", run_id, error)

    def delete_videos(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table: see `Warehouse.delete_videos`."""
        parameters = sql.deletion_parameters(uris, before)
        with one_line_errors(f"rows of {self.name} cannot be deleted"):
            jobs = self._jobs(f"delete-{uuid.uuid4().hex}")
            numbers = {}
            for table in sql.PER_VIDEO_TABLES:
                query = sql.num_videos_to_delete(jobs.dialect, table, parameters)
                by_date = dict(jobs.query(query, parameters))
                numbers[table.name] = sum(by_date.values())
                if not dry_run:
                    statement = sql.delete_videos(jobs.dialect, table, parameters, pruned=True)
                    for part, dates in _parts(list(by_date)):
                        jobs.execute(f"delete_{table.name}{part}", statement, parameters | dates)
            return numbers

    def query(self, statement: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query, page by page."""
        with one_line_errors(f"BigQuery refuses {self.name}"):
            yield from self._jobs().query(statement, parameters)

    def _stream(self, statement: str, parameters: Mapping[str, Any]) -> Generator[pa.RecordBatch]:
        """Yields the rows of a query, page by page: see `Warehouse._stream`."""
        with one_line_errors(f"BigQuery refuses {self.name}"):
            yield from self._jobs().stream(statement, parameters)

    def _decode(self, rows: Iterable[tuple[str]]) -> Iterator[VideoRef]:
        """Yields the videos of a selection's rows, which come page by page."""
        coder = VideoRefCoder()
        with one_line_errors(f"new videos cannot be selected from {self.name}"):
            for (video,) in rows:
                yield coder.decode(video.encode("ascii"))

    @property
    def _staging(self) -> StagingBucket:
        return StagingBucket(self.project, self.name, self.temp_location)

    def _client(self) -> bigquery.Client:
        from google.cloud import bigquery

        return bigquery.Client(project=self.project)

    def _jobs(self, run_id: str = "") -> Jobs:
        client = self._client()
        location, _ = self._find_location(client, UNCHANGED)
        return Jobs(client, self.project, self.dataset, location, self.dialect, run_id)

    def _find_location(self, client: bigquery.Client, options: TableOptions) -> tuple[str, bool]:
        """Returns the data set's region, or that in which to create it, and whether it is missing.

        Raises:
          WarehouseError: The data set is missing, and the options do not say where to create it.
        """
        from google.api_core.exceptions import NotFound

        try:
            return client.get_dataset(self.name).location or "US", False
        except NotFound as error:
            if options.location:
                return options.location, True
            raise WarehouseError(
                "the data set must exist; `repcount tables --output bigquery:PROJECT.DATASET --location EU` creates one. "
                f"Received: {self.name}"
            ) from error


def _warn_of_expiration(client: bigquery.Client, dataset_id: str) -> None:
    """Logs if tables or rows will vanish because of what the data set gives to new tables: their videos are counted again."""
    default_ms = client.get_dataset(dataset_id).default_partition_expiration_ms
    names = {table.name for table in TABLES}
    again = "Videos whose rows are gone are counted again; see docs/bigquery.md."
    for table in client.list_tables(dataset_id):
        partitioning = table.time_partitioning
        if table.table_id not in names:
            continue
        if table.expires:
            _LOGGER.warning("The table %s is deleted on %s. %s", table.table_id, f"{table.expires:%Y-%m-%d}", again)
        elif default_ms and partitioning and partitioning.expiration_ms == default_ms:
            days = round(default_ms / DAY_MSEC, 2)
            _LOGGER.warning("Rows of the table %s are deleted %g days after upload. %s", table.table_id, days, again)


@dataclasses.dataclass(frozen=True)
class _Staged:
    """Rows of one table in a table of the run's own.

    Attributes:
      source: Name of the run's own table in SQL; "" if there are no rows.
      dates: Upload dates of the rows, in order.
    """

    source: str
    dates: tuple[datetime.date, ...]


def _load_listing(jobs: Jobs, files: Collection[StagedFile], selection: Selection) -> tuple[str, list[datetime.date]]:
    """Loads a staged listing, unless the run has loaded it; returns SQL for the rows of the slice, and all upload dates."""
    source = jobs.load(LISTING, list(files))
    dates = check_num_rows(LISTING.name, files, jobs.query(sql.num_rows_by_date(source)))
    return sql.in_slice(source, selection.part), dates


def _load(jobs: Jobs, table: Table, files: Sequence[StagedFile]) -> _Staged:
    """Loads files, and raises WarehouseError unless all their rows arrived."""
    if not files:
        return _Staged("", ())
    source = jobs.load(table, files)
    dates = check_num_rows(table.name, files, jobs.query(sql.num_rows_by_date(source)))
    return _Staged(source, tuple(dates))


def _merge_counts(jobs: Jobs, counts: _Staged, curves: _Staged) -> None:
    """Merges counts and their curves, and deletes the failures of the same videos."""
    delete_failures = sql.delete_counted_failures(jobs.dialect, counts.source, pruned=True)
    for part, dates in _parts(counts.dates):
        _merge(jobs, FRAME_CURVES, curves.source, functools.partial(sql.merge, table=FRAME_CURVES, pruned=True), part, dates)
        # Before and after the counts, since a run in which the same videos failed may commit at the same time.
        jobs.execute(f"delete_failures{part}", delete_failures, dates)
        _merge(jobs, VIDEO_COUNTS, counts.source, functools.partial(sql.merge, table=VIDEO_COUNTS, pruned=True), part, dates)
        jobs.execute(f"delete_failures_again{part}", delete_failures, dates)


def _merge_failures(jobs: Jobs, failures: _Staged) -> None:
    """Merges the failures of videos without a count, and deletes those that another run has counted meanwhile."""
    delete_failures = sql.delete_counted_failures(jobs.dialect, jobs.dialect.table(VIDEO_COUNTS), pruned=True)
    for part, dates in _parts(failures.dates):
        _merge(jobs, FAILURES, failures.source, sql.merge_uncounted_failures, part, dates)
        jobs.execute(f"delete_counted_failures{part}", delete_failures, dates)


def _parts(dates: Sequence[datetime.date]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields upload dates as parameters of statements, as many as one job may change, with a suffix for the job's step."""
    for first in range(0, len(dates), MAX_PARTITIONS):
        yield f"_from_{first}" if first else "", {"dates": list(dates[first : first + MAX_PARTITIONS])}


def _merge(jobs: Jobs, table: Table, source: str, merge: Callable[..., str], part: str, dates: Mapping[str, Any]) -> None:
    """Merges staged rows, then deletes all rows but the latest of each key that another run inserted at the same time.

    Args:
      jobs: Runs jobs for the run.
      table: The table to merge into.
      source: SQL for the staged rows.
      merge: Returns the MERGE for a dialect, a source and `insert_only`.
      part: Suffix of the jobs' step.
      dates: Parameters that name the upload dates of the staged rows to merge.
    """
    # BigQuery charges a MERGE that may update for whole partitions, so it is used only if there is a row to update.
    ((has_earlier,),) = jobs.query(sql.has_earlier(jobs.dialect, table, source), dates)
    statement = merge(jobs.dialect, source=source, insert_only=not has_earlier)
    jobs.execute(f"merge_{table.name}{part}", statement, dates)
    doubled = [date for (date,) in jobs.query(sql.doubled_dates(jobs.dialect, table), dates)]
    if doubled:
        jobs.execute(f"delete_doubled_{table.name}{part}", sql.delete_doubled(jobs.dialect, table), {"dates": doubled})


def _merge_run(jobs: Jobs, row: Row) -> None:
    from google.cloud import bigquery

    to_record_batch(row, RUNS)  # raises RowError if the schema does not allow the row
    parameters = [
        (bigquery.ArrayQueryParameter if column.mode is Mode.REPEATED else bigquery.ScalarQueryParameter)(
            column.name, column.type.value, row[column.name]
        )
        for column in RUNS.columns
    ]
    values = ", ".join(f"@{column.name} AS {jobs.dialect.name(column.name)}" for column in RUNS.columns)
    jobs.execute("merge_runs", sql.merge(jobs.dialect, RUNS, f"(SELECT {values})", insert_only=True), parameters)
