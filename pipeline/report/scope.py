"""Finds what a report is about: a run with all its slices, or upload dates; and what came before."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.command_line import UsageError
from pipeline.provenance import SLICE_ID
from pipeline.report.content import Scope
from transforms.warehouse.base import Warehouse, upload_dates
from transforms.warehouse.schema import FAILURES, SERVER_SUFFIX, VIDEO_COUNTS

_SHOWN = 5
"""Number of runs or dates that an error names."""


_RESULTS = (VIDEO_COUNTS.name, FAILURES.name)
"""Tables with a row for each video."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in the tables, with its slices put together.

    Attributes:
      name: Id of the run, without the number of a slice.
      rows: Ids of its rows in `runs`, in the order in which they started.
      slices: Number of slices that it should have; 1 without slices.
      started: Time at which it started.
      model: Model that counted.
      options_hash: Identifier of the options.
      outcomes: Number of videos counted or failed.
      parts: Its rows, each as a run of its own; () for such a row.
    """

    name: str
    rows: tuple[str, ...]
    slices: int
    started: datetime.datetime
    model: str
    options_hash: str
    outcomes: int
    parts: tuple[Run, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether all its slices are in the tables."""
        return len(self.rows) == self.slices


def read_tuples(warehouse: Warehouse, query: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Returns the rows of a query of few rows, as values in the order of its columns: see `Warehouse.read`."""
    return [
        row
        for batch in warehouse.read(query, parameters)
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]


def read_runs(warehouse: Warehouse, name: str | None = None) -> list[Run]:
    """Returns the runs in the tables, the latest first. Of the commits of a server, only that with this name is one."""
    query = (
        "SELECT run_id, run_started, model, options_hash, counted + failed FROM {dataset}runs "
        f"WHERE run_id NOT LIKE '%{SERVER_SUFFIX}' OR run_id = {{name}} ORDER BY run_started, run_id"
    )
    parts: dict[tuple[str, int], list[Run]] = {}
    for run_id, started, model, options_hash, outcomes in read_tuples(warehouse, query, {"name": name or ""}):
        found = SLICE_ID.fullmatch(run_id)
        key = (found["run"], int(found["total"])) if found else (run_id, 1)
        parts.setdefault(key, []).append(Run(run_id, (run_id,), 1, started, model, options_hash, int(outcomes)))
    runs = [
        dataclasses.replace(
            rows[-1],
            name=run_name,
            rows=tuple(row.name for row in rows),
            slices=total,
            started=rows[0].started,
            outcomes=sum(row.outcomes for row in rows),
            parts=tuple(rows),
        )
        for (run_name, total), rows in parts.items()
    ]
    return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)


def choose_run(runs: Sequence[Run], name: str | None, compared: str | None) -> Run:
    """Returns a run by the id of the run or of one of its slices. Without a name: the latest complete run.

    Args:
      runs: All runs, the latest first.
      name: The id.
      compared: Model to compare the run with. The latest run is then one of another model.

    Raises:
      UsageError: There is no such run. The line names those that there are.
    """
    if name is None:
        complete = [run for run in runs if run.is_complete and run.model != compared]
        if complete:
            return complete[0]
        other = f" of a model other than {compared!r}" if compared is not None else ""
        raise UsageError(f"the tables must have a complete run{other}: `repcount run` makes one. {_runs(runs)}")
    for found in itertools.chain.from_iterable((run, *run.parts) for run in runs):
        if found.name == name:
            if found.model == compared:
                raise UsageError(f"--compare must name another model than that of the run. Received: {compared!r}")
            return found
    raise UsageError(f"--run must be the id of a run in the tables. {_runs(runs)}, not {name!r}")


def run_before(runs: Sequence[Run], run: Run) -> Run | None:
    """Returns the latest complete run before another one with the same model that counted anything."""
    return next(
        (
            earlier
            for earlier in runs
            if earlier.started < run.started
            and earlier.model == run.model
            and earlier.is_complete
            and earlier.outcomes
            and run.rows[0] not in earlier.rows
        ),
        None,
    )


def scope_of_run(warehouse: Warehouse, run: Run) -> Scope:
    """Returns the scope of a run."""
    query = "SELECT first_upload_date, last_upload_date, upload_dates FROM {dataset}runs WHERE run_id IN {run_ids}"
    dates: set[datetime.date] = set()
    for first, last, noted in read_tuples(warehouse, query, {"run_ids": list(run.rows)}):
        dates.update(upload_dates(first, last, noted))
    return Scope(run.name, run.rows, tuple(sorted(dates)), run.model, run.options_hash, run.started)


def scope_of_dates(warehouse: Warehouse, dates: Sequence[datetime.date], compared: str | None) -> Scope:
    """Returns the scope of upload dates, with the model and the options of the latest run that has rows there.

    Args:
      warehouse: The tables.
      dates: Days in a row, ascending.
      compared: Model to compare with, which is not the page's.

    Raises:
      UsageError: There are no rows. The line names dates that have some.
    """
    parameters: dict[str, Any] = {"dates": list(dates)}
    condition = "upload_date IN {dates}"
    if compared is not None:
        condition += " AND model <> {compared}"
        parameters["compared"] = compared
    results = " UNION ALL ".join(
        f"SELECT model, options_hash, MAX(run_started) AS started FROM {{dataset}}{table} "
        f"WHERE {condition} GROUP BY model, options_hash"
        for table in _RESULTS
    )
    query = (
        f"SELECT model, options_hash, started FROM ({results}) AS counted ORDER BY started DESC, model, options_hash LIMIT 1"
    )
    for model, options_hash, started in read_tuples(warehouse, query, parameters):
        return Scope(_range(dates), (), tuple(dates), model, options_hash, started)
    raise UsageError(f"--date must be an upload date with rows. {_days(warehouse)}, not {_range(dates)}")


def dates_before(scope: Scope) -> Scope:
    """Returns the scope of as many days just before upload dates."""
    days = tuple(date - datetime.timedelta(days=len(scope.dates)) for date in scope.dates)
    return dataclasses.replace(scope, name=_range(days), dates=days, started=None)


def _range(dates: Sequence[datetime.date]) -> str:
    return f"{dates[0]}" if len(dates) == 1 else f"{dates[0]}..{dates[-1]}"


def _runs(runs: Sequence[Run]) -> str:
    if not runs:
        return "Received: tables without a run"
    names = ", ".join(run.name + ("" if run.is_complete else " (incomplete)") for run in runs[:_SHOWN])
    return (
        f"Received: tables with {len(runs):,} runs, of which the latest are {names}"
        if len(runs) > 1
        else (f"Received: tables with the run {names}")
    )


def _days(warehouse: Warehouse) -> str:
    dates = " UNION ALL ".join(f"SELECT upload_date FROM {{dataset}}{table}" for table in _RESULTS)
    days = f"SELECT DISTINCT upload_date FROM ({dates}) AS results"
    query = f"SELECT upload_date, COUNT(*) OVER () FROM ({days}) AS days ORDER BY upload_date DESC LIMIT {_SHOWN}"
    rows = read_tuples(warehouse, query)
    if not rows:
        return "Received: tables without rows"
    names = ", ".join(str(date) for date, _ in rows)
    number = int(rows[0][1])
    return (
        f"Received: tables with rows on {number:,} dates, of which the latest are {names}"
        if number > 1
        else (f"Received: tables with rows on {names}")
    )
