"""SQL that both databases are asked in, each in its own spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from transforms.warehouse.base import Selection
from transforms.warehouse.rows import Provenance, UploadDates
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, RUNS, VIDEO_COUNTS, Table

PER_VIDEO_TABLES = (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
"""Tables whose rows are about one video, and go when it is forgotten."""

_TOTALS = ("listed", "counted", "failed", "skipped", "scored_frames", "video_sec")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a database spells names.

    Attributes:
      quote: goes around names.
      parameter_sign: goes before the names of parameters.
      dataset: goes before the names of tables, with its dot and quotes.
      array_items: SQL for the rows of an ARRAY parameter, with `{}` in its place.
      no_texts: SQL for an empty list of texts.
      epoch_sec: SQL for a time in seconds, with `{}` in its place.
    """

    quote: str
    parameter_sign: str
    dataset: str
    array_items: str
    no_texts: str
    epoch_sec: str

    def name(self, name: str) -> str:
        """Returns a column's name."""
        return f"{self.quote}{name}{self.quote}"

    def names(self, names: Sequence[str], of: str = "") -> str:
        """Returns columns' names with commas between them, each after `of` and a dot if that is given."""
        return ", ".join(f"{of}.{self.name(name)}" if of else self.name(name) for name in names)

    def table(self, table: Table) -> str:
        """Returns a table's name."""
        return f"{self.dataset}{table.name}"

    def parameter(self, name: str) -> str:
        """Returns what stands for a parameter."""
        return f"{self.parameter_sign}{name}"

    def items(self, name: str) -> str:
        """Returns a subquery for the items of an ARRAY parameter."""
        return self.array_items.format(self.parameter(name))

    def same_key(self, left: str, right: str, names: Sequence[str] = VIDEO_COUNTS.key) -> str:
        """Returns the condition that two rows have the same key."""
        return " AND ".join(f"{left}.{self.name(name)} = {right}.{self.name(name)}" for name in names)


DUCKDB = Dialect('"', "$", "", "SELECT UNNEST({})", "CAST([] AS VARCHAR[])", "EPOCH({})")


def bigquery(project: str, dataset: str) -> Dialect:
    """Returns the spelling of BigQuery, for the tables of a data set."""
    return Dialect(
        "`", "@", f"`{project}.{dataset}`.", "SELECT item FROM UNNEST({}) AS item", "ARRAY<STRING>[]", "UNIX_MILLIS({}) / 1000"
    )


def merge(dialect: Dialect, table: Table, source: str, *, condition: str = "TRUE", pruned: bool = False) -> str:
    """Returns the MERGE of staged rows into a table, where of two rows that of the run started later wins.

    Args:
      dialect: how to spell it.
      table: which.
      source: what stands for the rows in SQL.
      condition: of the rows of `source` to merge.
      pruned: look for rows to replace only on the upload dates from the parameter `first_date` to `last_date`.
    """
    names = [column.name for column in table.columns]
    key = list(table.key)
    others = [name for name in names if name not in key]
    dates = f" AND {between_dates(dialect, 'target')}" if pruned else ""
    assignments = ", ".join(f"{dialect.name(name)} = staged.{dialect.name(name)}" for name in others)
    return f"""\
MERGE INTO {dialect.table(table)} AS target
USING (
  SELECT {dialect.names(names)} FROM {source} AS source
  WHERE {condition}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY {dialect.names(key)} ORDER BY run_started DESC) = 1
) AS staged
ON {dialect.same_key("target", "staged", key)}{dates}
WHEN MATCHED AND staged.run_started > target.run_started THEN UPDATE SET {assignments}
WHEN NOT MATCHED THEN INSERT ({dialect.names(names)}) VALUES ({dialect.names(names, "staged")})"""


def between_dates(dialect: Dialect, rows: str) -> str:
    """Returns the condition that rows lie within the dates of the parameters, by which BigQuery leaves out partitions."""
    return f"{rows}.upload_date BETWEEN {dialect.parameter('first_date')} AND {dialect.parameter('last_date')}"


