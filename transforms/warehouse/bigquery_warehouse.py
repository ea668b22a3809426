"""Tables in a BigQuery data set: load jobs bring a run's Parquet files in, one MERGE per table commits them.

Why load jobs of our own, and not Beam's `WriteToBigQuery`: they take the very Parquet files that DuckDB takes, so that types,
nested rows, NULL and empty lists are the same in both; their ids are ours, so that a step that is tried again finds the job
that it started before instead of starting another; and the rows are counted before they are merged, so that a loss is noticed.

MERGEs are statements of their own and not one transaction, so their order is such that a run may die between any two: curves
before counts, so that no count lacks its curve; a failure goes before the count comes that replaces it, so that at worst the
video is counted once more; the run's own row last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import itertools
import logging
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tenacity

from model.storage import SCHEME, split_uri
from transforms.records import VideoRefCoder
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
)
from transforms.warehouse.sql import Dialect

if TYPE_CHECKING:
    from google.cloud import bigquery, storage

_FILES_PER_LOAD = 10_000
"""Addresses that one load job takes, by BigQuery's quotas."""

_RETRY_SEC = 1800.0
"""How long a job is started anew after errors that pass."""

_PASSING_REASONS = frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "rateLimitExceeded"}
)
"""Reasons with which BigQuery ends a job that may well succeed the next time."""

_CONCURRENT_UPDATE = "Could not serialize access"
"""What BigQuery says of a statement that another one on the same table has overtaken; its reason is that of any wrong query."""

_TYPE_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "RECORD": "STRUCT", "BOOLEAN": "BOOL"}
"""Older names of types, which the service still answers with."""

_EU_OUTSIDE = ("EUROPE-WEST2", "EUROPE-WEST6")
"""Regions of Europe that are no part of BigQuery's multi-region EU."""

