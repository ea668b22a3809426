"""The configuration of a run, built from its command line and checked before anything is written."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import logging
import textwrap
from collections.abc import Callable, Sequence

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions, WorkerOptions

from model.counting_options import CountingOptions
from model.presets import PRESETS, ModelFacts, weights_path
from model.tensorflow_import import import_tensorflow
from pipeline.command_line import UsageError, nearest, use_known_spelling
from pipeline.dates import on_any_day, with_dates
from pipeline.launch import LaunchConfig, check_workers_decoder, for_workers
from pipeline.options import (
    check_decoder,
    check_sandbox,
    effective_options,
    make_counting,
    make_decoding,
    make_model,
    make_suffixes,
    make_warehouse,
)
from transforms.decoding.options import DecodingOptions
from transforms.failure_limit import FailureLimit
from transforms.matching import VIDEO_SUFFIXES, ListingFilter, check_any_matches
from transforms.objects import is_local
from transforms.records import Selection
from transforms.scoring import ModelConfig
from transforms.warehouse.base import Warehouse
from transforms.warehouse.rows import canonical_json

LOCAL_RUNNER = "FnApiRunner"
"""Beam's runner inside this process. Its `DirectRunner` would first look for a program that may have to be downloaded."""

LOCAL_RUNNERS = (LOCAL_RUNNER, "DirectRunner")
"""Runners whose workers can read and write the files of this machine."""

_TYPING_ERROR = 0.85
"""Least similarity of an option to a known one. Beam has hundreds: a name that differs by a word is another thing."""


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Which videos to count.

    Attributes:
      patterns: Files, directories or patterns, local or `gs://`.
      suffixes: Lower-case suffixes that make an object a video, for patterns with a wildcard.
      listing_filter: Filter applied to matched files: dates and sample.
      selection: Filter applied to listed files: what the tables have already, and a limit.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
      label_regex: Expression whose named groups label a video by its name: see `NameLabels`. "" for no labels.
    """

    patterns: tuple[str, ...]
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES
    listing_filter: ListingFilter = dataclasses.field(default_factory=ListingFilter)
    selection: Selection = dataclasses.field(default_factory=Selection)
    billing_project: str | None = None
    label_regex: str = ""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run does.

    Attributes:
      source: Which videos to count.
      decoding: How videos become frames.
      model: Which network scores the frames, and how.
      counting: How scores become counts.
      warehouse: Tables that get the rows.
      failure_limit: Share of videos that may fail before the run counts as failed.
      accelerator: Beam resource hint for scoring workers. "" for none. See `transforms.inference.ScoreChunks`.
      slices: Number of jobs that the videos to count are divided among. None: chosen by `pipeline.slices`.
    """

    source: SourceConfig
    decoding: DecodingOptions
    model: ModelConfig
    counting: CountingOptions
    warehouse: Warehouse
    failure_limit: FailureLimit = dataclasses.field(default_factory=FailureLimit)
    accelerator: str = ""
    slices: int | None = None

    @property
    def options_json(self) -> str:
        """The options that decide the numbers in a row, as JSON that is equal for equal options.

        Precision is not among them. It is a column of the row, and a change of hardware is no reason to count again.
        """
        return canonical_json(effective_options(self.decoding, self.model, self.counting))


def make_config(
    args: argparse.Namespace, options: PipelineOptions, launch: LaunchConfig, read_facts: Callable[[str], ModelFacts]
) -> RunConfig:
    """Returns the run that the command line asks for. Checks first that everything it needs is there; writes nothing.

    Args:
      args: Parsed options of `repcount run`.
      options: Beam's options.
      launch: How workers on Dataflow are set up.
      read_facts: Returns what the model of a name or path is.

    Raises:
      UsageError: An option is invalid.
      NoMatchError: An input matches no video.
      WeightsError: The model cannot be loaded.
      StorageError: It is on Cloud Storage, which cannot be read.
      WarehouseError: The tables cannot be written to.
    """
    temp_location = options.view_as(GoogleCloudOptions).temp_location or ""
    warehouse = make_warehouse(args.output, temp_location or None)
    source = make_source(args, *((warehouse.name, "") if warehouse.is_local else ("", temp_location.rstrip("/"))))
    failure_limit = make_failure_limit(args)
    slices = _make_slices(args.slices, launch)
    if is_local_run(options):
        check_sandbox(args)
        check_decoder(args)
    else:
        check_workers_decoder(args.decoder, launch)
        _check_reachable(options.view_as(StandardOptions).runner, warehouse, source, args.model)
    check_inputs(args.input, args.dates, source)
    warehouse.check()
    facts = read_facts(args.model)
    model = make_model(args, facts)
    if not is_local_run(options):
        model = for_workers(
            model,
            launch,
            args.precision,
            batch_frames=args.batch_frames,
            is_calibrated=facts.activation_ranges is not None,
            machine_type=options.view_as(WorkerOptions).machine_type,
        )
    elif model.require_gpu:
        _check_gpu()
    return RunConfig(
        source=source,
        # All cores are busy with other videos, and two threads take 7 to 20 % more processor time for a video than one.
        decoding=dataclasses.replace(make_decoding(args, model.strides, facts), decoder_threads=1),
        model=model,
        counting=make_counting(args, facts),
        warehouse=warehouse,
        failure_limit=failure_limit,
        accelerator=launch.scoring_accelerator,
        slices=slices,
    )


