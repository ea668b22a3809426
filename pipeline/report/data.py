"""Reads a report from the tables. Every query returns a few rows, however many videos there are."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.command_line import UsageError
from pipeline.report.content import (
    HISTOGRAM_BINS,
    Comparison,
    Curve,
    Day,
    Difference,
    FailureGroup,
    LongVideo,
    Report,
    ReviewedVideo,
    Scope,
    Totals,
)
from pipeline.report.scope import (
    choose_run,
    dates_before,
    read_runs,
    read_tuples,
    run_before,
    scope_of_dates,
    scope_of_run,
)
from transforms.warehouse.base import Warehouse
from transforms.warehouse.views import NEARLY_COUNTED, UNSURE_BELOW, UNSURE_CONFIDENCE

MAX_REVIEWED = 12
"""Most videos whose curves are on the page."""

MAX_LISTED = 10
"""Most rows of a list of videos."""

MAX_CODES = 50
"""Most failure codes on the page. There are fewer unless the tables hold codes of other versions."""

MAX_OTHERS = 5
"""Most other models or options that a page of upload dates names."""

CURVE_POINTS = 240
"""Most points of a curve, about one for each pixel of its width on a phone."""

MAX_DIFFERENCE = 5
"""Difference of two counts from which all are put together."""

_DAYS_BEFORE = 30
"""Days in the chart of days, unless the page is about more."""

_FEWEST_DAYS = 7
"""Days in that chart although the first ones have no video."""

_MAX_BARS = 62
"""Most bars in that chart. Several days share a bar if there are more days."""


_OF_RUNS = ("listed", "counted", "failed", "skipped", "video_sec")
"""Columns of `runs` that a page adds up over the slices of a run."""


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads rows of a scope.

    Attributes:
      warehouse: The tables.
      scope: Which rows.
    """

    warehouse: Warehouse
    scope: Scope

    @property
    def condition(self) -> str:
        """SQL for the rows of the scope, in `video_counts` and in `failures`."""
        of_scope = "run_id IN {run_ids}" if self.scope.is_run else "model = {model} AND options_hash = {options_hash}"
        return f"upload_date IN {{dates}} AND {of_scope}"

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of `condition`."""
        dates = {"dates": list(self.scope.dates)}
        if self.scope.is_run:
            return {**dates, "run_ids": list(self.scope.run_ids)}
        return {**dates, "model": self.scope.model, "options_hash": self.scope.options_hash}

    @property
    def counts(self) -> str:
        """SQL for the counts of the scope."""
        return f"(SELECT * FROM {{dataset}}video_counts WHERE {self.condition}) AS counts"

    @property
    def failures(self) -> str:
        """SQL for the failures of the scope."""
        return f"(SELECT * FROM {{dataset}}failures WHERE {self.condition}) AS failures"

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Returns the rows of a query about the scope. A scope without dates has none."""
        if not self.scope.dates:
            return []
        return read_tuples(self.warehouse, query, {**self.parameters, **(parameters or {})})


def read_report(
    warehouse: Warehouse, *, run: str | None = None, dates: Sequence[datetime.date] | None = None, compare: str | None = None
) -> Report:
    """Reads a report, without thumbnails.

    Args:
      warehouse: The tables, all of which exist.
      run: Id of a run, or of one of its slices. Default: the latest complete run, unless there are dates.
      dates: Upload dates in a row, ascending, instead of a run.
      compare: Name of the model to compare with. None for no comparison.

    Raises:
      UsageError: There is no such run, there are no rows on these dates, or the other model counted none of the videos.
      WarehouseError: The tables cannot be read.
    """
    notes: list[str] = []
    others: list[tuple[Any, ...]] = []
    if dates is not None:
        scope = scope_of_dates(warehouse, dates, compare)
        before: Scope | None = dates_before(scope)
        others = _read_others(warehouse, scope)
        if others:
            notes.append(_describe_others(scope, others))
    else:
        runs = read_runs(warehouse, run)
        chosen = choose_run(runs, run, compare)
        earlier = run_before(runs, chosen)
        scope, before = scope_of_run(warehouse, chosen), None if earlier is None else scope_of_run(warehouse, earlier)
        if not chosen.is_complete:
            notes.append(f"Only {len(chosen.rows):,} of the {chosen.slices:,} slices of this run are in the tables.")
        if not chosen.outcomes and earlier:
            notes.append(f"This run found nothing new. The latest run before it with results of this model is {earlier.name}.")
    reader = _Reader(warehouse, scope)
    before_reader = None if before is None else _Reader(warehouse, before)
    totals = _read_totals(reader)
    failures = _read_failures(reader)
    missing = totals.counted + totals.failed - totals.in_tables - sum(group.videos for group in failures)
    if missing > 0:
        notes.append(
            f"{missing:,} of the run's {totals.counted + totals.failed:,} results are no longer in the tables: a later run has "
            "replaced them, they were deleted, or a count stayed where this run failed."
        )
    review, to_review = _read_review(reader)
    return Report(
        tables=warehouse.name,
        scope=scope,
        totals=totals,
        before=before,
        totals_before=None if before_reader is None else _read_totals(before_reader),
        days=_read_days(reader),
        failures=failures,
        failures_before={group.code: group.videos for group in _read_failures(before_reader)} if before_reader else {},
        confidence=_read_histogram(reader, "confidence", "count > 0"),
        certainty=_read_histogram(reader, "certainty", "certainty IS NOT NULL"),
        longest=_read_longest(reader),
        to_review=to_review,
        review=review,
        curves=_read_curves(reader, review),
        comparison=None if compare is None else _read_comparison(reader, compare),
        has_others=bool(others),
        notes=tuple(notes),
    )


