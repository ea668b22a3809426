"""The options of a run: what the command line says, as frozen configuration that the rest of `pipeline` takes."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from model import storage
from model.config import WINDOW_FRAMES
from model.counting import CountingOptions, StrideRule
from model.logits import chunk_frames
from model.precision import PRECISIONS, best_precision
from model.presets import DEFAULT_PRESET, PRESETS, LoadedModel
from pipeline.dates import parse_days, parse_moment, with_dates
from transforms.decoding.options import DecodingOptions
from transforms.failure_codes import FailureCode
from transforms.inference import ModelConfig
from transforms.listing import VIDEO_SUFFIXES, ListingFilter
from transforms.staging import FailureLimit
from transforms.warehouse.base import Selection
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.open import parse_output
from transforms.warehouse.rows import canonical_json

LOCAL_RUNNER = "FnApiRunner"
"""Beam's runner inside this process. Its `DirectRunner` would first look for a program that may have to be downloaded."""

LOCAL_RUNNERS = (LOCAL_RUNNER, "DirectRunner")
"""Runners whose workers reach the files of this machine."""

AnyWarehouse = DuckDBWarehouse | BigQueryWarehouse

MAX_CHUNK_FRAMES = 24 * WINDOW_FRAMES
"""Frames of a chunk beyond which strides are refused: 58 MB, and half a gigabyte of the published network's taps."""