_DAY_MSEC = 24 * 3600 * 1000

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BigQueryWarehouse(RunHistory):
    """Tables in a BigQuery data set.

    Attributes:
      project: id of the project of the data set, in which jobs run and are paid.
      dataset: the data set.
      temp_location: folder on Cloud Storage, without a slash at its end, in which runs stage their files; "" where none will.
    """

    project: str
    dataset: str
    temp_location: str

    @property
    def address(self) -> str:
        """Project and data set."""
        return f"{self.project}.{self.dataset}"

    def check(self) -> None:
        """Makes sure that rows can be taken: that the data set, the folder and the rights are there, and near each other.

        Raises:
          WarehouseError: something is missing, far apart, forbidden, or has another shape.
        """
        with _plain_errors(f"BigQuery refuses {self.address}"):
            session = self._session()
            changes = _find_changes(session, AS_IT_IS)
            session.rehearse("SELECT 1")
            if not changes:
                session.rehearse(f"DELETE FROM {session.dialect.table(FAILURES)} WHERE FALSE")
        if self.temp_location:
            self._check_bucket(session.location)

    def is_ready(self) -> bool:
        """Tells whether all tables are there."""
        return not self.changes()

    def changes(self, options: TableOptions = AS_IT_IS) -> list[str]:
        """Returns what `prepare` would create or add, a line each.

        Raises:
          WarehouseError: the data set is missing and may not be made, or a table has another shape.
        """
        with _plain_errors(f"BigQuery refuses {self.address}"):
            client = self._client()
            location, is_missing = self._find_location(client, options)
            if is_missing:
                made = [f"create data set {self.dataset} in {location}"]
                return (
                    made + [f"create table {table.name}" for table in TABLES] + [f"create view {view.name}" for view in VIEWS]
                )
            return [change.line for change in _find_changes(self._session(), options) if change.line]

    def prepare(self, options: TableOptions = AS_IT_IS) -> None:
        """Creates the tables and views, or adds what they lack, and removes files that runs killed long ago left.

        Raises:
          WarehouseError: see `changes`; or the folder for staged files cannot be written.
        """
        with _plain_errors(f"BigQuery refuses {self.address}"):
            client = self._client()
            location, is_missing = self._find_location(client, options)
            if is_missing:
                _make_dataset(client, f"{self.project}.{self.dataset}", location)
            for change in _find_changes(self._session(), options):
                change.apply()
        if self.temp_location:
            with _plain_errors(f"files cannot be staged in {self.temp_location}"):
                self._try_out_folder()
                self._remove_old_files()

    def staging_folder(self, run_id: str) -> str:
        """Returns a folder below `temp_location`."""
        return f"{self._staging_root}/{run_id}"

    def select(self, provenance: Provenance, files: Collection[StagedFile], selection: Selection) -> Selected:
        """Finds out which of the listed videos to count, by an anti-join within BigQuery; see `Warehouse.select`."""
        if not files:
            return Selected(0, 0, 0, iter(()))
        with _plain_errors(f"what is new cannot be told from {self.address}"):
            session = self._session(provenance.run_id)
            source = _load(session, LISTING, list(files))
            ((actual, first_date, last_date),) = session.read(statements.count_and_dates(source))
            check_number(LISTING.name, files, actual)
            parameters = statements.selection_parameters(provenance, selection, UploadDates(first_date, last_date))
            sql = statements.number_selected(session.dialect, source, selection)
            ((listed, to_do),) = session.read(sql, parameters)
            taken = to_do if selection.limit is None else min(to_do, selection.limit)
            rows = session.read(statements.select_videos(session.dialect, source, selection), parameters)
        coder = VideoRefCoder()
        videos = (coder.decode(video.encode("ascii")) for (video,) in rows)
        return Selected(listed, listed - to_do, to_do - taken, videos)

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Loads a run's files into tables of their own and merges these; see `Warehouse.commit`.

        A run that cannot be committed may have left some of its rows, complete in themselves, but no row in `runs`.
        """
        with _plain_errors(f"run {provenance.run_id} cannot be committed to {self.address}"):
            session = self._session(provenance.run_id)
            staged = {
                table: _stage(session, table, [file for file in files if file.table == table.name])
                for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
            }
            counts, curves, failures = staged[VIDEO_COUNTS], staged[FRAME_CURVES], staged[FAILURES]
            check_curves(counts.num_rows, curves.num_rows, provenance.run_id)
            scored_frames, video_sec = 0, 0.0
            if counts.dates:
                ((scored_frames, video_sec),) = session.read(statements.measure(counts.source))
                _merge_counts(session, counts, curves)
            if failures.dates:
                _merge_failures(session, failures)
            totals = RunTotals(
                listed=listed,
                counted=counts.num_rows,
                failed=failures.num_rows,
                skipped=skipped,
                scored_frames=scored_frames,
                video_sec=video_sec,
            )
            dates = UploadDates.around([counts.dates, failures.dates])
            _merge_run(session, run_row(totals, provenance, run_ended, dates))
        return totals

    def remove_staging(self, run_id: str) -> None:
        """Removes a run's tables and files; logs what could not be removed, which is gone within a week by itself."""
        try:
            with _plain_errors("what was staged could not be removed"):
                session = self._session(run_id)
                for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES, LISTING):
                    session.client.delete_table(session.staging_table(table), not_found_ok=True)
                self._remove_files(f"{self.staging_folder(run_id)}/", lambda blob: True)
        except WarehouseError as error:
            _LOGGER.warning("Run %s is over, but %s", run_id, error)

    @property
    def dialect(self) -> Dialect:
        """BigQuery's, for this data set."""
        return statements.bigquery(self.project, self.dataset)

    def query(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query, page by page."""
        with _plain_errors(f"BigQuery refuses {self.address}"):
            yield from self._session().read(sql, parameters)

    def forget(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table; see `Warehouse.forget`."""
        parameters: dict[str, Any] = {"uris": list(uris)} if uris else {}
        if before is not None:
            parameters["before"] = before
        with _plain_errors(f"rows of {self.address} cannot be deleted"):
            session = self._session()
            condition = statements.forgotten(session.dialect, by_uri=bool(uris), by_date=before is not None)
            numbers = {}
            for table in statements.PER_VIDEO_TABLES:
                name = session.dialect.table(table)
                ((numbers[table.name],),) = session.read(f"SELECT COUNT(*) FROM {name} WHERE {condition}", parameters)
                if numbers[table.name] and not dry_run:
                    session.read(f"DELETE FROM {name} WHERE {condition}", parameters)
            return numbers

    @property
    def _staging_root(self) -> str:
        return f"{self.temp_location}/repcount-staging/{self.address}"

    def _client(self) -> bigquery.Client:
        from google.cloud import bigquery

        return bigquery.Client(project=self.project)

    def _session(self, run_id: str = "") -> _Session:
        client = self._client()
        location, _ = self._find_location(client, AS_IT_IS)
        return _Session(client, self.project, self.dataset, location, run_id, self.dialect)

    def _find_location(self, client: bigquery.Client, options: TableOptions) -> tuple[str, bool]:
        """Returns where the data set is, or is to be, and whether it is missing.

        Raises:
          WarehouseError: it is missing, and the options do not say where to make it.
        """
        from google.api_core.exceptions import NotFound

        try:
            return client.get_dataset(f"{self.project}.{self.dataset}").location or "US", False
        except NotFound as error:
            if options.location:
                return options.location, True
            raise WarehouseError(
                "the data set must exist; `repcount tables --output bigquery:PROJECT.DATASET --location EU` makes one. "
                f"Received: {self.address}"
            ) from error

    def _check_bucket(self, location: str) -> None:
        """Raises WarehouseError if the folder's bucket is missing, or BigQuery does not load from where it is."""
        from google.api_core.exceptions import Forbidden, NotFound

        bucket_name, _ = split_uri(self.temp_location)
        with _plain_errors(f"Cloud Storage refuses {self.temp_location}"):
            try:
                found = self._storage().get_bucket(bucket_name).location
            except NotFound as error:
                raise WarehouseError(f"the bucket of --temp_location must exist. Received: {SCHEME}{bucket_name}") from error
            except Forbidden:
                _LOGGER.warning("Whether %s is near %s is not known: that takes storage.buckets.get", bucket_name, self.address)
                return
        if not loads_from(location, found):
            raise WarehouseError(
                f"the bucket of --temp_location must be where the data set is, in {location}. "
                f"Received: {SCHEME}{bucket_name} in {found}"
            )

    def _try_out_folder(self) -> None:
        bucket_name, name = split_uri(f"{self._staging_root}/probe-{uuid.uuid4().hex}")
        probe = self._storage().bucket(bucket_name).blob(name)
        probe.upload_from_string(b"")
        probe.delete()

    def _remove_old_files(self) -> None:
        oldest = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=STAGING_KEPT_SEC)
        removed = self._remove_files(f"{self._staging_root}/", lambda blob: blob.updated < oldest)
        if removed:
            _LOGGER.info("Removed %d files that runs that did not end left in %s.", removed, self._staging_root)

    def _remove_files(self, prefix: str, is_wanted: Callable[[storage.Blob], bool]) -> int:
        from google.api_core.exceptions import NotFound

        bucket_name, name = split_uri(prefix)
        removed = 0
        for blob in self._storage().bucket(bucket_name).list_blobs(prefix=name):
            if is_wanted(blob):
                with contextlib.suppress(NotFound):  # another run removes it, too
                    blob.delete()
                    removed += 1
        return removed

    def _storage(self) -> storage.Client:
        from google.cloud import storage

        return storage.Client(project=self.project)