def _read_others(warehouse: Warehouse, scope: Scope) -> list[tuple[Any, ...]]:
    """Returns each other model with its options, number of counts and number of failures on the dates of a scope."""
    query = """\
SELECT model, options_hash, SUM(counted), SUM(failed) FROM {dataset}daily_summary
WHERE upload_date BETWEEN {first} AND {last} AND NOT (model = {model} AND options_hash = {options_hash})
GROUP BY model, options_hash ORDER BY model, options_hash"""
    parameters = {"first": scope.dates[0], "last": scope.dates[-1], "model": scope.model, "options_hash": scope.options_hash}
    return read_tuples(warehouse, query, parameters)


def _describe_others(scope: Scope, others: Sequence[tuple[Any, ...]]) -> str:
    counted, failed = (int(sum(row[column] for row in others)) for column in (2, 3))
    named = [f"{row[0]} with options {row[1]} ({int(row[2]):,} and {int(row[3]):,})" for row in others[:MAX_OTHERS]]
    if len(others) > MAX_OTHERS:
        named.append(f"and {len(others) - MAX_OTHERS:,} more")
    return (
        f"This page shows model {scope.model} with options {scope.options_hash}. Other models or options have {counted:,} "
        f"count{'' if counted == 1 else 's'} and {failed:,} failure{'' if failed == 1 else 's'} on these dates: "
        f"{', '.join(named)}."
    )


def _read_totals(reader: _Reader) -> Totals:
    query = f"""\
SELECT
  COUNT(*), COALESCE(SUM(CASE WHEN count > 0 THEN 1 ELSE 0 END), 0),
  COALESCE(SUM(count), 0.0), COALESCE(SUM(duration_sec), 0.0), AVG(CASE WHEN count > 0 THEN confidence END), AVG(certainty)
FROM {reader.counts}"""
    numbers = reader.rows(query)
    found, repeating, repetitions, video_sec, confidence, certainty = numbers[0] if numbers else (0, 0, 0.0, 0.0, None, None)
    totals = Totals(found, 0, found, repeating, repetitions, video_sec, confidence, certainty)
    if not reader.scope.is_run:
        failed = reader.rows(f"SELECT COUNT(*) FROM {reader.failures}")
        return dataclasses.replace(totals, failed=failed[0][0] if failed else 0)
    query = f"SELECT {', '.join(_OF_RUNS)}, run_started, run_ended FROM {{dataset}}runs WHERE run_id IN {{run_ids}}"
    runs = read_tuples(reader.warehouse, query, {"run_ids": list(reader.scope.run_ids)})
    return dataclasses.replace(
        totals,
        **{name: sum(row[column] for row in runs) for column, name in enumerate(_OF_RUNS)},
        wall_sec=sum((ended - started).total_seconds() for *_, started, ended in runs),
    )


def _read_days(reader: _Reader) -> tuple[Day, ...]:
    """Returns the upload dates up to the last one of the scope, of all runs with the same model and options."""
    scope = reader.scope
    if not scope.dates and scope.started is None:
        return ()
    last = scope.dates[-1] if scope.dates or scope.started is None else scope.started.date()
    first = last - datetime.timedelta(days=_DAYS_BEFORE - 1)
    if scope.dates:
        first = min(first, scope.dates[0])
    query = """\
SELECT upload_date, counted, failed, repetitions, video_hours FROM {dataset}daily_summary
WHERE upload_date BETWEEN {first} AND {last} AND model = {model} AND options_hash = {options_hash}
ORDER BY upload_date"""
    parameters = {"first": first, "last": last, "model": scope.model, "options_hash": scope.options_hash}
    found = {row[0]: row[1:] for row in read_tuples(reader.warehouse, query, parameters)}
    if not found:
        return ()
    first = min(max(first, min(found)), last - datetime.timedelta(days=_FEWEST_DAYS - 1))
    return _join_days(first, last, found, frozenset(scope.dates))


