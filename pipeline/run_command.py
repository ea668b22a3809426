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
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.presets import WeightsError, load_model
from pipeline.graph import build_pipeline, make_handler
from pipeline.options import (
    LOCAL_RUNNER,
    LOCAL_RUNNERS,
    RunConfig,
    SourceConfig,
    UsageError,
    add_model_options,
    make_counting,
    make_decoding,
    make_model,
    make_warehouse,
    natural_number,
)
from pipeline.results_table import printable, results_table
from pipeline.summary import read_stage_times, result_rows, summary_line
from transforms.inference import RepNetModelHandler
from transforms.listing import NoMatchError, check_matches, list_videos
from transforms.progress import finished_videos
from transforms.records import describe_error
from transforms.rows import Provenance, RunTotals
from transforms.warehouse import WarehouseError

_PROGRESS_INTERVAL_SEC = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `run` to the commands."""
    parser = subparsers.add_parser(
        "run",
        help="count the videos of a folder or a bucket into tables",
        description="Counts the repetitions in every video that the inputs match and writes counts and curves to tables. "
        "What is not listed here is handed to Beam (--runner, --direct_num_workers, …). Exit code: 0 if every video ended as "
        "counted, failed or skipped, and its row is in the tables; 1 if not; 2 for wrong usage, and then nothing was written.",
    )
    source = parser.add_argument_group("videos")
    source.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="PATTERN",
        help="a file, a directory, or a pattern such as 'dir/**.mp4' or 'gs://bucket/2026/**'; may be repeated",
    )
    sink = parser.add_argument_group("tables")
    sink.add_argument("--output", required=True, metavar="duckdb:PATH", help="the database, made if it is not there")
    sink.add_argument(
        "--show", type=natural_number, default=50, metavar="N", help="videos in the table that is printed. Default: %(default)s"
    )
    add_model_options(parser)
    return parser


def run(args: argparse.Namespace, beam_args: Sequence[str]) -> int:
    """Checks, runs, and sums up; returns the exit code."""
    try:
        options = make_pipeline_options(beam_args)
        config = make_config(args)
    except (UsageError, NoMatchError, WeightsError, WarehouseError) as error:
        _complain(str(error))
        return 2
    return execute(config, options, make_handler(config), show=args.show)


def make_config(args: argparse.Namespace) -> RunConfig:
    """Returns the run that the command line asks for, once everything it needs has been found to be there.

    Raises:
      UsageError: an option cannot be meant.
      NoMatchError: an input matches no video.
      WeightsError: the model cannot be had.
      WarehouseError: the tables cannot be written to.
    """
    warehouse = make_warehouse(args.output)
    check_matches(args.input)
    warehouse.check()
    loaded = load_model(args.model)
    model = make_model(args, loaded)
    return RunConfig(
        source=SourceConfig(tuple(args.input)),
        decoding=make_decoding(args, model.strides),
        model=model,
        counting=make_counting(args, loaded),
        warehouse=warehouse,
    )


def make_pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Returns Beam's options; raises UsageError for one that Beam does not know, or a runner that cannot write the output."""
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
    if standard.runner not in LOCAL_RUNNERS:
        raise UsageError(
            f"--runner must be {' or '.join(LOCAL_RUNNERS)}: a database file is out of reach of workers elsewhere. "
            f"Received: {standard.runner}"
        )
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


def execute(config: RunConfig, options: PipelineOptions, handler: RepNetModelHandler, show: int) -> int:
    """Runs the pipeline, prints the results and returns the exit code."""
    provenance = make_provenance(config, datetime.datetime.now(datetime.timezone.utc))
    warehouse, run_id = config.warehouse, provenance.run_id
    progress_path = os.path.join(warehouse.staging_folder(run_id), "progress")
    started_sec = time.monotonic()
    try:
        warehouse.prepare()
    except WarehouseError as error:
        _complain(str(error))
        return 2
    try:
        os.makedirs(os.path.dirname(progress_path), exist_ok=True)
        with _progress(config.source, progress_path):
            pipeline = beam.Pipeline(options=options)
            build_pipeline(pipeline, config, provenance, handler, progress_path)
            result = pipeline.run()
            state = result.wait_until_finish()
        totals = warehouse.run_totals(run_id)
        results = warehouse.run_results(run_id, show)
        num_results = warehouse.num_run_results(run_id)
    except (WarehouseError, OSError) as error:
        _complain(f"run {run_id}: {error}")
        return 1
    except Exception as error:  # whatever a runner raises: the log has the trace, people get a line
        logging.getLogger(__name__).debug("The run failed.", exc_info=True)
        _complain(f"run {run_id} failed; the table `runs` has it only if it was committed: {describe_error(error)}")
        return 1
    finally:
        warehouse.remove_staging(run_id)
    console = Console()
    console.print(results_table(result_rows(results)))
    if totals is not None:
        if len(results) < num_results:
            console.print(f"The first {len(results):,} of {num_results:,} videos.", highlight=False)
        times = read_stage_times(result)
        print(summary_line(run_id, totals, time.monotonic() - started_sec, times))
        print(f"tables: {printable(warehouse.path)}")
    return _exit_code(run_id, state, totals)


def _exit_code(run_id: str, state: str, totals: RunTotals | None) -> int:
    """Returns 0 only if the runner says that it is done and every listed video is accounted for."""
    if state != PipelineState.DONE or totals is None:
        _complain(f"run {run_id} ended as {state}, and nothing of it was committed")
        return 1
    if not totals.is_balanced:
        _complain(
            f"run {run_id} lost videos: listed {totals.listed}, but counted {totals.counted}, failed {totals.failed}, "
            f"skipped {totals.skipped}"
        )
        return 1
    return 0


def _complain(message: str) -> None:
    """Prints one line on standard error, whatever names are in it."""
    print(f"repcount run: {printable(message)}", file=sys.stderr)


@contextlib.contextmanager
def _progress(source: SourceConfig, path: str) -> Iterator[None]:
    """Shows on standard error how many videos have been scored, while the body runs."""
    total = len({video for pattern in source.patterns for video in list_videos(pattern, source.suffixes)})
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"Counting {total:,} videos …", file=sys.stderr, flush=True)
        yield
        return
    columns = (TextColumn("Counting"), BarColumn(), MofNCompleteColumn(), TextColumn("videos"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        with _repeating(lambda: bar.update(task, completed=finished_videos(path))):
            yield


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
