"""What a run says when it is over: where its time went, and one line that adds up."""

from __future__ import annotations

import dataclasses

from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.runner import PipelineResult

from transforms.records import METRICS_NAMESPACE
from transforms.warehouse.rows import RunTotals

_STAGES = ("decode", "score", "count", "commit")
"""Stages with a distribution `<stage>_msec`."""


@dataclasses.dataclass(frozen=True)
class StageTimes:
    """Seconds that workers spent in each stage, added up over all of them, by the stage's name."""

    by_stage_sec: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.by_stage_sec.items())


def read_stage_times(result: PipelineResult) -> StageTimes:
    """Reads the times of the stages from Beam's metrics."""
    metrics = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))["distributions"]
    spent: dict[str, float] = {}
    for stage in _STAGES:
        found = [metric.result for metric in metrics if metric.key.metric.name == f"{stage}_msec"]
        if found:
            spent[stage] = sum(distribution.sum for distribution in found) / 1000
    return StageTimes(spent)


def summary_line(run_id: str, totals: RunTotals, wall_sec: float, times: StageTimes) -> str:
    """Returns the run in one line."""
    rate = totals.scored_frames / wall_sec if wall_sec > 0 else 0.0
    return (
        f"run {run_id}: listed {totals.listed:,} = counted {totals.counted:,} + failed {totals.failed:,} "
        f"+ skipped {totals.skipped:,}; {totals.scored_frames:,} frames of {totals.video_sec:,.1f} s video "
        f"in {wall_sec:,.1f} s, {rate:,.0f} frames/s ({times})"
    )
