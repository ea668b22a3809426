"""Execution: runs a pipeline to its end, slice by slice if it is long, or submits it."""

from __future__ import annotations

import dataclasses
import datetime
import gc
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipeline.graph import build_pipeline, make_attempts
from pipeline.interrupts import interrupts_stay_interrupts
from pipeline.job_display import job_page, wait_for_job
from pipeline.launch import set_up_slice
from pipeline.local_workers import WorkerLostError, end_workers, give_large_blocks_back, lost_workers_are_errors
from pipeline.progress_display import show_progress, show_status, tell
from pipeline.progress_figures import WholeRun
from pipeline.provenance import new_provenance, slice_run_id
from pipeline.run_config import RunConfig, is_local_run
from pipeline.slices import Plan, make_plan
from transforms.failure_codes import describe_error
from transforms.failure_limit import TooManyFailuresError
from transforms.inference import RepNetModelHandler
from transforms.machine_faults import MachineFaultError
from transforms.progress import read_totals
from transforms.records import METRICS_NAMESPACE, Slice
from transforms.staging import LostVideosError
from transforms.text import printable
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.name_labels import NameLabels, local_folders
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance, RunTotals

_STAGES = ("decode", "score", "count", "commit")
"""Stages with a distribution `<stage>_msec`."""

_REPORTED_FAULT = re.compile(rf"{MachineFaultError.__name__}: (.*?)(?: \[while running|$)", re.MULTILINE)
"""A machine's fault in the text that Beam makes of the error of a worker process."""

_MIN_JOB_SEC = 600.0
"""Seconds of `--max_hours` below which no further slice is started: its workers would hardly be up."""


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
      run_id: Id of the run.
      totals: Number of videos by what became of them. None if the run is not in the tables. Of a run in slices, the sums over
        the slices that are in the tables.
      problem: Why the run failed, one line. "" if it did not fail.
      wall_sec: Seconds from start to end.
      stage_secs: Seconds that workers spent in each stage, summed over all workers, by name of the stage.
      unreadable: Why the tables cannot be read, so that it is unknown whether the run is in them. "" if they were read.
      left: Number of videos that `--limit` left to another run.
      left_out: Number of matched names that are not part of the run, by `LeftOut.kind`.
      slice_ids: Ids of the slices that are in the tables, in order. Empty for a run without slices.
    """

    run_id: str
    totals: RunTotals | None
    problem: str = ""
    wall_sec: float = 0.0
    stage_secs: dict[str, float] = dataclasses.field(default_factory=dict)
    unreadable: str = ""
    left: int = 0
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    slice_ids: tuple[str, ...] = ()

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Ids under which the run's rows are in the tables."""
        return self.slice_ids or (self.run_id,)


def execute(
    config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler, max_hours: float | None = None
) -> RunOutcome:
    """Creates or updates the tables, runs the pipeline to its end and reads what became of its videos.

    Args:
      config: The run.
      options: Beam's options.
      handler: Loads the model on workers and scores with it.
      max_hours: Hours that all slices may take together. None for no limit. A run without slices leaves this to Dataflow.

    Raises:
      WarehouseError: The tables cannot be created or updated. Nothing was run.
    """
    provenance, started_sec = make_provenance(config), time.monotonic()
    config.warehouse.prepare()
    no_job_is_left = is_local_run(options)  # workers on other machines may outlive this program
    try:
        try:
            with show_status("Listing videos …"), interrupts_stay_interrupts():
                plan = make_plan(config, options, provenance)
        except Exception as error:  # a runner may raise anything; the log has the trace, people get a line
            logging.getLogger(__name__).debug("The videos could not be listed.", exc_info=True)
            problem = f"run {provenance.run_id} failed: {_reason(error)}"
            return RunOutcome(provenance.run_id, None, problem, wall_sec=time.monotonic() - started_sec)
        if not any(plan.num_videos):
            outcome = _record_idle_run(config, provenance, plan.listing)
        elif len(plan.slices) == 1:
            outcome = _run_to_end(config, options, handler, provenance, plan.listing)
        else:
            until_sec = None if max_hours is None else started_sec + max_hours * 3600
            outcome = _combine(provenance, plan, list(_run_slices(config, options, handler, provenance, plan, until_sec)))
            no_job_is_left |= len(outcome.slice_ids) == len(plan.slices)
    finally:
        if no_job_is_left:
            config.warehouse.remove_staging(provenance.run_id)
    return dataclasses.replace(outcome, left_out=plan.left_out, wall_sec=time.monotonic() - started_sec)


