"""What `repcount evaluate` prints: tables or one JSON object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rich.console import Console

from model.evaluation import (
    BASELINE_COUNT,
    NUM_RESAMPLES,
    SEED,
    Comparison,
    Interval,
    Measures,
    PublishedMeasures,
    compare,
    measure,
    measure_as_published,
)
from pipeline.counter import Counter
from pipeline.evaluated_clips import Clip
from pipeline.labels import Label
from pipeline.published_labels import PublishedResult
from pipeline.results_table import fit_columns, is_terminal, print_table, text_table

_NOTHING = "–"

_NUMBERS = ("true", "count", "exact", "error", "confidence", "stride", "other", "change")
"""Headings of columns of numbers."""

_LEAST_NEEDED = ("stride", "confidence", "exact")
"""Headings of columns that are left out if the terminal is too narrow, the first one first."""

_MEASURES = ("OBO", "MAE", "bias", "exact", "below 1 where true is 0")

_COMPARED = ("OBO", "MAE", "better", "worse", "same")

_INTERVAL_NAME = "  95 % interval"


@dataclasses.dataclass(frozen=True)
class Counted:
    """All clips as one counter counted them.

    Attributes:
      name: Name to print.
      counter: Model and options.
      clips: Results, sorted by `Clip.sort_key`.
    """

    name: str
    counter: Counter
    clips: Sequence[Clip]

    @property
    def counts(self) -> list[float | None]:
        """Counts of the clips in their order; None for a failed one."""
        return [clip.result.count for clip in self.clips]

    @property
    def true_counts(self) -> list[float]:
        """True counts of the clips in their order."""
        return [clip.label.true_count for clip in self.clips]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is printed.

    Attributes:
      first: The counter that is evaluated.
      other: Another one to compare with it; None for none.
      published: What papers report on the same set.
      num_missing: Number of labels of a public set whose video is missing.
      num_left_out: Number of labels of a public set that are left out for what they say.
      left_out: Which labels these are, as in "labels …".
    """

    first: Counted
    other: Counted | None = None
    published: Sequence[PublishedResult] = ()
    num_missing: int = 0
    num_left_out: int = 0
    left_out: str = ""

    @property
    def counted(self) -> list[Counted]:
        """The first counter and the other one, if there is one."""
        return [self.first] if self.other is None else [self.first, self.other]

    @property
    def baseline(self) -> Measures:
        """Measures of a counter that ignores the videos."""
        return measure([BASELINE_COUNT] * len(self.first.clips), self.first.true_counts)


def json_report(evaluation: Evaluation) -> dict[str, object]:
    """Returns what `--json` prints."""
    report = _json_counted(evaluation.first)
    report["baseline"] = dataclasses.asdict(evaluation.baseline)
    if evaluation.published:
        report["published"] = [dataclasses.asdict(result) for result in evaluation.published]
        report["num_missing"] = evaluation.num_missing
        report["num_left_out"] = evaluation.num_left_out
    if evaluation.other is not None:
        report["other"] = _json_counted(evaluation.other)
        report["comparison"] = dataclasses.asdict(_compare(evaluation.first, evaluation.other))
    return report


def print_tables(evaluation: Evaluation) -> None:
    """Prints a line for each video, then the measures, then the comparison if there is one."""
    others = _by_label(evaluation.other) if evaluation.other is not None else {}
    rows = [
        (*_clip_cells(clip), *_other_cells(clip, others.get(clip.label)), clip.result.remark) for clip in evaluation.first.clips
    ]
    headings = ("file", "true", "count", "exact", "error", "confidence", "stride", "other", "change", "remark")
    columns = {heading: [row[place] for row in rows] for place, heading in enumerate(headings)}
    if evaluation.other is None:
        del columns["other"], columns["change"]
    if is_terminal():
        columns = fit_columns(columns, _LEAST_NEEDED, Console().width)
    print_table(text_table(list(columns), zip(*columns.values(), strict=True), _NUMBERS))
    print_table(text_table(("", *_MEASURES), _measure_rows(evaluation), _MEASURES))
    if evaluation.other is not None:
        print_table(text_table(("", *_COMPARED), _comparison_rows(evaluation.first, evaluation.other), _COMPARED))
    print(f"95 % intervals: Wilson's for OBO; for all others, {NUM_RESAMPLES:,} bootstrap resamples of the clips, seed {SEED}")
    if evaluation.num_missing:
        print(f"labels without a video, which are left out: {evaluation.num_missing:,}")
    if evaluation.num_left_out:
        print(f"labels {evaluation.left_out}, which are left out: {evaluation.num_left_out:,}")