def _join_days(
    first: datetime.date, last: datetime.date, found: Mapping[datetime.date, Sequence[Any]], shown: frozenset[datetime.date]
) -> tuple[Day, ...]:
    """Returns all days of a range, so many in a bar that there are few bars."""
    num_days = (last - first).days + 1
    width = 1 if num_days <= _MAX_BARS else 7 if num_days <= 7 * _MAX_BARS else math.ceil(num_days / _MAX_BARS)
    days = []
    for end in range(num_days - 1, -1, -width):  # from the last day, so that only the first bar may have fewer days
        dates = [first + datetime.timedelta(days=number) for number in range(max(0, end - width + 1), end + 1)]
        rows = [found[date] for date in dates if date in found]
        counted, failed, repetitions, video_hours = (sum(row[column] for row in rows) for column in range(4))
        in_scope = any(date in shown for date in dates)
        days.append(Day(dates[0], dates[-1], int(counted), int(failed), float(repetitions), float(video_hours), in_scope))
    return tuple(reversed(days))


def _read_failures(reader: _Reader) -> tuple[FailureGroup, ...]:
    query = f"""\
SELECT code, videos, video_uri, message FROM (
  SELECT
    code, video_uri, message, COUNT(*) OVER (PARTITION BY code) AS videos,
    ROW_NUMBER() OVER (PARTITION BY code ORDER BY video_uri, video_generation) AS place
  FROM {reader.failures}
) AS numbered
WHERE place = 1 ORDER BY videos DESC, code LIMIT {MAX_CODES}"""
    return tuple(FailureGroup(code, int(videos), uri, message) for code, videos, uri, message in reader.rows(query))


def _read_histogram(reader: _Reader, column: str, condition: str) -> tuple[int, ...]:
    query = f"""\
SELECT CAST(FLOOR(LEAST({column}, 0.999999) * {HISTOGRAM_BINS}) AS INT64) AS bin, COUNT(*)
FROM {reader.counts} WHERE {condition} GROUP BY bin"""
    found = {int(number): int(videos) for number, videos in reader.rows(query)}
    return tuple(found.get(number, 0) for number in range(HISTOGRAM_BINS))


def _read_longest(reader: _Reader) -> tuple[LongVideo, ...]:
    query = f"""\
SELECT video_uri, duration_sec, scored_frames, size_bytes, width, height, count
FROM {reader.counts} WHERE duration_sec IS NOT NULL
ORDER BY duration_sec DESC, video_uri, video_generation LIMIT {MAX_LISTED}"""
    return tuple(LongVideo(*row) for row in reader.rows(query))


def _read_review(reader: _Reader) -> tuple[tuple[ReviewedVideo, ...], int]:
    """Returns the least certain counts, and how many counts somebody should check."""
    query = f"""\
WITH scores AS (
  SELECT video_uri, video_generation, MAX(stride_score.score) AS best_score
  FROM {reader.counts}
  CROSS JOIN UNNEST(stride_scores) AS stride_score
  GROUP BY video_uri, video_generation
), ranked AS (
  SELECT
    video_uri, video_generation, upload_date, video_updated, size_bytes, count, count_rounded, confidence, certainty,
    COALESCE(best_score, 0.0) AS best_score, duration_sec, width, height, flags, segments, repetition_times_sec,
    COALESCE(certainty, CASE WHEN count > 0 THEN confidence ELSE 1 - COALESCE(best_score, 0.0) END) AS sureness,
    CASE
      WHEN count = 0 THEN COALESCE(best_score, 0.0) > {NEARLY_COUNTED}
      ELSE COALESCE(certainty < {UNSURE_BELOW}, confidence < {UNSURE_CONFIDENCE})
    END AS is_unsure
  FROM {reader.counts} LEFT JOIN scores USING (video_uri, video_generation)
)
SELECT *, SUM(CASE WHEN is_unsure THEN 1 ELSE 0 END) OVER () AS to_review FROM ranked
ORDER BY is_unsure DESC, sureness, video_uri, video_generation LIMIT {MAX_REVIEWED}"""
    rows = reader.rows(query)
    names = [field.name for field in dataclasses.fields(ReviewedVideo)]
    review = []
    for row in rows:
        values = dict(zip(names, row, strict=False))
        values["flags"], values["repetition_times_sec"] = tuple(values["flags"]), tuple(values["repetition_times_sec"])
        values["segments"] = tuple((segment["start_sec"], segment["end_sec"]) for segment in values["segments"])
        review.append(ReviewedVideo(**values))
    return tuple(review), int(rows[0][-1]) if rows else 0