def loads_from(dataset_location: str, bucket_location: str | None) -> bool:
    """Returns whether BigQuery loads into a data set from a bucket.

    It does within one location, into the multi-region US from anywhere, and into EU from its member states' regions
    (cloud.google.com/bigquery/docs/batch-loading-data).
    """
    dataset, bucket = dataset_location.upper(), (bucket_location or dataset_location).upper()
    if dataset in ("US", bucket):
        return True
    return dataset == "EU" and bucket.startswith(("EU", "EUROPE-")) and bucket not in _EU_OUTSIDE


@dataclasses.dataclass(frozen=True)
class _Session:
    """A client at work for a run, or for nobody in particular.

    Attributes:
      client: the official one.
      project: of the data set.
      dataset: the data set.
      location: where jobs run.
      run_id: the run's; "" if there is none.
      dialect: how statements on the data set are spelled.
    """

    client: bigquery.Client
    project: str
    dataset: str
    location: str
    run_id: str
    dialect: Dialect

    def staging_table(self, table: Table) -> str:
        """Returns the id of the run's own table for rows of `table`."""
        return f"{self.project}.{self.dataset}.staging_{_word(self.run_id)}_{table.name}"

    def rehearse(self, sql: str) -> None:
        """Lets BigQuery check a statement and the right to run it, without running it."""
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        self.client.query(sql, job_config=config, location=self.location)

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Returns the rows of a query, page by page. The client starts it again after errors that pass."""
        config = self._query_config(_to_parameters(parameters or {}))
        return (row.values() for row in self.client.query_and_wait(sql, job_config=config, location=self.location))

    def change(self, step: str, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter]) -> None:
        """Runs a statement that changes tables, once in effect; see `run_job`."""
        config = self._query_config(parameters)
        self.run_job(step, lambda job_id: self.client.query(sql, config, job_id=job_id, location=self.location, job_retry=None))

    def run_job(self, step: str, start: Callable[[str], Any]) -> None:
        """Runs a job whose id is made of the run and the step, so that it runs once however often the step is tried.

        A job that ended with an error that passes is followed by another one, after a wait that grows.

        Args:
          step: what the job does, as a word.
          start: starts it with the id that it is given.
        """
        from google.api_core.exceptions import Conflict

        numbers = itertools.count()

        def attempt() -> None:
            job_id = f"repcount_{self.dataset}_{_word(self.run_id)}_{step}_{next(numbers)}"
            try:
                job = start(job_id)
            except Conflict:  # an earlier attempt has started it, whose answer was lost
                job = self.client.get_job(job_id, location=self.location)
            job.result()

        tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            wait=tenacity.wait_random_exponential(multiplier=1, max=60),
            stop=tenacity.stop_after_delay(_RETRY_SEC),
            before_sleep=tenacity.before_sleep_log(_LOGGER, logging.INFO),
            reraise=True,
        )(attempt)

    def _query_config(self, parameters: Sequence[Any]) -> bigquery.QueryJobConfig:
        from google.cloud import bigquery

        labels = {"application": "repcount"}
        if self.run_id:
            labels["run"] = _word(self.run_id).lower()[:63]
        return bigquery.QueryJobConfig(query_parameters=list(parameters), labels=labels)


@dataclasses.dataclass(frozen=True)
class _Staged:
    """Rows of one table in a table of the run's own; `source` names it in SQL, and `dates` is None if there are no rows."""

    source: str
    num_rows: int
    dates: UploadDates | None