def is_counted(dialect: Dialect, rows: str, *, pruned: bool = False) -> str:
    """Returns the condition that there is a count with the key of `rows`."""
    dates = f" AND {between_dates(dialect, 'counted')}" if pruned else ""
    return f"EXISTS (SELECT 1 FROM {dialect.table(VIDEO_COUNTS)} AS counted WHERE {dialect.same_key('counted', rows)}{dates})"


def select_videos(dialect: Dialect, source: str, selection: Selection) -> str:
    """Returns the query for the listed videos that a selection takes, as `video` of `schema.LISTING`; see `number_selected`."""
    if selection.limit is None:
        return f"SELECT video FROM {_to_do(dialect, source, selection)}"
    return (
        f"SELECT video FROM {_to_do(dialect, source, selection)}\n"
        f"ORDER BY video_updated, video_uri, video_generation LIMIT {selection.limit}"
    )


def number_selected(dialect: Dialect, source: str, selection: Selection) -> str:
    """Returns the query for how many different videos are listed, and how many of these are to do whatever the limit.

    Its parameters, and those of `select_videos`, are `selection_parameters`.
    """
    return (
        f"SELECT (SELECT COUNT(*) FROM {_distinct(dialect, source)}), "
        f"(SELECT COUNT(*) FROM {_to_do(dialect, source, selection)})"
    )


def selection_parameters(provenance: Provenance, selection: Selection, dates: UploadDates) -> dict[str, Any]:
    """Returns the parameters that a selection asks for, of a run whose listed videos were uploaded between two dates."""
    parameters: dict[str, Any] = {}
    if selection.new_only:
        parameters |= {"model": provenance.model_key, "options_hash": provenance.options_hash}
        parameters |= {"first_date": dates.first, "last_date": dates.last}
    if selection.requeue:
        parameters |= {"requeue": list(selection.requeue)}
    return parameters


def _distinct(dialect: Dialect, source: str) -> str:
    key = dialect.names(("video_uri", "video_generation"))
    first = f"ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY video) = 1"
    return f"(SELECT * FROM {source} AS source WHERE TRUE QUALIFY {first}) AS listed"


def _to_do(dialect: Dialect, source: str, selection: Selection) -> str:
    if not selection.new_only:
        return _distinct(dialect, source)
    conditions = [_is_not_in(dialect, VIDEO_COUNTS), _is_not_in(dialect, FAILURES)]
    if selection.requeue:
        conditions[1] = _is_not_in(dialect, FAILURES, f" AND done.code NOT IN ({dialect.items('requeue')})")
    return f"{_distinct(dialect, source)}\nWHERE {' AND '.join(conditions)}"


def _is_not_in(dialect: Dialect, table: Table, condition: str = "") -> str:
    return f"""NOT EXISTS (
  SELECT 1 FROM {dialect.table(table)} AS done
  WHERE done.model = {dialect.parameter("model")} AND done.options_hash = {dialect.parameter("options_hash")}
    AND {between_dates(dialect, "done")} AND {dialect.same_key("done", "listed", ("video_uri", "video_generation"))}{condition}
)"""


def count_and_dates(source: str) -> str:
    """Returns the query for the number of rows and the first and the last upload date."""
    return f"SELECT COUNT(*), MIN(upload_date), MAX(upload_date) FROM {source} AS source"


def measure(source: str) -> str:
    """Returns the query for the frames and the seconds of video of staged counts."""
    return f"SELECT COALESCE(SUM(scored_frames), 0), COALESCE(SUM(duration_sec), 0.0) FROM {source} AS source"


def run_totals(dialect: Dialect) -> str:
    """Returns the query for the totals of the run of the parameter `run_id`, and the upload dates of its rows."""
    return (
        f"SELECT {', '.join(_TOTALS)}, first_upload_date, last_upload_date FROM {dialect.table(RUNS)} "
        f"WHERE run_id = {dialect.parameter('run_id')}"
    )


