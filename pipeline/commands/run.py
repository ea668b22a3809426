"""`repcount run`: counts the videos that patterns match, in a Beam pipeline, into the tables."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import logging
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult, PipelineState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.presets import PRESETS, WeightsError, load_model, weights_path
from model.tensorflow_import import import_tensorflow
from pipeline.dates import with_dates
from pipeline.estimate import estimate
from pipeline.graph import build_pipeline, make_handler
from pipeline.launch import LaunchConfig, add_launch_options, check_none_is_active, for_workers, make_launch, set_up_workers
from pipeline.local_workers import WorkerLostError, lost_workers_are_errors
from pipeline.options import (
    LOCAL_RUNNER,
    LOCAL_RUNNERS,
    AnyWarehouse,
    RunConfig,
    SourceConfig,
    UsageError,
    add_model_options,
    add_source_options,
    make_counting,
    make_decoding,
    make_failure_limit,
    make_model,
    make_source,
    make_warehouse,
    natural_number,
)
from pipeline.results_table import print_table, printable, results_table
from pipeline.summary import StageTimes, read_stage_times, summary_line
from transforms.failure_codes import describe_error
from transforms.inference import RepNetModelHandler
from transforms.listing import NoMatchError, check_any_matches
from transforms.objects import is_local
from transforms.progress import finished_videos, read_totals
from transforms.selection import SelectionTotals
from transforms.staging import FailureLimit, TooManyFailuresError
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.rows import Provenance, RunTotals

_PROGRESS_INTERVAL_SEC = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `run` to the commands."""
    parser = subparsers.add_parser(
        "run",
        help="count the videos of a folder or a bucket into tables",
        description="Counts the repetitions in every video that the inputs match and writes counts and curves to tables. "
        "What is not listed here is handed to Beam (--runner, --direct_num_workers, …). Exit code: 0 if every video ended as "
        "counted, failed or skipped, and its row is in the tables; 1 if not, or too many failed; 2 for wrong usage, and then "
        "nothing was written.",
    )
    add_source_options(parser)
    parser.add_argument(
        "--dry_run", action="store_true", help="say how many videos, bytes, minutes and worker-hours it would be; write nothing"
    )
    sink = parser.add_argument_group("tables")
    sink.add_argument(
        "--output",
        required=True,
        metavar="TABLES",
        help="duckdb:PATH, made if it is not there, or bigquery:PROJECT.DATASET, which takes a --temp_location gs://BUCKET/FOLDER",
    )
    sink.add_argument(
        "--max_failure_ratio",
        type=float,
        default=FailureLimit.max_ratio,
        metavar="0..1",
        help="share of the videos that may fail before the run ends with exit code 1, when all is committed; a run of up to "
        f"{FailureLimit.min_videos} videos never does. Default: %(default)g",
    )
    sink.add_argument(
        "--show", type=natural_number, default=50, metavar="N", help="videos in the table that is printed. Default: %(default)s"
    )
    add_model_options(parser)
    add_launch_options(parser)
    return parser


def run(args: argparse.Namespace, beam_args: Sequence[str]) -> int:
    """Checks, runs, and sums up; returns the exit code."""
    try:
        options = make_pipeline_options(beam_args)
        launch = make_launch(args, options)
        config = make_config(args, options, launch)
        if args.dry_run:
            provenance = make_provenance(config, datetime.datetime.now(datetime.timezone.utc))
            print(*estimate(config, provenance).lines(), sep="\n")
            return 0
        set_up_workers(options, launch)
        if launch.unless_active:
            check_none_is_active(options, launch.unless_active)
    except (UsageError, NoMatchError, WeightsError, WarehouseError) as error:
        _complain(str(error))
        return 2
    return execute(config, options, make_handler(config), show=args.show, wait=launch.wait)


def make_config(args: argparse.Namespace, options: PipelineOptions, launch: LaunchConfig) -> RunConfig:
    """Returns the run that the command line asks for, once everything it needs has been found to be there.

    Raises:
      UsageError: an option cannot be meant.
      NoMatchError: an input matches no video.
      WeightsError: the model cannot be had.
      WarehouseError: the tables cannot be written to.
    """
    warehouse = make_warehouse(args.output, options.view_as(GoogleCloudOptions).temp_location)
    source = make_source(args)
    failure_limit = make_failure_limit(args)
    _check_runner(options, warehouse, source, args.model)
    for pattern in args.input:
        check_any_matches(pattern, with_dates([pattern], args.dates), source.suffixes)
    warehouse.check()
    loaded = load_model(args.model)
    model = make_model(args, loaded)
    if not is_local_run(options):
        model = for_workers(model, launch, args.precision)
    elif model.require_gpu:
        _check_gpu()
    return RunConfig(
        source=source,
        decoding=make_decoding(args, model.strides),
        model=model,
        counting=make_counting(args, loaded),
        warehouse=warehouse,
        failure_limit=failure_limit,
        accelerator=launch.scoring_accelerator,
    )