def submit(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler) -> int:
    """Creates or updates the tables, hands the pipeline to its runner without waiting, and returns the exit code.

    It is one job without slices, since nobody would start the next one.

    Raises:
      WarehouseError: The tables cannot be created or updated. Nothing was submitted.
    """
    provenance = make_provenance(config)
    config.warehouse.prepare()
    try:
        pipeline = beam.Pipeline(options=options)
        build_pipeline(pipeline, config, provenance, handler)
        page = job_page(pipeline.run(), options)
    except Exception as error:  # a runner may raise anything; the log has the trace, people get a line
        logging.getLogger(__name__).debug("The run could not be submitted.", exc_info=True)
        print(f"repcount run: run {provenance.run_id} could not be submitted: {printable(_reason(error))}", file=sys.stderr)
        return 1
    print(f"run {provenance.run_id} is submitted; it adds its row to the table `runs` when it ends")
    if page:
        print(f"job: {page}")
    return 0


def make_provenance(config: RunConfig) -> Provenance:
    """Returns what the rows of a run that starts now say about it."""
    name_labels = NameLabels(config.source.label_regex, local_folders(config.source.patterns))
    return new_provenance(config.model, config.options_json, name_labels)


def _run_slices(
    config: RunConfig,
    options: PipelineOptions,
    handler: RepNetModelHandler,
    provenance: Provenance,
    plan: Plan,
    until_sec: float | None,
) -> Iterator[RunOutcome]:
    """Runs one slice after another and yields their outcomes.

    A slice that fails does not stop the next one: the cause may be a video that kills its worker. Two in a row do, since the
    cause is then hardly in a video.
    """
    if is_local_run(options) and options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        give_large_blocks_back()  # this process only passes on what workers have scored
    job_name = options.view_as(GoogleCloudOptions).job_name
    failed_in_a_row = 0
    for part, num_videos in zip(plan.slices, plan.num_videos, strict=True):
        left_sec = None if until_sec is None else until_sec - time.monotonic()
        if failed_in_a_row == 2 or (left_sec is not None and left_sec < _MIN_JOB_SEC and part.number > 1):
            return
        run_id = slice_run_id(provenance.run_id, part)
        sliced = dataclasses.replace(provenance, run_id=run_id, run_started=datetime.datetime.now(datetime.UTC))
        config.warehouse.keep_staging(provenance.run_id)  # the listing: all slices together may take weeks
        tell(f"Slice {part.number} of {part.total}: {f'{num_videos:,} videos' if num_videos else 'nothing to do'}")
        if num_videos:
            set_up_slice(options, job_name, part, left_sec)
            source = dataclasses.replace(config.source, selection=plan.selection(part, config.source.selection))
            of_slice = dataclasses.replace(config, source=source)
            try:
                whole = WholeRun(part, sum(plan.num_videos), sum(plan.num_videos[: part.number - 1]))
                outcome = _run_to_end(of_slice, options, handler, sliced, plan.listing, whole)
            finally:
                if is_local_run(options):
                    config.warehouse.remove_staging(run_id)
                    gc.collect()  # Beam's runner, which refers to itself, holds what the slice shuffled
        else:
            outcome = _record_idle_run(config, sliced, plan.listing, part)
        failed_in_a_row = failed_in_a_row + 1 if outcome.totals is None else 0
        yield outcome


def _record_idle_run(
    config: RunConfig, provenance: Provenance, listing: Sequence[StagedFile], part: Slice | None = None
) -> RunOutcome:
    """Commits the row of a run, or of one of its slices, without videos to count. It starts no job."""
    warehouse = config.warehouse
    selection = dataclasses.replace(config.source.selection, part=part, limit=None)
    try:
        found, _ = warehouse.select(provenance, listing, selection)
        now = datetime.datetime.now(datetime.UTC)
        totals = warehouse.commit(provenance, [], listed=found.skipped, skipped=found.skipped, run_ended=now)
    except WarehouseError as error:
        return RunOutcome(provenance.run_id, None, f"run {provenance.run_id}: {error}")
    finally:
        warehouse.remove_staging(provenance.run_id)
    return RunOutcome(provenance.run_id, totals, left=found.selected)


