"""Every SQL statement that the warehouses share, each written once and spelled in a database's dialect."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Sequence
from typing import Any

from transforms.failure_codes import FailureCode
from transforms.records import Selection, Slice
from transforms.warehouse.rows import Provenance
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, LISTING, RUNS, SERVER_SUFFIX, VIDEO_COUNTS, Table

PER_VIDEO_TABLES = (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
"""Tables whose rows are about one video each."""

_TRIED_AGAIN = (FailureCode.GONE, FailureCode.NOT_DELIVERED)
"""Failures of a listed version that every run takes again.

What was gone is there again: its folder was not mounted for a while. What the store did not deliver, it may deliver now.
"""

_TOTALS = ("listed", "counted", "failed", "skipped", "scored_frames", "video_sec")

_IS_LATER = (
    "(staged.run_started > target.run_started OR (staged.run_started = target.run_started AND staged.run_id > target.run_id))"
)
"""Condition that a staged row is of a later run than the table's; the run's id decides between equal starts."""


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a database spells SQL.

    Attributes:
      quote: Character before and after a column name.
      parameter_sign: Character before a parameter name.
      dataset: Prefix of table names, with its dot and quotes; "" if tables need none.
      list_items: What follows IN to look for a value in an ARRAY parameter, with `{}` in the parameter's place.
      no_texts: Expression for an empty list of texts.
      epoch_sec: Expression that converts a timestamp to seconds, with `{}` in the timestamp's place.
    """

    quote: str
    parameter_sign: str
    dataset: str
    list_items: str
    no_texts: str
    epoch_sec: str

    def name(self, name: str) -> str:
        """Returns a quoted column name."""
        return f"{self.quote}{name}{self.quote}"

    def names(self, names: Sequence[str], of: str = "") -> str:
        """Returns quoted column names separated by commas, each qualified by `of` if given."""
        return ", ".join(f"{of}.{self.name(name)}" if of else self.name(name) for name in names)

    def table(self, table: Table) -> str:
        """Returns a table name with its data set."""
        return f"{self.dataset}{table.name}"

    def parameter(self, name: str) -> str:
        """Returns a reference to a parameter."""
        return f"{self.parameter_sign}{name}"

    def in_list(self, name: str) -> str:
        """Returns the condition after a column that its value is in an ARRAY parameter."""
        return f"IN {self.list_items.format(self.parameter(name))}"

    def same_key(self, left: str, right: str, names: Sequence[str] = VIDEO_COUNTS.key) -> str:
        """Returns the condition that two rows have the same key."""
        return " AND ".join(f"{left}.{self.name(name)} = {right}.{self.name(name)}" for name in names)


def merge(
    dialect: Dialect, table: Table, source: str, *, condition: str = "TRUE", pruned: bool = False, insert_only: bool = False
) -> str:
    """Returns the MERGE of staged rows into a table. If two rows have the same key, that of the later run wins.

    Args:
      dialect: How the database spells SQL.
      table: The table to merge into.
      source: SQL for the staged rows.
      condition: SQL for which rows of `source` to merge.
      pruned: Whether to merge and look for matching rows only on the upload dates in parameter `dates`.
      insert_only: Whether to add the row of a later run beside that of an earlier run instead of updating it. `delete_doubled`
        must follow. BigQuery is paid for whole partitions by a MERGE that may update rows.
    """
    names = [column.name for column in table.columns]
    key = list(table.key)
    others = [name for name in names if name not in key]
    dates = f" AND {_on_dates(dialect, 'target')}" if pruned else ""
    condition = f"{_on_dates(dialect, 'source')} AND {condition}" if pruned else condition
    assignments = ", ".join(f"{dialect.name(name)} = staged.{dialect.name(name)}" for name in others)
    not_earlier = f" AND NOT {_IS_LATER}" if insert_only else ""
    update = "" if insert_only else f"WHEN MATCHED AND {_IS_LATER} THEN UPDATE SET {assignments}\n"
    return f"""\
MERGE INTO {dialect.table(table)} AS target
USING (
  SELECT {dialect.names(names)} FROM {source} AS source
  WHERE {condition}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY {dialect.names(key)} ORDER BY run_started DESC, run_id DESC) = 1
) AS staged
ON {dialect.same_key("target", "staged", key)}{dates}{not_earlier}
{update}WHEN NOT MATCHED THEN INSERT ({dialect.names(names)}) VALUES ({dialect.names(names, "staged")})"""