def _stage(session: _Session, table: Table, files: Sequence[StagedFile]) -> _Staged:
    """Loads files and makes sure that all rows have arrived."""
    if not files:
        return _Staged("", 0, None)
    source = _load(session, table, files)
    ((num_rows, first_date, last_date),) = session.read(statements.count_and_dates(source))
    check_number(table.name, files, num_rows)
    return _Staged(source, num_rows, UploadDates(first_date, last_date) if num_rows else None)


def _load(session: _Session, table: Table, files: Sequence[StagedFile]) -> str:
    """Loads files into a table of the run's own, which expires by itself; returns its name in SQL."""
    from google.cloud import bigquery

    table_id = session.staging_table(table)
    schema = [_to_field(column) for column in table.columns]
    staging = bigquery.Table(table_id, schema)
    staging.expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=STAGING_KEPT_SEC)
    session.client.create_table(staging, exists_ok=True)
    lists = bigquery.format_options.ParquetOptions()
    lists.enable_list_inference = True
    for first in range(0, len(files), _FILES_PER_LOAD):
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema,
            parquet_options=lists,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND if first else bigquery.WriteDisposition.WRITE_TRUNCATE,
        )
        paths = [file.path for file in files[first : first + _FILES_PER_LOAD]]

        def start(job_id: str, paths: list[str] = paths, config: bigquery.LoadJobConfig = config) -> bigquery.LoadJob:
            return session.client.load_table_from_uri(
                paths, table_id, job_id=job_id, location=session.location, job_config=config
            )

        session.run_job(f"load_{table.name}_{first}", start)
    return f"`{table_id}`"