def _combine(provenance: Provenance, plan: Plan, outcomes: Sequence[RunOutcome]) -> RunOutcome:
    """Returns the outcome of a run from those of the slices that were started."""
    committed = [outcome.totals for outcome in outcomes if outcome.totals is not None]
    problems = [
        outcome.problem or f"run {outcome.run_id} ended" for outcome in outcomes if outcome.problem or not outcome.totals
    ]
    missing = len(plan.slices) - len(committed)
    unreadable = next((outcome.unreadable for outcome in outcomes if outcome.unreadable), "")
    if len(outcomes) < len(plan.slices):
        problems.append(f"{len(plan.slices) - len(outcomes)} of {len(plan.slices)} slices were not started")
    if committed and missing:
        known = (
            f"may not be in the table `runs`, which cannot be read: {unreadable}"
            if unreadable
            else "are not in the table `runs`"
        )
        problems.append(f"{missing} slices {known}, and the next run counts what is missing")
    stages = [outcome.stage_secs for outcome in outcomes]
    return RunOutcome(
        provenance.run_id,
        sum_totals(committed) if committed else None,
        "; ".join(problems),
        stage_secs={name: sum(secs.get(name, 0.0) for secs in stages) for secs in stages for name in secs},
        unreadable="" if committed else unreadable,
        left=sum(outcome.left for outcome in outcomes),
        slice_ids=tuple(outcome.run_id for outcome in outcomes if outcome.totals is not None),
    )


def sum_totals(totals: Sequence[RunTotals]) -> RunTotals:
    """Returns the sums over several runs."""
    return RunTotals(*map(sum, zip(*map(dataclasses.astuple, totals), strict=True)))


def _run_to_end(
    config: RunConfig,
    options: PipelineOptions,
    handler: RepNetModelHandler,
    provenance: Provenance,
    listing: Sequence[StagedFile],
    whole: WholeRun | None = None,
) -> RunOutcome:
    """Runs one job to its end and reads what became of its videos; `whole` is the run that the job's slice is part of."""
    run_id, result, problem, worker_died = provenance.run_id, None, "", False
    with tempfile.TemporaryDirectory(prefix="repcount-") as folder:
        progress_path = os.path.join(folder, "progress") if is_local_run(options) else None
        try:
            with show_progress(progress_path, whole), lost_workers_are_errors(), interrupts_stay_interrupts(end_workers):
                pipeline = beam.Pipeline(options=options)
                build_pipeline(pipeline, config, provenance, handler, progress_path, listing)
                result = pipeline.run()
                state = result.wait_until_finish() if progress_path else wait_for_job(result, options, whole)
            if state != PipelineState.DONE:
                problem = f"run {run_id} ended as {state}"
        except Exception as error:  # a runner may raise anything; the log has the trace, people get a line
            logging.getLogger(__name__).debug("The run failed.", exc_info=True)
            problem = f"run {run_id} failed: {_reason(error)}"
            worker_died = any(isinstance(cause, WorkerLostError) for cause in _causes(error))
        finally:
            if progress_path and not worker_died:  # what was in flight was interrupted, not deadly
                make_attempts(config, provenance).forget()
        selected = read_totals(progress_path) if progress_path else None
    try:
        totals = config.warehouse.run_totals(run_id)
    except WarehouseError as error:
        return RunOutcome(run_id, None, problem, unreadable=str(error))
    return RunOutcome(
        run_id,
        totals,
        problem,
        stage_secs=_read_stage_secs(result) if result else {},
        left=selected.left if selected else 0,
    )


def _read_stage_secs(result: PipelineResult) -> dict[str, float]:
    """Returns the seconds that workers spent in each stage, from Beam's metrics; nothing if a service does not answer."""
    try:
        metrics = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))["distributions"]
    except Exception:  # of whichever client; the rows are committed without these figures
        logging.getLogger(__name__).debug("The metrics cannot be read.", exc_info=True)
        return {}
    spent: dict[str, float] = {}
    for stage in _STAGES:
        found = [metric.result for metric in metrics if metric.key.metric.name == f"{stage}_msec"]
        if found:
            spent[stage] = sum(distribution.sum for distribution in found) / 1000
    return spent


def _reason(error: Exception) -> str:
    """Returns why a run failed, in one line. A runner may wrap the error of a step into a text of many lines."""
    causes = _causes(error)
    known = (LostVideosError, TooManyFailuresError, WarehouseError, WorkerLostError)
    ours = [cause for cause in causes if isinstance(cause, known)]
    if ours:
        return str(ours[0])
    fault = _find_machine_fault(causes)
    return f"{fault}; no video counts as failed, and the next run takes them up again" if fault else describe_error(error)


def _causes(error: Exception) -> list[BaseException]:
    """Returns an error and what caused it, the last first."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _find_machine_fault(causes: list[BaseException]) -> str:
    """Returns what the machine's fault is among the causes of an error, in one line; "" if there is none."""
    faults = [str(cause) for cause in causes if isinstance(cause, MachineFaultError)]
    faults += [reported[1] for cause in causes if (reported := _REPORTED_FAULT.search(str(cause)))]
    return faults[-1] if faults else ""  # the last one is the original; Beam adds the name of a step to those before it