def _check_gpu() -> None:
    """Raises UsageError if this machine has no GPU."""
    import_tensorflow()
    from model.devices import NoGpuError, prepare_gpus

    try:
        prepare_gpus(require=True)
    except NoGpuError as error:
        raise UsageError(str(error)) from error


def _check_runner(options: PipelineOptions, warehouse: AnyWarehouse, source: SourceConfig, model: str) -> None:
    """Raises UsageError if workers elsewhere would need files of this machine."""
    if is_local_run(options):
        return
    runner = options.view_as(StandardOptions).runner
    if isinstance(warehouse, DuckDBWarehouse):
        raise UsageError(
            f"--runner must be {' or '.join(LOCAL_RUNNERS)}: a database file is out of reach of workers elsewhere. "
            f"Received: {runner}"
        )
    local = [pattern for pattern in source.patterns if is_local(pattern)]
    if local:
        raise UsageError(
            f"--input must be on gs://: workers elsewhere do not reach this machine's files. Received: {local[0]!r}"
        )
    preset = PRESETS.get(model)
    if preset.files if preset else is_local(model):
        what = f"{weights_path(preset)} and the .json beside it" if preset else "its files"
        raise UsageError(
            "--model must be on gs://, or one whose weights come with the program: workers elsewhere do not reach this "
            f"machine's files. Copy {what} to a bucket. Received: {model!r}"
        )


def is_local_run(options: PipelineOptions) -> bool:
    """Tells whether the workers of a run are on this machine."""
    return options.view_as(StandardOptions).runner in LOCAL_RUNNERS


def make_pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Returns Beam's options; raises UsageError for one that Beam does not know."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve", exit_on_error=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(known)
    try:
        _, unknown = known.parse_known_args(list(beam_args))
    except argparse.ArgumentError as error:
        raise UsageError(f"Beam refuses an option: {error}") from error
    if unknown:
        raise UsageError(f"neither repcount nor Beam knows the option {unknown[0]}; --help lists them. Received: {unknown}")
    options = PipelineOptions(list(beam_args))
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    return options


def make_provenance(config: RunConfig, now: datetime.datetime) -> Provenance:
    """Returns what the rows of a run that starts now say of it."""
    return Provenance(
        run_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        run_started=now,
        model=config.model.name,
        model_sha256=config.model.sha256,
        options_json=config.options_json,
        code_version=importlib.metadata.version("repcount"),
        precision=config.model.precision,
    )


def execute(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler, show: int, wait: bool = True) -> int:
    """Runs the pipeline, prints the results and returns the exit code; does not `wait`, and only says what was started."""
    provenance = make_provenance(config, datetime.datetime.now(datetime.timezone.utc))
    warehouse, run_id = config.warehouse, provenance.run_id
    started_sec = time.monotonic()
    try:
        warehouse.prepare()
    except WarehouseError as error:
        _complain(str(error))
        return 2
    if not wait:
        return _submit(config, options, handler, provenance)
    try:
        return _run_and_report(config, options, handler, provenance, show, started_sec)
    finally:
        # Workers elsewhere may still be at it, and remove their files themselves.
        if is_local_run(options):
            warehouse.remove_staging(run_id)


def _submit(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler, provenance: Provenance) -> int:
    """Hands the pipeline to its runner and returns the exit code."""
    try:
        pipeline = beam.Pipeline(options=options)
        build_pipeline(pipeline, config, provenance, handler)
        pipeline.run()
    except Exception as error:  # whatever a runner raises: the log has the trace, people get a line
        logging.getLogger(__name__).debug("The run could not be submitted.", exc_info=True)
        _complain(f"run {provenance.run_id} could not be submitted: {_reason(error)}")
        return 1
    print(f"run {provenance.run_id} is submitted; it writes its line to the table `runs` when it is over")
    return 0