def _merge_counts(session: _Session, counts: _Staged, curves: _Staged) -> None:
    """Merges counts and their curves, and removes the failures that they settle."""
    dates = _to_parameters(_date_parameters(counts.dates))
    dialect = session.dialect
    session.change("merge_frame_curves", statements.merge(dialect, FRAME_CURVES, curves.source, pruned=True), dates)
    # Before and after: a run that fails the same videos may commit at the same time.
    session.change("settle_failures", _remove_failures(dialect, counts.source), dates)
    session.change("merge_video_counts", statements.merge(dialect, VIDEO_COUNTS, counts.source, pruned=True), dates)
    session.change("settle_failures_again", _remove_failures(dialect, counts.source), dates)


def _merge_failures(session: _Session, failures: _Staged) -> None:
    """Merges the failures of videos without a count, and removes those that have got one meanwhile."""
    dates = _to_parameters(_date_parameters(failures.dates))
    dialect = session.dialect
    uncounted = f"NOT {statements.is_counted(dialect, 'source', pruned=True)}"
    sql = statements.merge(dialect, FAILURES, failures.source, condition=uncounted, pruned=True)
    session.change("merge_failures", sql, dates)
    session.change("remove_failures", _remove_failures(dialect, dialect.table(VIDEO_COUNTS)), dates)


def _remove_failures(dialect: Dialect, counts: str) -> str:
    """Returns the statement that removes the failures whose videos are among counted ones."""
    return (
        f"DELETE FROM {dialect.table(FAILURES)} AS failed WHERE {statements.between_dates(dialect, 'failed')} AND EXISTS "
        f"(SELECT 1 FROM {counts} AS counted WHERE {statements.between_dates(dialect, 'counted')} "
        f"AND {dialect.same_key('counted', 'failed')})"
    )


def _merge_run(session: _Session, row: dict[str, Any]) -> None:
    from google.cloud import bigquery

    to_record_batch(row, RUNS)  # raises RowError for a row that the schema does not allow
    parameters = [bigquery.ScalarQueryParameter(column.name, column.type.value, row[column.name]) for column in RUNS.columns]
    values = ", ".join(f"@{column.name} AS {session.dialect.name(column.name)}" for column in RUNS.columns)
    session.change("merge_runs", statements.merge(session.dialect, RUNS, f"(SELECT {values})"), parameters)


def _date_parameters(dates: UploadDates | None) -> dict[str, Any]:
    return {"first_date": dates.first, "last_date": dates.last} if dates else {}


def _to_parameters(values: Mapping[str, Any]) -> list[Any]:
    """Returns query parameters for texts, whole numbers, dates and lists of texts."""
    from google.cloud import bigquery

    types = {str: "STRING", int: "INT64", datetime.date: "DATE"}
    return [
        bigquery.ArrayQueryParameter(name, "STRING", value)
        if isinstance(value, list)
        else bigquery.ScalarQueryParameter(name, types[type(value)], value)
        for name, value in values.items()
    ]


