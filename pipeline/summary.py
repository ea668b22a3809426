"""The report of a run: a table of its videos, one line of totals and times, and the exit code."""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Mapping

from pipeline.execute import RunOutcome
from pipeline.results_table import print_results
from transforms.failure_limit import FailureLimit, TooManyFailuresError
from transforms.left_out import left_out_line, lost_objects
from transforms.staging import LostVideosError, check_balance
from transforms.text import printable
from transforms.warehouse.base import Warehouse, WarehouseError
from transforms.warehouse.rows import RunTotals


def print_report(outcome: RunOutcome, warehouse: Warehouse, show: int) -> None:
    """Prints the results of a run and its totals.

    Args:
      outcome: How the run ended.
      warehouse: Tables of the run.
      show: Maximum number of videos to print.
    """
    totals = outcome.totals
    if totals is None:
        return
    try:
        found = itertools.chain.from_iterable(warehouse.run_results(run_id, show) for run_id in outcome.row_ids)
        results = heapq.nsmallest(show, found, key=lambda result: result.uri)
        num_results = sum(map(warehouse.num_run_results, outcome.row_ids))
    except WarehouseError as error:
        _complain(f"the results of run {outcome.run_id} cannot be read: {error}")
        results, num_results = [], totals.counted + totals.failed
    print_results(results)
    if 0 < len(results) < num_results:
        print(f"The first {len(results):,} of {num_results:,} videos.")
    print(summary_line(outcome.run_id, totals, outcome.wall_sec, outcome.stage_secs))
    if (replaced := totals.counted + totals.failed - num_results) > 0:
        keeps = "video keeps" if replaced == 1 else "videos keep"
        print(
            f"{replaced:,} {keeps} the rows of another run: a failure replaces no count, and nothing replaces what a run "
            "that started later has written"
        )
    if totals.listed and totals.listed == totals.skipped:
        print(
            "nothing new: the tables have all these videos for this model and these options; --mode=all counts them again, "
            "--requeue=CODE retries those that failed"
        )
    elif not totals.listed:
        print("nothing to do: no video passes the filters (--dates, --updated_after, --updated_before, --sample)")
    if outcome.left_out:
        print(left_out_line(outcome.left_out))
    if outcome.left:
        print(f"{outcome.left:,} more were left out by --limit")
    if outcome.slice_ids:
        print(f"slices in the table `runs`: {len(outcome.slice_ids)}, from {outcome.slice_ids[0]} to {outcome.slice_ids[-1]}")
    print(f"tables: {printable(warehouse.name)}")


def summary_line(run_id: str, totals: RunTotals, wall_sec: float, stage_secs: Mapping[str, float]) -> str:
    """Returns the totals and times of a run in one line."""
    rate = totals.scored_frames / wall_sec if wall_sec > 0 else 0.0
    times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in stage_secs.items())
    return (
        f"run {run_id}: listed {totals.listed:,} = counted {totals.counted:,} + failed {totals.failed:,} "
        f"+ skipped {totals.skipped:,}; {totals.scored_frames:,} frames of {totals.video_sec:,.1f} s video "
        f"in {wall_sec:,.1f} s, {rate:,.0f} frames/s ({times})"
    )


def exit_code(outcome: RunOutcome, failure_limit: FailureLimit) -> int:
    """Returns 0 if the run ended well, saw every match, lost no video and not too many failed; else says why, returns 1."""
    totals = outcome.totals
    if outcome.problem or totals is None:
        _complain(f"{outcome.problem or f'run {outcome.run_id} ended'}{_fate(outcome)}")
        return 1
    try:
        check_balance(totals, outcome.run_id)
    except LostVideosError as error:
        _complain(str(error))
        return 1
    lost = lost_objects(outcome.left_out)
    if lost:
        _complain(f"{lost:,} matched names cannot be looked at, so videos may be missing; the rows of all others are committed")
        return 1
    try:
        failure_limit.check(totals)
    except TooManyFailuresError as error:
        _complain(str(error))
        return 1
    return 0


def _fate(outcome: RunOutcome) -> str:
    """Returns what became of the rows of a run that failed or whose totals are unknown, as the end of a sentence."""
    if outcome.totals:
        return ""
    if outcome.unreadable:
        known = "its rows may be committed" if outcome.problem else "its rows are committed"
        return f"; {known}, but the tables cannot be read: {outcome.unreadable}"
    return "; it is not in the table `runs`, and the next run continues from the rows that are there"


def _complain(message: str) -> None:
    print(f"repcount run: {printable(message)}", file=sys.stderr)