def _read_curves(reader: _Reader, review: Sequence[ReviewedVideo]) -> dict[tuple[str, int], Curve]:
    """Returns the curves of videos, reduced inside the database."""
    if not review:
        return {}
    query = f"""\
WITH chosen AS (
  SELECT video_uri, video_generation, points FROM {{dataset}}frame_curves
  WHERE {reader.condition} AND video_uri IN {{uris}}
), unnested AS (
  SELECT
    video_uri, video_generation, point.frame, point.time_sec, point.count, point.periodicity,
    COUNT(*) OVER (PARTITION BY video_uri, video_generation) AS frames
  FROM chosen CROSS JOIN UNNEST(points) AS point
)
SELECT
  video_uri, video_generation, CAST(FLOOR(frame * {CURVE_POINTS} / frames) AS INT64) AS place,
  MAX(time_sec), MAX(count), AVG(periodicity)
FROM unnested GROUP BY video_uri, video_generation, place ORDER BY video_uri, video_generation, place"""
    points: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for uri, generation, _, *point in reader.rows(query, {"uris": [video.uri for video in review]}):
        points.setdefault((uri, generation), []).append((point[0], point[1], point[2]))
    return {key: Curve(*zip(*found, strict=True)) for key, found in points.items()}


def _read_comparison(reader: _Reader, model: str) -> Comparison:
    """Compares the counts of a scope with those of another model; raises UsageError if that has none on the scope's dates."""
    warehouse, scope = reader.warehouse, reader.scope
    others = """\
SELECT model, options_hash, MAX(run_started) AS latest FROM {dataset}video_counts
WHERE upload_date IN {dates} GROUP BY model, options_hash ORDER BY latest DESC, model, options_hash"""
    models = read_tuples(warehouse, others, {"dates": list(scope.dates)}) if scope.dates else []
    options_hash = next((found for name, found, _ in models if name == model), None)
    if options_hash is None:
        names = ", ".join(dict.fromkeys(name for name, *_ in models if name != scope.model)) or "no other model"
        raise UsageError(
            f"--compare must be a model that counted these videos too. Received: {model!r}, and tables with {names}"
        )
    parameters = {
        "this_model": scope.model,
        "this_options": scope.options_hash,
        "other_model": model,
        "other_options": options_hash,
    }
    this, that = ("a", "b") if (scope.model, scope.options_hash) < (model, options_hash) else ("b", "a")
    pair = " AND ".join(
        f"compared.{column}_{side} = {{{name}}}"
        for column, side, name in (
            ("model", this, "this_model"),
            ("options_hash", this, "this_options"),
            ("model", that, "other_model"),
            ("options_hash", that, "other_options"),
        )
    )
    compared = f"""\
(
  SELECT
    compared.video_uri AS video_uri, compared.video_generation AS video_generation, count_{this} AS this_count,
    count_{that} AS that_count, confidence_{this} AS this_confidence, confidence_{that} AS that_confidence
  FROM {{dataset}}model_comparison AS compared
  JOIN (SELECT video_uri, video_generation FROM {reader.counts}) AS shown
  ON compared.video_uri = shown.video_uri AND compared.video_generation = shown.video_generation
  WHERE compared.upload_date IN {{dates}} AND {pair}
) AS pairs"""
    change = "that_count - this_count"
    ((videos, within_one, mean, this_sum, that_sum),) = reader.rows(
        f"SELECT COUNT(*), COALESCE(SUM(CASE WHEN ABS({change}) <= 1 THEN 1 ELSE 0 END), 0), AVG({change}), "
        f"COALESCE(SUM(this_count), 0.0), COALESCE(SUM(that_count), 0.0) FROM {compared}",
        parameters,
    )
    limited = f"GREATEST(-{MAX_DIFFERENCE}, LEAST({MAX_DIFFERENCE}, CAST(ROUND({change}) AS INT64)))"
    by_difference = reader.rows(f"SELECT {limited} AS difference, COUNT(*) FROM {compared} GROUP BY difference", parameters)
    largest = reader.rows(
        f"SELECT video_uri, this_count, that_count, this_confidence, that_confidence FROM {compared} "
        f"WHERE this_count <> that_count ORDER BY ABS({change}) DESC, video_uri, video_generation LIMIT {MAX_LISTED}",
        parameters,
    )
    return Comparison(
        model,
        options_hash,
        int(videos),
        int(within_one),
        mean,
        this_sum,
        that_sum,
        {int(difference): int(number) for difference, number in by_difference},
        tuple(Difference(*row) for row in largest),
    )
