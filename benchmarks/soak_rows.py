"""Compares the tables of a soak with those of an undisturbed run: what is lost, doubled or different."""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from transforms.failure_codes import FailureCode
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, RUNS, TABLES, VIDEO_COUNTS

Row = Mapping[str, Any]
"""A row: values by column."""

Key = tuple[str, int]
"""URI and generation of a version of a video."""

_OF_THE_VERSION = {"video_uri", "video_generation", "upload_date", "video_updated"}

_OF_THE_RUN = {"run_id", "run_started", "run_ended"}


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a video that was in the bucket.

    Attributes:
      content: Name of its content.
      created: Time of the upload.
    """

    content: str
    created: datetime.datetime


@dataclasses.dataclass
class Comparison:
    """What a comparison found, a line for each.

    Attributes:
      rows: Number of rows compared.
      lost: Videos without their row, and runs whose totals do not add up.
      doubled: Keys with several rows.
      different: Rows that an undisturbed run would not have written.
      replaced: Number of rows of versions that were replaced during the soak.
      gone: How many of these are failures with the code GONE.
      halfway: Number of runs that have rows but none in `runs`: they were killed between two steps of their commit.
    """

    rows: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    doubled: list[str] = dataclasses.field(default_factory=list)
    different: list[str] = dataclasses.field(default_factory=list)
    replaced: int = 0
    gone: int = 0
    halfway: int = 0


def as_rows(contents: Mapping[str, Iterable[Sequence[Any]]]) -> dict[str, list[Row]]:
    """Returns rows by table, from values in the order of the schema's columns."""
    return {
        table.name: [
            {column.name: value for column, value in zip(table.columns, values, strict=True)} for values in contents[table.name]
        ]
        for table in TABLES
    }


def compare(
    found: Mapping[str, list[Row]],
    undisturbed: Mapping[str, list[Row]],
    versions: Mapping[Key, Version],
    current: Collection[Key],
    ended_runs: Collection[str],
    last_days: Collection[datetime.date],
) -> Comparison:
    """Compares the tables of a soak with those of an undisturbed run over the same bucket.

    A version that was replaced during the soak has no row if no run saw it in time. If it has one, that is the row of its
    content, or a failure with the code GONE.

    Args:
      found: Rows by table after the soak and a last run.
      undisturbed: Rows by table of a run that nothing happened to. Each content is in its bucket.
      versions: All versions that were in the bucket.
      current: Those that are in it at the end.
      ended_runs: Ids of runs that ended well; a run in slices has several rows that start with its id.
      last_days: Upload days for which the last run committed counts and failures. On other days a run that was killed between
        its MERGE and the deletion of doubled rows may have left both rows, as docs/bigquery.md says.
    """
    result = Comparison()
    expected = _rows_by_content(undisturbed, versions, result)
    keyed = {table.name: _by_key(found[table.name]) for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)}
    for table, by_key in keyed.items():
        for key, rows in by_key.items():
            result.rows += len(rows)
            if len(rows) > 1 and rows[0]["upload_date"] in last_days:
                result.doubled.append(f"{table} has {len(rows)} rows of {key}")
            for row in rows:
                _check_row(table, key, row, expected, versions, current, result)
    counted, with_curve, failed = (keyed[table.name].keys() for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES))
    for key in counted & failed:
        result.doubled.append(f"{key} is counted and failed")
    for key in counted - with_curve:
        result.lost.append(f"{key} has a count and no curve")
    for key in set(current) - counted - failed:
        result.lost.append(f"{key} has neither a count nor a failure")
    _check_runs(found[RUNS.name], ended_runs, result)
    authors = {row["run_id"] for by_key in keyed.values() for rows in by_key.values() for row in rows}
    result.halfway = len(authors - {row["run_id"] for row in found[RUNS.name]})
    return result


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    by_key: dict[Key, list[Row]] = collections.defaultdict(list)
    for row in rows:
        by_key[row["video_uri"], row["video_generation"]].append(row)
    return by_key


def _of_content(row: Row) -> dict[str, Any]:
    """Returns what a row says about the video's content."""
    return {name: value for name, value in row.items() if name not in _OF_THE_VERSION | _OF_THE_RUN}


def _rows_by_content(
    undisturbed: Mapping[str, list[Row]], versions: Mapping[Key, Version], result: Comparison
) -> dict[str, dict[str, Row]]:
    """Returns what the rows of each content are, {table: {content: values}}."""
    expected: dict[str, dict[str, Row]] = {}
    for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES):
        by_content = expected[table.name] = {}
        for key, rows in _by_key(undisturbed[table.name]).items():
            for row in rows:
                content = versions[key].content
                if by_content.setdefault(content, _of_content(row)) != _of_content(row):
                    result.different.append(f"{table.name} of the undisturbed run has different rows of {content}")
    return expected


def _check_row(
    table: str,
    key: Key,
    row: Row,
    expected: Mapping[str, Mapping[str, Row]],
    versions: Mapping[Key, Version],
    current: Collection[Key],
    result: Comparison,
) -> None:
    """Notes what is wrong with a row."""
    version = versions.get(key)
    if version is None:
        result.different.append(f"{table} has a row of {key}, which was never in the bucket")
        return
    result.replaced += key not in current
    if table == FAILURES.name and key not in current and row["code"] == FailureCode.GONE:
        result.gone += 1
    elif _of_content(row) != expected[table].get(version.content):
        wanted = expected[table].get(version.content)
        named = {name for name, value in _of_content(row).items() if wanted is not None and value != wanted[name]}
        why = f"other values of {', '.join(sorted(named))}" if wanted else f"a row, {row.get('code', 'counted')}"
        (result.different if wanted else result.lost).append(f"{table} has {why} of {key}, {version.content}")
    if (row["video_updated"], row["upload_date"]) != (version.created, version.created.date()):
        result.different.append(f"{table} has another upload time of {key}: {row['video_updated']}, not {version.created}")
    if table == FRAME_CURVES.name and [point["frame"] for point in row["points"]] != list(range(len(row["points"]))):
        result.different.append(f"the curve of {key} does not have each frame once")


def _check_runs(runs: Sequence[Row], ended_runs: Collection[str], result: Comparison) -> None:
    """Notes runs whose totals do not add up, runs without a row, and runs with two."""
    result.rows += len(runs)
    for row in runs:
        if row["listed"] != row["counted"] + row["failed"] + row["skipped"]:
            result.lost.append(f"run {row['run_id']} does not balance")
    numbers = collections.Counter(row["run_id"] for row in runs)
    result.doubled += [f"runs has {number} rows of {run_id}" for run_id, number in numbers.items() if number > 1]
    for run_id in ended_runs:
        if not any(name == run_id or name.startswith(f"{run_id}-") for name in numbers):
            result.lost.append(f"run {run_id} ended well and has no row")
