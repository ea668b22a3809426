"""Jobs in BigQuery: queries, statements and loads, each run once in effect however often it is tried.

Load jobs are started here rather than by Beam's `WriteToBigQuery`, for the reasons that `docs/bigquery.md` lists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import tenacity

from model.errors import one_line
from transforms.warehouse.base import STAGING_KEPT_SEC, WarehouseError
from transforms.warehouse.bigquery_tables import to_field
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.schema import Table
from transforms.warehouse.sql import Dialect

if TYPE_CHECKING:
    from google.cloud import bigquery

_FILES_PER_LOAD = 10_000
"""Maximum number of URIs in one load job, by BigQuery's quotas."""

_RETRY_SEC = 1800.0
"""Seconds for which a job is started again after transient errors."""

_TRANSIENT_REASONS = frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "rateLimitExceeded"}
)
"""Error reasons of jobs that may succeed when started again."""

_CONCURRENT_UPDATE = "Could not serialize access"
"""Message of a statement that lost against another one on the same table. Its reason is that of any invalid query."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Jobs:
    """Runs jobs on a data set, for one run or for none.

    Attributes:
      client: The official BigQuery client.
      project: Id of the data set's project.
      dataset: Name of the data set.
      location: Region in which jobs run.
      dialect: How statements on the data set are spelled.
      run_id: Id of the run that the jobs belong to; "" for none.
    """

    client: bigquery.Client
    project: str
    dataset: str
    location: str
    dialect: Dialect
    run_id: str = ""

    def staging_table(self, table: Table) -> str:
        """Returns the id of the run's own table for staged rows of `table`."""
        return f"{self.project}.{self.dataset}.staging_{_word(self.run_id)}_{table.name}"

    def dry_run(self, statement: str) -> None:
        """Checks a statement, and the right to run it, without running it."""
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        self.client.query(statement, job_config=config, location=self.location)

    def query(self, query: str, parameters: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, ...]]:
        """Returns the rows of a query, page by page. The client retries after transient errors."""
        config = self._query_config(_to_parameters(parameters or {}))
        return (row.values() for row in self.client.query_and_wait(query, job_config=config, location=self.location))

    def stream(self, query: str, parameters: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a query, page by page: at least one batch, which has no row if the query has none."""
        config = self._query_config(_to_parameters(parameters))
        rows = self.client.query(query, job_config=config, location=self.location).result()
        if not rows.total_rows:
            schema = rows.to_arrow(create_bqstorage_client=False).schema
            yield pa.RecordBatch.from_pylist([], schema=schema)
            return
        yield from rows.to_arrow_iterable()  # through the same service as `query`; no right to another one is needed

    def execute(self, step: str, statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> None:
        """Runs a statement that changes tables, once in effect.

        Args:
          step: What the statement does, as one word for the job id.
          statement: The SQL.
          parameters: Values by name, or the client's query parameters.
        """
        config = self._query_config(_to_parameters(parameters) if isinstance(parameters, Mapping) else parameters)

        def start(job_id: str) -> bigquery.QueryJob:
            return self.client.query(statement, config, job_id=job_id, location=self.location, job_retry=None)

        self._run(step, start)

    def create_staging(self, table: Table) -> str:
        """Creates the run's own table for rows of `table`, which expires by itself, unless it exists; returns its id."""
        from google.cloud import bigquery

        table_id = self.staging_table(table)
        staging = bigquery.Table(table_id, [to_field(column) for column in table.columns])
        staging.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=STAGING_KEPT_SEC)
        self.client.create_table(staging, exists_ok=True)
        return table_id

    def load(self, table: Table, files: Sequence[StagedFile]) -> str:
        """Loads files of `table` into the run's own staging table, which expires by itself; returns its name in SQL."""
        from google.cloud import bigquery

        table_id = self.create_staging(table)
        schema = [to_field(column) for column in table.columns]
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
                return self.client.load_table_from_uri(
                    paths, table_id, job_id=job_id, location=self.location, job_config=config
                )

            self._run(f"load_{table.name}_{first}", start)
        return f"`{table_id}`"

    def _run(self, step: str, start: Callable[[str], Any]) -> None:
        """Runs a job whose id is made of run and step, so that it runs once however often the step is tried.

        After a transient error the step is tried again, with growing waits. The next id is used only once the job with this id
        has failed, and a failed job has changed nothing. While its end is unknown, trying again finds it by its id.

        Args:
          step: What the job does, as one word.
          start: Starts the job with the given id.
        """
        from google.api_core.exceptions import Conflict

        number = 0

        def attempt() -> None:
            nonlocal number
            while True:
                job_id = f"repcount_{self.dataset}_{_word(self.run_id)}_{step}_{number}"
                try:
                    job = start(job_id)
                    break
                except Conflict:  # an earlier attempt started this job, but its answer was lost
                    job = self.client.get_job(job_id, location=self.location)
                    if not job.error_result:
                        break
                    number += 1
            try:
                job.result()
            finally:
                number += bool(job.error_result)

        tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=1, max=60),
            stop=tenacity.stop_after_delay(_RETRY_SEC),
            before_sleep=tenacity.before_sleep_log(_LOGGER, logging.INFO),
            reraise=True,
        )(attempt)

    def _query_config(self, parameters: Sequence[Any]) -> bigquery.QueryJobConfig:
        from google.cloud import bigquery

        labels = {"app": "repcount"}
        if self.run_id:
            labels["run"] = _word(self.run_id).lower()[:63]
        return bigquery.QueryJobConfig(query_parameters=list(parameters), labels=labels)


def is_transient(error: BaseException) -> bool:
    """Returns whether the same request may succeed later."""
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
    return bool(reasons & _TRANSIENT_REASONS) or _CONCURRENT_UPDATE in str(error)


@contextlib.contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turns errors of Google's clients into a WarehouseError of one line that starts with `what`."""
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        yield
    except DefaultCredentialsError as error:
        raise WarehouseError(f"{what}: no credentials found; run `gcloud auth application-default login`") from error
    except (GoogleAPIError, GoogleAuthError, requests.exceptions.RequestException) as error:
        text = getattr(error, "message", "") or str(error)
        raise WarehouseError(f"{what}: {one_line(text)}") from error


def _to_parameters(values: Mapping[str, Any]) -> list[Any]:
    """Returns query parameters for texts, numbers, truth values, dates, times, and lists of these with at least one item."""
    from google.cloud import bigquery

    types = {
        str: "STRING",
        int: "INT64",
        float: "FLOAT64",
        bool: "BOOL",
        datetime.date: "DATE",
        datetime.datetime: "TIMESTAMP",
    }
    return [
        bigquery.ArrayQueryParameter(name, types[type(value[0])], value)
        if isinstance(value, list)
        else bigquery.ScalarQueryParameter(name, types[type(value)], value)
        for name, value in values.items()
    ]


def _word(run_id: str) -> str:
    """Returns a run id with only the characters that job ids, table names and labels allow."""
    return re.sub(r"[^A-Za-z0-9_]", "_", run_id)