def percent(share: float | None) -> str:
    """Returns a share of 1 in percent, or a dash for None."""
    return _format(share, ".1%")


def _compare(first: Counted, other: Counted) -> Comparison:
    """Returns how the other counter does against the first."""
    others = _by_label(other)
    return compare(first.counts, [others[clip.label].result.count for clip in first.clips], first.true_counts)


def _by_label(counted: Counted) -> Mapping[Label, Clip]:
    return {clip.label: clip for clip in counted.clips}


def _json_counted(counted: Counted) -> dict[str, object]:
    counter = counted.counter
    return {
        "model": counter.model.name,
        "model_sha256": counter.model.sha256,
        "precision": counter.model.precision,
        "options": dataclasses.asdict(counter.options),
        "strides": counter.model.strides,
        "overlap_from": counter.model.overlap_from,
        "max_fps": counter.decoding.max_fps,
        "repeat_below_fps": counter.decoding.repeat_below_fps,
        "measures": dataclasses.asdict(measure(counted.counts, counted.true_counts)),
        "measures_as_published": dataclasses.asdict(measure_as_published(counted.counts, counted.true_counts)),
        "clips": [_json_clip(clip) for clip in counted.clips],
    }


def _json_clip(clip: Clip) -> dict[str, object]:
    result = clip.result
    return {
        "file": clip.label.file,
        "part": clip.label.part,
        "true_count": clip.label.true_count,
        "count": result.count,
        "error": clip.error,
        "confidence": result.confidence,
        "stride": result.stride,
        "duration_sec": result.duration_sec,
        "flags": list(result.flags),
        "code": result.code,
        "message": result.message,
    }


def _clip_cells(clip: Clip) -> tuple[str, ...]:
    result = clip.result
    return (
        clip.label.name,
        f"{clip.label.true_count:g}",
        _format(result.count_rounded, "d"),
        _format(result.count, ".1f"),
        _signed(clip.error),
        _format(result.confidence, ".2f"),
        _format(result.stride, "d"),
    )


def _other_cells(clip: Clip, other: Clip | None) -> tuple[str, str]:
    """Returns the other count, and by how much its error is larger."""
    if other is None:
        return "", ""
    change = None if clip.error is None or other.error is None else abs(other.error) - abs(clip.error)
    return _format(other.result.count, ".1f"), _signed(change)


def _measure_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for counted in evaluation.counted:
        measures = measure(counted.counts, counted.true_counts)
        rows.append((counted.name, *_measure_cells(measures)))
        rows.append((_INTERVAL_NAME, _range(measures.obo_interval), _range(measures.mae_interval), "", "", ""))
    rows.append((f"always {BASELINE_COUNT:g}", *_measure_cells(evaluation.baseline)))
    if evaluation.published:
        for counted in evaluation.counted:
            published = measure_as_published(counted.counts, counted.true_counts)
            rows.append((f"{counted.name}, rounded", *_published_cells(published), "", "", ""))
        rows += [(result.name, percent(result.obo), percent(result.mae), "", "", "") for result in evaluation.published]
    return rows


def _measure_cells(measures: Measures) -> tuple[str, ...]:
    return (
        *_published_cells(measures),
        _format(measures.bias, "+.1%"),
        _number_of(measures.exact_share, measures.num_whole_clips),
        _number_of(measures.zero_share, measures.num_zero_clips),
    )


def _published_cells(measures: Measures | PublishedMeasures) -> tuple[str, str]:
    return f"{percent(measures.obo)} of {measures.num_clips}", f"{percent(measures.mae)} over {measures.num_mae_clips}"


def _comparison_rows(first: Counted, other: Counted) -> list[tuple[str, ...]]:
    comparison, name = _compare(first, other), f"{other.name} against {first.name}"
    numbers = (str(comparison.num_better), str(comparison.num_worse), str(comparison.num_same))
    obo, mae = (_format(value, "+.1%") for value in (comparison.obo_difference, comparison.mae_difference))
    obo_range, mae_range = (_range(interval, "+.1f") for interval in (comparison.obo_interval, comparison.mae_interval))
    return [(name, obo, mae, *numbers), (_INTERVAL_NAME, obo_range, mae_range, "", "", "")]


def _number_of(share: float | None, total: int) -> str:
    return _NOTHING if share is None else f"{round(share * total)} of {total}"


def _range(interval: Interval | None, specification: str = ".1f") -> str:
    return _NOTHING if interval is None else f"{' to '.join(f'{100 * end:{specification}}' for end in interval)} %"


def _signed(value: float | None) -> str:
    return _NOTHING if value is None else f"{round(value, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0


def _format(value: float | None, specification: str) -> str:
    return _NOTHING if value is None else format(value, specification).replace("%", " %")