@dataclasses.dataclass(frozen=True)
class _Change:
    """Something that brings the data set up to the schema; `line` tells people of it."""

    line: str
    apply: Callable[[], object]


def _make_dataset(client: bigquery.Client, dataset_id: str, location: str) -> None:
    from google.cloud import bigquery

    dataset = bigquery.Dataset(dataset_id)
    dataset.location = location
    client.create_dataset(dataset, exists_ok=True)


def _find_changes(session: _Session, options: TableOptions) -> list[_Change]:
    """Returns what adds what the tables lack, and brings the views up to date.

    Raises:
      WarehouseError: a table lacks a REQUIRED column, has one of another type, or is partitioned otherwise.
    """
    from google.api_core.exceptions import NotFound

    client = session.client
    changes: list[_Change] = []
    has_new_columns = False
    for table in TABLES:
        try:
            found = client.get_table(f"{session.project}.{session.dataset}.{table.name}")
        except NotFound:
            made = _make_table(session, table, options)
            changes.append(_Change(f"create table {table.name}", functools.partial(client.create_table, made, exists_ok=True)))
            continue
        _check_partitions(table, found)
        fields, lines = _merge_fields(table.name, list(found.schema), table.columns)
        has_new_columns |= any(line.startswith("add ") for line in lines)
        changed = ["schema"] if lines else []
        if lines:
            found.schema = fields
        more, attributes = _set_options(table, found, options)
        if lines or more:
            first, *rest = lines + more
            names = changed + attributes
            changes.append(_Change(first, functools.partial(client.update_table, found, names)))
            changes += [_Change(line, _nothing) for line in rest]
    for view in VIEWS:
        changes += _find_view_changes(session, view, has_new_columns)
    return changes


def _nothing() -> None:
    """Stands for what an earlier change brings with it."""


def _make_table(session: _Session, table: Table, options: TableOptions) -> bigquery.Table:
    from google.cloud import bigquery

    made = bigquery.Table(f"{session.project}.{session.dataset}.{table.name}", [_to_field(column) for column in table.columns])
    made.description = table.description
    if table.partition_column:
        made.time_partitioning = bigquery.TimePartitioning(
            type_=bigquery.TimePartitioningType.DAY, field=table.partition_column
        )
        made.clustering_fields = list(table.cluster_columns)
        _set_options(table, made, options)
    return made


def _set_options(table: Table, target: bigquery.Table, options: TableOptions) -> tuple[list[str], list[str]]:
    """Sets a table's options where they differ; returns a line for each, and the names of the attributes that were set."""
    lines, attributes = [], []
    days = options.partition_expiration_days
    if table.partition_column and days is not None:
        partitioning = target.time_partitioning
        msec = days * _DAY_MSEC or None
        if partitioning.expiration_ms != msec:
            partitioning.expiration_ms = msec
            target.time_partitioning = partitioning
            lines.append(f"drop rows of {table.name} {days} days after upload" if days else f"keep rows of {table.name}")
            attributes.append("time_partitioning")
    wanted = options.require_partition_filter
    if table is FRAME_CURVES and wanted is not None and bool(target.require_partition_filter) != wanted:
        target.require_partition_filter = wanted
        lines.append(f"{'require' if wanted else 'do not require'} upload dates in queries of {table.name}")
        attributes.append("require_partition_filter")
    return lines, attributes


def _check_partitions(table: Table, found: bigquery.Table) -> None:
    actual = found.time_partitioning.field if found.time_partitioning else None
    if actual != table.partition_column:
        raise WarehouseError(f"the table {table.name} must be partitioned by {table.partition_column}. Received: {actual}")