def run_results(dialect: Dialect) -> str:
    """Returns the query for what a run made of its videos, by `run_id`, `limit`, `first_date` and `last_date`."""
    run_id = dialect.parameter("run_id")
    return f"""\
SELECT video_uri, count, confidence, duration_sec, flags, CAST(NULL AS STRING) AS code, CAST(NULL AS STRING) AS message
FROM {dialect.table(VIDEO_COUNTS)} AS counts WHERE run_id = {run_id} AND {between_dates(dialect, "counts")}
UNION ALL
SELECT video_uri, NULL, NULL, NULL, {dialect.no_texts}, code, message
FROM {dialect.table(FAILURES)} AS failures WHERE run_id = {run_id} AND {between_dates(dialect, "failures")}
ORDER BY video_uri LIMIT {dialect.parameter("limit")}"""


def num_run_results(dialect: Dialect) -> str:
    """Returns the query for how many results a run has, by the parameters `run_id`, `first_date` and `last_date`."""
    numbers = (
        f"(SELECT COUNT(*) FROM {dialect.table(table)} AS settled "
        f"WHERE run_id = {dialect.parameter('run_id')} AND {between_dates(dialect, 'settled')})"
        for table in (VIDEO_COUNTS, FAILURES)
    )
    return f"SELECT {' + '.join(numbers)}"


def settled_videos(dialect: Dialect, selection: Selection) -> str:
    """Returns the query for address and version of what a selection leaves out, by `model`, `options_hash` and `requeue`."""
    key = f"done.model = {dialect.parameter('model')} AND done.options_hash = {dialect.parameter('options_hash')}"
    failed = f"{key} AND done.code NOT IN ({dialect.items('requeue')})" if selection.requeue else key
    return (
        f"SELECT video_uri, video_generation FROM {dialect.table(VIDEO_COUNTS)} AS done WHERE {key}\nUNION ALL\n"
        f"SELECT video_uri, video_generation FROM {dialect.table(FAILURES)} AS done WHERE {failed}"
    )


def durations(dialect: Dialect) -> str:
    """Returns the query for address, version and seconds of all videos that any model has counted."""
    return (
        f"SELECT video_uri, video_generation, MAX(duration_sec) FROM {dialect.table(VIDEO_COUNTS)} AS counts "
        "WHERE duration_sec IS NOT NULL GROUP BY video_uri, video_generation"
    )


def sizes(dialect: Dialect) -> str:
    """Returns the query for the bytes and the seconds of all counted videos together."""
    return (
        f"SELECT COALESCE(SUM(size_bytes), 0), COALESCE(SUM(duration_sec), 0.0) FROM {dialect.table(VIDEO_COUNTS)} AS counts "
        "WHERE duration_sec > 0"
    )


def run_times(dialect: Dialect) -> str:
    """Returns the query for the seconds of video of all runs with the parameter `model`, and those that they took."""
    seconds = f"{dialect.epoch_sec.format('run_ended')} - {dialect.epoch_sec.format('run_started')}"
    return (
        f"SELECT COALESCE(SUM(video_sec), 0.0), COALESCE(SUM({seconds}), 0.0) FROM {dialect.table(RUNS)} AS runs "
        f"WHERE model = {dialect.parameter('model')} AND video_sec > 0"
    )


def forgotten(dialect: Dialect, *, by_uri: bool, by_date: bool) -> str:
    """Returns the condition of the rows to forget: addresses in the parameter `uris`, uploads before `before`."""
    conditions = [f"video_uri IN ({dialect.items('uris')})"] if by_uri else []
    if by_date:
        conditions.append(f"upload_date < {dialect.parameter('before')}")
    # A table may refuse to be read without a condition on its partitions.
    return f"upload_date >= DATE '0001-01-01' AND ({' OR '.join(conditions)})"