def make_pipeline_options(beam_args: Sequence[str], own_options: Sequence[str] = ()) -> PipelineOptions:
    """Returns Beam's options; raises UsageError for an option that Beam does not know or a value that it refuses.

    Args:
      beam_args: Words of the command line that only Beam may know.
      own_options: Options of the command itself, to suggest for a misspelled name.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve", exit_on_error=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(known)
    words = use_known_spelling(beam_args, known._option_string_actions)
    try:
        _, unknown = known.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UsageError(f"Beam refuses an option: {error}") from error
    if unknown and not unknown[0].startswith("-"):
        raise UsageError(
            "an option takes one value; put a pattern into quotes, or the shell replaces it by the names that it matches. "
            f"Received besides: {textwrap.shorten(' '.join(unknown), 200)}"
        )
    if unknown:
        name = unknown[0].partition("=")[0]
        spelled = name[:2] + name[2:].replace("-", "_")
        near = nearest(spelled, [*own_options, *known._option_string_actions], least=_TYPING_ERROR)
        hint = f" Did you mean {near}?" if near else ""
        raise UsageError(f"neither repcount nor Beam has the option {name}. Received: {' '.join(unknown)}.{hint}")
    options = PipelineOptions(words)
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or LOCAL_RUNNER
    return options


def is_local_run(options: PipelineOptions) -> bool:
    """Returns whether the workers of a run are on this machine."""
    return options.view_as(StandardOptions).runner in LOCAL_RUNNERS


def make_source(args: argparse.Namespace, tables: str = "", temp_location: str = "") -> SourceConfig:
    """Returns which videos to count; raises UsageError.

    Args:
      args: Parsed options of `repcount run`.
      tables: See `ListingFilter`.
      temp_location: See `ListingFilter`.
    """
    try:
        return SourceConfig(
            patterns=tuple(with_dates(args.input, args.dates)),
            suffixes=make_suffixes(args),
            listing_filter=ListingFilter(args.updated_after, args.updated_before, args.sample, tables, temp_location),
            selection=Selection(args.mode == "new", args.requeue, args.limit),
            billing_project=args.billing_project,
            label_regex=args.label_regex or "",
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_inputs(inputs: Sequence[str], days: Sequence[datetime.date] | None, source: SourceConfig) -> None:
    """Checks that each input matches a readable video; warns if it does so only on days other than `days`.

    Days without uploads are normal. An input that matches nothing on any day is misspelled.

    Raises:
      NoMatchError: An input matches no video, with days: on any day.
    """
    for pattern in inputs:
        wider = on_any_day(pattern) if days else ()
        if not check_any_matches(pattern, with_dates([pattern], days), source.suffixes, wider, source.billing_project):
            logging.getLogger(__name__).warning("This input has no videos on the days of --dates: %r", pattern)


def make_failure_limit(args: argparse.Namespace) -> FailureLimit:
    """Returns how many videos may fail; raises UsageError."""
    try:
        return FailureLimit(args.max_failure_ratio)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _make_slices(slices: int | None, launch: LaunchConfig) -> int | None:
    """Returns the number of slices; raises UsageError."""
    if slices is not None and slices < 1:
        raise UsageError(f"--slices must be at least 1. Received: {slices}")
    if slices is not None and slices > 1 and not launch.wait:
        raise UsageError(
            f"--slices runs one job after another, and --no_wait submits a single one. Received: --slices {slices}"
        )
    return slices


def _check_gpu() -> None:
    """Raises UsageError if this machine has no GPU."""
    import_tensorflow()
    from model.devices import NoGpuError, prepare_gpus

    try:
        prepare_gpus(require=True)
    except NoGpuError as error:
        raise UsageError(str(error)) from error


def _check_reachable(runner: str | None, warehouse: Warehouse, source: SourceConfig, model: str) -> None:
    """Raises UsageError if workers on other machines would need files of this machine."""
    if warehouse.is_local:
        raise UsageError(
            f"--runner must be {' or '.join(LOCAL_RUNNERS)} with a DuckDB file, which workers on other machines cannot reach. "
            f"Received: {runner}"
        )
    local = [pattern for pattern in source.patterns if is_local(pattern)]
    if local:
        raise UsageError(
            f"--input must be on gs://, since workers on other machines cannot read this machine's files. "
            f"Received: {local[0]!r}"
        )
    preset = PRESETS.get(model)
    if preset.files if preset else is_local(model):
        what = str(weights_path(preset)) if preset else "its files"
        raise UsageError(
            "--model must be on gs:// or come with the program, since workers on other machines cannot read this machine's "
            f"files. Copy {what} to a bucket. Received: {model!r}"
        )