def _merge_fields(
    path: str, found: Sequence[bigquery.SchemaField], columns: Sequence[Column]
) -> tuple[list[bigquery.SchemaField], list[str]]:
    """Returns a table's fields with those added that it lacks and all described, and a line for each change.

    Raises:
      WarehouseError: a column has another type or mode, or a REQUIRED one is missing.
    """
    from google.cloud import bigquery

    existing = {field.name: field for field in found}
    merged = {field.name: field for field in found}  # columns that are not ours stay as they are
    lines = []
    for column in columns:
        where = f"{path}.{column.name}"
        field = existing.get(column.name)
        if field is None:
            if column.mode is Mode.REQUIRED:
                raise WarehouseError(f"the table {path} must have a column {column.name}. Received: {', '.join(existing)}")
            merged[column.name] = _to_field(column)
            lines.append(f"add column {where}")
            continue
        actual = f"{_TYPE_NAMES.get(field.field_type, field.field_type)} {field.mode}"
        if actual != f"{column.type.value} {column.mode.value}":
            raise WarehouseError(f"the column {where} must be {column.type.value} {column.mode.value}. Received: {actual}")
        fields, more = _merge_fields(where, list(field.fields), column.fields)
        if field.description != column.description:
            more.append(f"describe column {where}")
        if more:
            merged[column.name] = bigquery.SchemaField(
                field.name, field.field_type, mode=field.mode, description=column.description, fields=fields
            )
            lines += more
    return list(merged.values()), lines


def _find_view_changes(session: _Session, view: View, has_new_columns: bool) -> list[_Change]:
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    view_id, query = f"{session.project}.{session.dataset}.{view.name}", view.query(session.dialect.dataset)
    made = bigquery.Table(view_id)
    made.view_query = query
    made.description = view.description
    try:
        found = session.client.get_table(view_id)
    except NotFound:
        return [_Change(f"create view {view.name}", lambda: session.client.create_table(made, exists_ok=True))]
    if found.view_query == query and not has_new_columns:
        return []
    # A view whose query stays is set again for its list of columns, which is that from when it was last set.
    line = f"change view {view.name}" if found.view_query != query else ""
    found.view_query = query
    found.description = view.description
    return [_Change(line, lambda: session.client.update_table(found, ["view_query", "description"]))]


def _to_field(column: Column) -> bigquery.SchemaField:
    """Returns a column as BigQuery's client takes it."""
    from google.cloud import bigquery

    return bigquery.SchemaField(
        column.name,
        column.type.value,
        mode=column.mode.value,
        description=column.description,
        fields=[_to_field(field) for field in column.fields],
    )


def is_passing(error: BaseException) -> bool:
    """Returns whether an error is one that passes, so that the same request may succeed later."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError

    if isinstance(error, (exceptions.ServerError, exceptions.TooManyRequests, ConnectionError, TransportError)):
        return True
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout)):
        return True
    if not isinstance(error, exceptions.GoogleAPICallError):
        return False
    reasons = {detail.get("reason") for detail in error.errors if isinstance(detail, Mapping)}
    return bool(reasons & _PASSING_REASONS) or _CONCURRENT_UPDATE in str(error)


@contextlib.contextmanager
def _plain_errors(what: str) -> Iterator[None]:
    """Turns whatever the official clients raise into a WarehouseError of one line."""
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        yield
    except DefaultCredentialsError as error:
        raise WarehouseError(f"{what}: there are no credentials; `gcloud auth application-default login` makes some") from error
    except (GoogleAPIError, GoogleAuthError, requests.exceptions.RequestException) as error:
        text = getattr(error, "message", "") or str(error)
        raise WarehouseError(f"{what}: {' '.join(str(text).split())}") from error


def _word(run_id: str) -> str:
    """Returns a run's id as job ids, tables and labels take it."""
    return re.sub(r"[^A-Za-z0-9_]", "_", run_id)