def merge_uncounted_failures(dialect: Dialect, source: str, *, insert_only: bool) -> str:
    """Returns the pruned MERGE of staged failures whose videos have no count: see `merge`."""
    counted = _exists_count(dialect, dialect.table(VIDEO_COUNTS), "source", pruned=True)
    return merge(dialect, FAILURES, source, condition=f"NOT {counted}", pruned=True, insert_only=insert_only)


def has_earlier(dialect: Dialect, table: Table, source: str) -> str:
    """Returns the query for whether staged rows replace rows of earlier runs on the parameters' upload dates."""
    return (
        f"SELECT EXISTS (SELECT 1 FROM {dialect.table(table)} AS target JOIN {source} AS staged "
        f"ON {dialect.same_key('target', 'staged', table.key)} "
        f"WHERE {_on_dates(dialect, 'target')} AND {_IS_LATER})"
    )


def doubled_dates(dialect: Dialect, table: Table) -> str:
    """Returns the query for those of the parameters' upload dates on which two rows have the same key."""
    return (
        f"SELECT DISTINCT upload_date FROM (SELECT upload_date FROM {dialect.table(table)} AS target "
        f"WHERE {_on_dates(dialect, 'target')} GROUP BY upload_date, {dialect.names(table.key)} HAVING COUNT(*) > 1) "
        "AS doubled ORDER BY upload_date"
    )


def delete_doubled(dialect: Dialect, table: Table) -> str:
    """Returns the statement that leaves one row of each key on the parameters' upload dates, that of the latest run.

    Of two runs with the same start, that with the greater id is later. Therefore the same row stays whichever run deletes. No
    condition tells two copies of one row apart, so the statement deletes all rows of a doubled key and inserts one again.
    """
    key, names = dialect.names(table.key), [column.name for column in table.columns]
    return f"""\
MERGE INTO {dialect.table(table)} AS target
USING (
  SELECT * FROM (
    SELECT {dialect.names(names)}, COUNT(*) OVER (PARTITION BY {key}) AS copies,
      ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY run_started DESC, run_id DESC) AS place
    FROM {dialect.table(table)} AS source WHERE {_on_dates(dialect, "source")}
  ) AS numbered WHERE copies > 1 AND place <= 2
) AS doubled
ON {dialect.same_key("target", "doubled", table.key)} AND {_on_dates(dialect, "target")} AND doubled.place = 2
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED AND doubled.place = 1 THEN INSERT ({dialect.names(names)}) VALUES ({dialect.names(names, "doubled")})"""


def delete_counted_failures(dialect: Dialect, counts: str, *, pruned: bool = False) -> str:
    """Returns the DELETE of failures whose videos have a count.

    Args:
      dialect: How the database spells SQL.
      counts: SQL for the counts: `video_counts`, or staged rows of it.
      pruned: Whether to look only at the upload dates in parameter `dates`.
    """
    dates = f"{_on_dates(dialect, 'failed')} AND " if pruned else ""
    return (
        f"DELETE FROM {dialect.table(FAILURES)} AS failed "
        f"WHERE {dates}{_exists_count(dialect, counts, 'failed', pruned=pruned)}"
    )


def outlived_failures(dialect: Dialect, source: str) -> str:
    """Returns the query for URI, version, code and message of staged failures whose videos have a count, each once.

    Args:
      dialect: How the database spells SQL.
      source: SQL for the staged failures. Parameter `dates` has their upload dates.
    """
    counted = _exists_count(dialect, dialect.table(VIDEO_COUNTS), "failed", pruned=True)
    return f"SELECT DISTINCT video_uri, video_generation, code, message FROM {source} AS failed WHERE {counted}"


def first_failures(query: str, limit: int) -> str:
    """Returns the query for the first `limit` rows of `outlived_failures`, by URI and version."""
    return f"{query} ORDER BY video_uri, video_generation LIMIT {limit}"


def deletion_parameters(uris: Collection[str], before: datetime.date | None) -> dict[str, Any]:
    """Returns the parameters of `delete_videos`, at least one: `uris` if there are any, and `before` unless it is None."""
    return ({"uris": list(uris)} if uris else {}) | ({} if before is None else {"before": before})


def delete_videos(dialect: Dialect, table: Table, parameters: Collection[str], *, pruned: bool = False) -> str:
    """Returns the DELETE of rows whose URI is in parameter `uris`, or whose upload date is before parameter `before`.

    Args:
      dialect: How the database spells SQL.
      table: The table to delete from.
      parameters: Names of `deletion_parameters`.
      pruned: Whether to look only at the upload dates in parameter `dates`.
    """
    dates = f"{_on_dates(dialect, 'deleted')} AND " if pruned else ""
    return f"DELETE FROM {dialect.table(table)} AS deleted WHERE {dates}{_is_to_delete(dialect, parameters)}"


