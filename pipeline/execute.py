"""Execution: runs a pipeline to its end, or submits it."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import logging
import os
import re
import secrets
import sys
import tempfile
import time

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipeline.graph import build_pipeline
from pipeline.interrupts import interrupts_stay_interrupts
from pipeline.local_workers import WorkerLostError, lost_workers_are_errors
from pipeline.progress_display import show_progress
from pipeline.results_table import printable
from pipeline.run_config import RunConfig, is_local_run
from transforms.failure_codes import describe_error
from transforms.failure_limit import TooManyFailuresError
from transforms.inference import RepNetModelHandler
from transforms.listing import SKIPPED_PREFIX
from transforms.machine_faults import MachineFaultError
from transforms.progress import read_totals
from transforms.records import METRICS_NAMESPACE
from transforms.staging import LostVideosError
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.rows import Provenance, RunTotals

_STAGES = ("decode", "score", "count", "commit")
"""Stages with a distribution `<stage>_msec`."""

_REPORTED_FAULT = re.compile(rf"{MachineFaultError.__name__}: (.*?)(?: \[while running|$)", re.MULTILINE)
"""A machine's fault in the text that Beam makes of the error of a worker process."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      run_id: Id of the run.
      totals: Number of videos by what became of them. None if the run is not in the tables.
      problem: Why the run failed, one line. "" if it did not fail.
      wall_sec: Seconds from start to end.
      stage_secs: Seconds that workers spent in each stage, summed over all workers, by name of the stage.
      left: Number of videos that `--limit` left to another run.
      left_out: Number of matched names that are not part of the run, by `LeftOut.kind`.
    """

    run_id: str
    totals: RunTotals | None
    problem: str = ""
    wall_sec: float = 0.0
    stage_secs: dict[str, float] = dataclasses.field(default_factory=dict)
    left: int = 0
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)


def execute(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler) -> Outcome:
    """Creates or updates the tables, runs the pipeline to its end and reads what became of its videos.

    Args:
      config: The run.
      options: Beam's options.
      handler: Loads the model on workers and scores with it.

    Raises:
      WarehouseError: The tables cannot be created or updated. Nothing was run.
    """
    provenance, started_sec = make_provenance(config), time.monotonic()
    config.warehouse.prepare()
    try:
        outcome = _run_to_end(config, options, handler, provenance)
    finally:
        if is_local_run(options):  # workers on other machines may still run, and remove their files themselves
            config.warehouse.remove_staging(provenance.run_id)
    return dataclasses.replace(outcome, wall_sec=time.monotonic() - started_sec)


def submit(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler) -> int:
    """Creates or updates the tables, hands the pipeline to its runner without waiting, and returns the exit code.

    Raises:
      WarehouseError: The tables cannot be created or updated. Nothing was submitted.
    """
    provenance = make_provenance(config)
    config.warehouse.prepare()
    try:
        pipeline = beam.Pipeline(options=options)
        build_pipeline(pipeline, config, provenance, handler)
        pipeline.run()
    except Exception as error:  # a runner may raise anything; the log has the trace, people get a line
        logging.getLogger(__name__).debug("The run could not be submitted.", exc_info=True)
        print(f"repcount run: run {provenance.run_id} could not be submitted: {printable(_reason(error))}", file=sys.stderr)
        return 1
    print(f"run {provenance.run_id} is submitted; it adds its row to the table `runs` when it ends")
    return 0


def make_provenance(config: RunConfig) -> Provenance:
    """Returns what the rows of a run that starts now say about it."""
    now = datetime.datetime.now(datetime.UTC)
    return Provenance(
        run_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        run_started=now,
        model=config.model.name,
        model_sha256=config.model.sha256,
        options_json=config.options_json,
        code_version=importlib.metadata.version("repcount"),
        precision=config.model.precision,
    )


def _run_to_end(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler, provenance: Provenance) -> Outcome:
    run_id, result, problem = provenance.run_id, None, ""
    with tempfile.TemporaryDirectory(prefix="repcount-") as folder:
        progress_path = os.path.join(folder, "progress") if is_local_run(options) else None
        try:
            with show_progress(progress_path), lost_workers_are_errors(), interrupts_stay_interrupts():
                pipeline = beam.Pipeline(options=options)
                build_pipeline(pipeline, config, provenance, handler, progress_path)
                result = pipeline.run()
                state = result.wait_until_finish()
            if state != PipelineState.DONE:
                problem = f"run {run_id} ended as {state}"
        except Exception as error:  # a runner may raise anything; the log has the trace, people get a line
            logging.getLogger(__name__).debug("The run failed.", exc_info=True)
            problem = f"run {run_id} failed: {_reason(error)}"
        selected = read_totals(progress_path) if progress_path else None
    try:
        totals = config.warehouse.run_totals(run_id)
    except WarehouseError as error:
        return Outcome(run_id, None, problem or f"run {run_id}: {error}")
    return Outcome(
        run_id,
        totals,
        problem,
        stage_secs=_read_stage_secs(result) if result else {},
        left=selected.left if selected else 0,
        left_out=_read_left_out(result) if result else {},
    )


def _read_stage_secs(result: PipelineResult) -> dict[str, float]:
    """Returns the seconds that workers spent in each stage, from Beam's metrics."""
    metrics = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))["distributions"]
    spent: dict[str, float] = {}
    for stage in _STAGES:
        found = [metric.result for metric in metrics if metric.key.metric.name == f"{stage}_msec"]
        if found:
            spent[stage] = sum(distribution.sum for distribution in found) / 1000
    return spent


def _read_left_out(result: PipelineResult) -> dict[str, int]:
    """Returns how many names the listing left out, by kind, from Beam's metrics."""
    metrics = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))["counters"]
    left_out: dict[str, int] = {}
    for metric in metrics:
        _, prefix, kind = metric.key.metric.name.partition(SKIPPED_PREFIX)
        if prefix and metric.result:
            left_out[kind] = left_out.get(kind, 0) + metric.result
    return left_out


def _reason(error: Exception) -> str:
    """Returns why a run failed, in one line. A runner may wrap the error of a step into a text of many lines."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    known = (LostVideosError, TooManyFailuresError, WarehouseError, WorkerLostError)
    ours = [cause for cause in causes if isinstance(cause, known)]
    if ours:
        return str(ours[0])
    fault = _find_machine_fault(causes)
    return f"{fault}; no video counts as failed, and the next run takes them up again" if fault else describe_error(error)


def _find_machine_fault(causes: list[BaseException]) -> str:
    """Returns what the machine's fault is among the causes of an error, in one line; "" if there is none."""
    faults = [str(cause) for cause in causes if isinstance(cause, MachineFaultError)]
    faults += [reported[1] for cause in causes if (reported := _REPORTED_FAULT.search(str(cause)))]
    return faults[-1] if faults else ""  # the last one is the original; Beam adds the name of a step to those before it