def _run_and_report(
    config: RunConfig,
    options: PipelineOptions,
    handler: RepNetModelHandler,
    provenance: Provenance,
    show: int,
    started_sec: float,
) -> int:
    """Runs the pipeline to its end, prints what came of it and returns the exit code."""
    warehouse, run_id = config.warehouse, provenance.run_id
    result: PipelineResult | None = None
    trouble = ""
    with tempfile.TemporaryDirectory(prefix="repcount-") as folder:
        progress_path = os.path.join(folder, "progress") if is_local_run(options) else None
        try:
            with _progress(progress_path), lost_workers_are_errors():
                pipeline = beam.Pipeline(options=options)
                build_pipeline(pipeline, config, provenance, handler, progress_path)
                result = pipeline.run()
                state = result.wait_until_finish()
            if state != PipelineState.DONE:
                trouble = f"run {run_id} ended as {state}"
        except Exception as error:  # whatever a runner raises: the log has the trace, people get a line
            logging.getLogger(__name__).debug("The run failed.", exc_info=True)
            trouble = f"run {run_id} failed: {_reason(error)}"
        try:
            totals = warehouse.run_totals(run_id)
            if totals is not None:
                _print_results(warehouse, run_id, totals, show)
                times = read_stage_times(result) if result else StageTimes({})
                print(summary_line(run_id, totals, time.monotonic() - started_sec, times))
                _print_rest(totals, read_totals(progress_path) if progress_path else None)
                print(f"tables: {printable(warehouse.address)}")
        except WarehouseError as error:
            _complain(f"run {run_id}: {error}")
            return 1
    return _exit_code(run_id, trouble, totals, config.failure_limit)


def _print_results(warehouse: AnyWarehouse, run_id: str, totals: RunTotals, show: int) -> None:
    """Prints the table of results, if a run has any."""
    results = warehouse.run_results(run_id, show)
    if not results:
        return
    num_results = warehouse.num_run_results(run_id)
    print_table(results_table(results))
    if len(results) < num_results:
        print(f"The first {len(results):,} of {num_results:,} videos.")


def _print_rest(totals: RunTotals, selected: SelectionTotals | None) -> None:
    """Says why a run did nothing, or not all there is to do."""
    if totals.listed and totals.listed == totals.skipped:
        print(
            "nothing new: the tables have all these videos for this model and these options; --mode=all counts them again, "
            "--requeue=CODE those that failed"
        )
    elif not totals.listed:
        print("nothing to do: no video is within the limits that the options set")
    if selected and selected.left:
        print(f"{selected.left:,} more are left to another run by --limit")


def _reason(error: Exception) -> str:
    """Returns the line that tells why a run failed; a runner may wrap what a step has raised into a text of many."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    ours = [cause for cause in causes if isinstance(cause, (TooManyFailuresError, WarehouseError, WorkerLostError))]
    return str(ours[0]) if ours else describe_error(error)


def _exit_code(run_id: str, trouble: str, totals: RunTotals | None, failure_limit: FailureLimit) -> int:
    """Returns 0 only if the runner says that it is done, every listed video is accounted for, and not too many failed."""
    if trouble or totals is None:
        missing = "" if totals else "; it is not in the table `runs`, and the next run goes on from what there is"
        _complain(f"{trouble or f'run {run_id} ended'}{missing}")
        return 1
    if not totals.is_balanced:
        _complain(
            f"run {run_id} lost videos: listed {totals.listed}, but counted {totals.counted}, failed {totals.failed}, "
            f"skipped {totals.skipped}"
        )
        return 1
    try:
        failure_limit.check(totals)
    except TooManyFailuresError as error:
        _complain(str(error))
        return 1
    return 0


def _complain(message: str) -> None:
    """Prints one line on standard error, whatever names are in it."""
    print(f"repcount run: {printable(message)}", file=sys.stderr)


@contextlib.contextmanager
def _progress(path: str | None) -> Iterator[None]:
    """Shows on standard error how many videos have been scored, while the body runs; None if workers are elsewhere."""
    console = Console(stderr=True)
    if path is None:
        yield
        return
    if not console.is_terminal:
        with _repeating(_announcement(path)):
            yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("videos"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Listing", total=None)

        def show() -> None:
            totals = read_totals(path)
            if totals is not None:
                bar.update(task, description="Counting", total=totals.selected, completed=finished_videos(path))

        with _repeating(show):
            yield


def _announcement(path: str) -> Callable[[], None]:
    """Returns what says once, as soon as it is known, how much there is to do."""
    told = False

    def tell() -> None:
        nonlocal told
        totals = read_totals(path)
        if totals is not None and not told:
            told = True
            rest = f", {totals.skipped:,} are counted already" if totals.skipped else ""
            print(f"Counting {totals.selected:,} videos{rest} …", file=sys.stderr, flush=True)

    return tell


@contextlib.contextmanager
def _repeating(action: Callable[[], object]) -> Iterator[None]:
    """Calls `action` every half second, in a thread, while the body runs."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(_PROGRESS_INTERVAL_SEC):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        action()