def num_videos_to_delete(dialect: Dialect, table: Table, parameters: Collection[str]) -> str:
    """Returns the query for every upload date on which `delete_videos` deletes rows, in order, with their number."""
    return (
        f"SELECT upload_date, COUNT(*) FROM {dialect.table(table)} AS deleted "
        f"WHERE {_is_to_delete(dialect, parameters)} GROUP BY upload_date ORDER BY upload_date"
    )


def delete_nothing(dialect: Dialect, table: Table) -> str:
    """Returns a DELETE without effect, to check the right to delete rows."""
    return f"DELETE FROM {dialect.table(table)} WHERE FALSE"


def in_slice(source: str, part: Slice | None) -> str:
    """Returns SQL for the rows of a listing that are in a slice; `source` itself for None.

    The hash is a column of the listing, so that a video is in the same slice whichever database selects it.
    """
    if part is None:
        return source
    return f"(SELECT * FROM {source} AS whole WHERE MOD(slice_hash, {part.total}) = {part.number - 1})"


def num_listed(dialect: Dialect, source: str) -> str:
    """Returns the query for the number of different videos in a listing."""
    return f"SELECT COUNT(*) FROM {_distinct(dialect, source)}"


def to_do(dialect: Dialect, source: str, selection: Selection) -> str:
    """Returns the query for the listed videos that a selection takes if there were no limit, with the columns of `LISTING`.

    A commit of another run changes its result. Therefore it is run once per selection, and both the number of videos and the
    videos are read from its result.

    Args:
      dialect: How the database spells SQL.
      source: SQL for the rows of the listing.
      selection: Which videos to take. The parameters are `selection_parameters`.
    """
    names = dialect.names([column.name for column in LISTING.columns], "listed")
    query = f"SELECT {names} FROM {_distinct(dialect, source)}"
    if not selection.new_only:
        return query
    not_failed = _is_not_in(dialect, FAILURES, f" AND done.code NOT {dialect.in_list('requeue')}")
    return f"{query}\nWHERE {_is_not_in(dialect, VIDEO_COUNTS)} AND {not_failed}"


def insert_rows(dialect: Dialect, table: Table, target: str, query: str) -> str:
    """Returns the INSERT of a query's rows, with the columns of `table`, into the table that SQL `target` names."""
    return f"INSERT INTO {target} ({dialect.names([column.name for column in table.columns])})\n{query}"


def num_rows(source: str) -> str:
    """Returns the query for the number of rows."""
    return f"SELECT COUNT(*) FROM {source} AS source"


def select_videos(source: str, limit: int | None) -> str:
    """Returns the query for column `video` of the result of `to_do`; of the oldest `limit` uploads, if there is a limit."""
    query = f"SELECT video FROM {source} AS source"
    return query if limit is None else f"{query}\nORDER BY video_updated, video_uri, video_generation LIMIT {limit}"


def selection_parameters(provenance: Provenance, selection: Selection, dates: Sequence[datetime.date]) -> dict[str, Any]:
    """Returns the parameters of `to_do` for a run whose listed videos have these upload dates."""
    parameters: dict[str, Any] = {}
    if selection.new_only:
        parameters |= {"model": provenance.model_key, "options_hash": provenance.options_hash}
        parameters |= {"dates": list(dates)}
        parameters |= {"requeue": sorted({*selection.requeue, *(code.value for code in _TRIED_AGAIN)})}
    return parameters


def num_rows_by_date(source: str) -> str:
    """Returns the query for every upload date of some rows, in order, with the number of rows."""
    return f"SELECT upload_date, COUNT(*) FROM {source} AS source GROUP BY upload_date ORDER BY upload_date"


def frames_and_seconds(source: str) -> str:
    """Returns the query for the total scored frames and seconds of video of staged counts."""
    return f"SELECT COALESCE(SUM(scored_frames), 0), COALESCE(SUM(duration_sec), 0.0) FROM {source} AS source"


def run_totals(dialect: Dialect) -> str:
    """Returns the query for the totals and upload dates of the run in parameter `run_id`."""
    return (
        f"SELECT {', '.join(_TOTALS)}, first_upload_date, last_upload_date, upload_dates FROM {dialect.table(RUNS)} "
        f"WHERE run_id = {dialect.parameter('run_id')}"
    )