class UsageError(ValueError):
    """Something on the command line cannot be meant; one line for people."""


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """Which videos to count.

    Attributes:
      patterns: files, directories or patterns, local or `gs://`.
      suffixes: ends of names that make an object that a wildcard matches a video.
      listing_filter: which of those that match.
      selection: which of those that are listed.
    """

    patterns: tuple[str, ...]
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES
    listing_filter: ListingFilter = dataclasses.field(default_factory=ListingFilter)
    selection: Selection = dataclasses.field(default_factory=Selection)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything about a run.

    Attributes:
      source: which videos.
      decoding: how they become frames.
      model: what scores the frames.
      counting: how scores become counts.
      warehouse: where the rows go.
      failure_limit: how many videos may fail.
      accelerator: what workers that score must have, if others do not have it; see `transforms.inference.ScoreChunks`.
    """

    source: SourceConfig
    decoding: DecodingOptions
    model: ModelConfig
    counting: CountingOptions
    warehouse: AnyWarehouse
    failure_limit: FailureLimit = dataclasses.field(default_factory=FailureLimit)
    accelerator: str = ""

    @property
    def options_json(self) -> str:
        """The options that decide the numbers in a row, as JSON that is the same for the same options.

        Precision is not among them: it is a column of the row, and a change of hardware is no reason to count again.
        """
        return canonical_json(
            {
                "counting": dataclasses.asdict(self.counting),
                "max_fps": self.decoding.max_fps,
                "strides": self.model.strides,
                "model_sha256": self.model.sha256,
            }
        )


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        """Takes what ArgumentParser takes, and `examples`: command lines to show at the end of the help."""
        if examples:
            kwargs |= {"epilog": "\n  ".join(["examples:", *examples]), "formatter_class": _ExamplesFormatter}
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with code 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; --help lists the options.\n")


class _ExamplesFormatter(argparse.HelpFormatter):
    """Wraps text to the terminal's width, except for examples, whose lines it keeps."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds what decides the numbers, and what computes them: model, decoding, counting. Those left out are the model's own."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=DEFAULT_PRESET,
        metavar="NAME|PATH",
        help="lite, repnet-2020, repnet-2025, or a checkpoint's path. Default: %(default)s",
    )
    model.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="number format of the network. Default: what suits --gpu; else bfloat16 where this processor multiplies matrices "
        "of it, and float32 where not",
    )
    model.add_argument(
        "--batch_frames",
        type=natural_number,
        default=ModelConfig.batch_frames,
        metavar="N",
        help="frames that the network takes together, halved where memory runs out. Default: %(default)s; with --gpu, 256",
    )
    model.add_argument(
        "--require_gpu", action="store_true", help="fail where there is no GPU to score with. Default: only with --gpu"
    )
    model.add_argument(
        "--strides",
        type=_whole_numbers,
        metavar="N[,N…]",
        help="steps between the frames of a window; every stride is scored, and --stride_rule says which count. Default: the "
        "model's",
    )
    decoding = parser.add_argument_group("decoding")
    decoding.add_argument(
        "--max_fps",
        type=float,
        default=DecodingOptions.max_fps,
        metavar="HZ",
        help="frames a second that are looked at, at most. Default: %(default)g",
    )
    for name, kind, metavar, text in (
        ("max_bytes", natural_number, "N", "bytes of a file beyond which it is not read"),
        ("max_sec", float, "SEC", "seconds of video beyond which it is not counted"),
        ("max_frames", natural_number, "N", "frames beyond which it is not counted"),
        ("max_pixels", natural_number, "N", "pixels of a frame beyond which it is not counted"),
        ("timeout_sec", float, "SEC", "seconds without a frame after which decoding is given up"),
        ("max_memory_bytes", natural_number, "N", "memory that decoding one video may take"),
    ):
        default = getattr(DecodingOptions, name)
        decoding.add_argument(
            f"--{name}", type=kind, default=default, metavar=metavar, help=f"{text}. Default: {default:,.12g}"
        )
    counting = parser.add_argument_group("counting")
    counting.add_argument(
        "--stride_rule",
        choices=[rule.value for rule in StrideRule],
        help="which strides count: the best over the frames there are, the best as the authors' notebook scores them, or all "
        "by vote. Default: the model's",
    )
    counting.add_argument(
        "--video_threshold", type=float, metavar="0..1", help="confidence below which a video counts 0. Default: the model's"
    )
    counting.add_argument(
        "--frame_threshold",
        type=float,
        metavar="0..1",
        help="periodicity above which a frame counts; with a vote, what rest is worth. Default: the model's",
    )
    counting.add_argument(
        "--peak_share",
        type=float,
        metavar="0..1",
        help="share of the video's own peak periodicity that a frame must reach as well to count. Default: the model's",
    )
    counting.add_argument(
        "--constant_speed", action="store_true", default=None, help="one period for the whole video. Default: off"
    )
    counting.add_argument(
        "--fully_periodic", action="store_true", default=None, help="every frame counts. Default: only those that repeat"
    )


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Adds what decides which videos are counted."""
    source = parser.add_argument_group("videos")
    source.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="PATTERN",
        help="a file, a directory, or a pattern such as 'dir/**.mp4' or 'gs://bucket/2026/**'; may be repeated",
    )
    source.add_argument(
        "--mode",
        choices=("new", "all"),
        default="new",
        help="new: leave out videos that the tables have already, counted or failed, for this model and these options. all: "
        "count everything again. Default: %(default)s",
    )
    source.add_argument(
        "--requeue",
        type=_failure_codes,
        default=(),
        metavar="CODE[,CODE…]",
        help="with --mode=new, try again what failed with these codes, such as GONE,READ_ERROR",
    )
    source.add_argument(
        "--dates",
        type=parse_days,
        metavar="DAY[..DAY]",
        help="days to put in the place of {date} in each input, such as 2026-01-01..2026-01-31 or yesterday..today; "
        "{date:%%Y/%%m/%%d} spells them otherwise",
    )
    source.add_argument(
        "--updated_after", type=parse_moment, metavar="TIME", help="leave out videos uploaded before this day or time (UTC)"
    )
    source.add_argument(
        "--updated_before",
        type=parse_moment,
        metavar="TIME",
        help="leave out videos uploaded at this day or time or later (UTC)",
    )
    source.add_argument(
        "--sample",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="take this share of the videos, the same ones every time. Default: %(default)g, all",
    )
    source.add_argument(
        "--limit", type=natural_number, metavar="N", help="count N videos at most, those uploaded first, and leave the others"
    )


def make_source(args: argparse.Namespace) -> SourceConfig:
    """Returns which videos to count; raises UsageError."""
    try:
        return SourceConfig(
            patterns=tuple(with_dates(args.input, args.dates)),
            listing_filter=ListingFilter(args.updated_after, args.updated_before, args.sample),
            selection=Selection(args.mode == "new", args.requeue, args.limit),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_failure_limit(args: argparse.Namespace) -> FailureLimit:
    """Returns how many videos may fail; raises UsageError."""
    try:
        return FailureLimit(args.max_failure_ratio)
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_decoding(args: argparse.Namespace, strides: Sequence[int]) -> DecodingOptions:
    """Returns how to decode, in chunks that fit the strides; raises UsageError."""
    try:
        names = ("max_fps", "max_bytes", "max_sec", "max_frames", "max_pixels", "timeout_sec", "max_memory_bytes")
        return DecodingOptions(chunk_frames=chunk_frames(strides), **{name: getattr(args, name) for name in names})
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_model(args: argparse.Namespace, loaded: LoadedModel) -> ModelConfig:
    """Returns what scores; raises UsageError."""
    strides = args.strides or loaded.preset.strides
    if min(strides) < 1 or len(set(strides)) != len(strides):
        raise UsageError(f"--strides must be different whole numbers of at least 1. Received: {','.join(map(str, strides))}")
    if chunk_frames(strides) > MAX_CHUNK_FRAMES:
        raise UsageError(
            f"--strides must have a least common multiple of at most {MAX_CHUNK_FRAMES // WINDOW_FRAMES}, since that many "
            f"windows of frames are in memory. Received: {','.join(map(str, strides))}"
        )
    if args.batch_frames < 1:
        raise UsageError(f"--batch_frames must be at least 1. Received: {args.batch_frames}")
    return ModelConfig(
        name=_full_name(args.model),
        sha256=loaded.sha256,
        strides=tuple(strides),
        precision=best_precision() if args.precision == "auto" else args.precision,
        period_offset=loaded.preset.config.period_offset,
        batch_frames=args.batch_frames,
        require_gpu=args.require_gpu,
    )


def _full_name(model: str) -> str:
    """Returns a preset's name as it is, and a path such that it means the same from any folder: it is part of a row's key."""
    return model if model in PRESETS or storage.is_remote(model) else os.path.abspath(model)


def make_counting(args: argparse.Namespace, loaded: LoadedModel) -> CountingOptions:
    """Returns how to count: the model's own options, changed by those that were given; raises UsageError."""
    names = ("stride_rule", "video_threshold", "frame_threshold", "peak_share", "constant_speed", "fully_periodic")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    try:
        return dataclasses.replace(loaded.preset.counting, **given)
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_warehouse(output: str, temp_location: str | None) -> AnyWarehouse:
    """Returns where the rows go, by way of `temp_location` if that is BigQuery; raises UsageError."""
    try:
        return parse_output(output, temp_location)
    except ValueError as error:
        raise UsageError(str(error)) from error


def natural_number(text: str) -> int:
    """Parses a whole number of at least 0, for argparse."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0. Received: {text!r}")
    return int(text)


def _failure_codes(text: str) -> tuple[str, ...]:
    codes = tuple(dict.fromkeys(text.split(",")))
    known = [code.value for code in FailureCode]
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(known)}. Received: {unknown[0]!r}")
    return codes


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between them. Received: {text!r}") from None