def run_results(dialect: Dialect) -> str:
    """Returns the query for a run's counts and failures; parameters `run_id`, `limit` and `dates`."""
    run_id = dialect.parameter("run_id")
    return f"""\
SELECT video_uri, count, confidence, duration_sec, flags, CAST(NULL AS STRING) AS code, CAST(NULL AS STRING) AS message
FROM {dialect.table(VIDEO_COUNTS)} AS counts WHERE run_id = {run_id} AND {_on_dates(dialect, "counts")}
UNION ALL
SELECT video_uri, NULL, NULL, NULL, {dialect.no_texts}, code, message
FROM {dialect.table(FAILURES)} AS failures WHERE run_id = {run_id} AND {_on_dates(dialect, "failures")}
ORDER BY video_uri LIMIT {dialect.parameter("limit")}"""


def num_run_results(dialect: Dialect) -> str:
    """Returns the query for a run's number of counts and failures; parameters `run_id` and `dates`."""
    numbers = (
        f"(SELECT COUNT(*) FROM {dialect.table(table)} AS results "
        f"WHERE run_id = {dialect.parameter('run_id')} AND {_on_dates(dialect, 'results')})"
        for table in (VIDEO_COUNTS, FAILURES)
    )
    return f"SELECT {' + '.join(numbers)}"


def durations(dialect: Dialect, source: str, selection: Selection) -> str:
    """Returns the query for URI, version and seconds of the videos of `to_do` that any model has counted.

    The arguments are those of `to_do`. The parameters are too, and `dates` besides.
    """
    key = ("video_uri", "video_generation")
    return (
        f"SELECT {dialect.names(key, 'counts')}, MAX(counts.duration_sec) FROM {dialect.table(VIDEO_COUNTS)} AS counts\n"
        f"JOIN ({to_do(dialect, source, selection)}) AS to_do ON {dialect.same_key('counts', 'to_do', key)}\n"
        f"WHERE {_on_dates(dialect, 'counts')} AND counts.duration_sec > 0 GROUP BY {dialect.names(key, 'counts')}"
    )


def bytes_per_sec(dialect: Dialect) -> str:
    """Returns the query for size class, mean bytes per second and number of counted videos of each class: see `EarlierRuns`."""
    return (
        f"SELECT CAST(FLOOR(LN(size_bytes) / LN(2)) AS INT64) AS size_class, SUM(size_bytes) / SUM(duration_sec), COUNT(*) "
        f"FROM {dialect.table(VIDEO_COUNTS)} AS counts WHERE duration_sec > 0 AND size_bytes > 0 GROUP BY size_class"
    )


def run_times(dialect: Dialect) -> str:
    """Returns the query for seconds of video and wall seconds, summed over all runs with parameter `model`, without servers."""
    seconds = f"{dialect.epoch_sec.format('run_ended')} - {dialect.epoch_sec.format('run_started')}"
    return (
        f"SELECT COALESCE(SUM(video_sec), 0.0), COALESCE(SUM({seconds}), 0.0) FROM {dialect.table(RUNS)} AS runs "
        f"WHERE model = {dialect.parameter('model')} AND video_sec > 0 AND run_id NOT LIKE '%{SERVER_SUFFIX}'"
    )


def _on_dates(dialect: Dialect, rows: str) -> str:
    """Returns the condition that rows are of the dates in parameter `dates`, which lets BigQuery skip other partitions."""
    return f"{rows}.upload_date {dialect.in_list('dates')}"


def _exists_count(dialect: Dialect, counts: str, rows: str, *, pruned: bool) -> str:
    """Returns the condition that `counts` has a row with the key of `rows`."""
    dates = f"{_on_dates(dialect, 'counted')} AND " if pruned else ""
    return f"EXISTS (SELECT 1 FROM {counts} AS counted WHERE {dates}{dialect.same_key('counted', rows)})"


def _distinct(dialect: Dialect, source: str) -> str:
    key = dialect.names(("video_uri", "video_generation"))
    first = f"ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY video) = 1"
    return f"(SELECT * FROM {source} AS source WHERE TRUE QUALIFY {first}) AS listed"


def _is_not_in(dialect: Dialect, table: Table, condition: str = "") -> str:
    return f"""NOT EXISTS (
  SELECT 1 FROM {dialect.table(table)} AS done
  WHERE done.model = {dialect.parameter("model")} AND done.options_hash = {dialect.parameter("options_hash")}
    AND {_on_dates(dialect, "done")} AND {dialect.same_key("done", "listed", ("video_uri", "video_generation"))}{condition}
)"""


def _is_to_delete(dialect: Dialect, parameters: Collection[str]) -> str:
    conditions = {"uris": f"video_uri {dialect.in_list('uris')}", "before": f"upload_date < {dialect.parameter('before')}"}
    # A table with require_partition_filter refuses queries without a condition on upload_date.
    return f"upload_date >= DATE '0001-01-01' AND ({' OR '.join(conditions[name] for name in parameters)})"
