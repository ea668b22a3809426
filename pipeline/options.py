"""The options that every command with a model has: model, decoding and counting, and the frozen configurations they become."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from model import storage
from model.config import WINDOW_FRAMES
from model.counting_options import CountingOptions, StrideRule
from model.logits import chunk_frames
from model.precision import PRECISIONS, best_precision
from model.presets import DEFAULT_PRESET, PRESETS, LoadedModel
from pipeline.command_line import UsageError, natural_number
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse

MAX_CHUNK_FRAMES = 24 * WINDOW_FRAMES
"""Frames of a chunk beyond which strides are refused: 58 MB, and half a gigabyte of the published network's taps."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds what decides the numbers, and what computes them: model, decoding, counting. Those left out are the model's own."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=DEFAULT_PRESET,
        metavar="NAME|PATH",
        help=f"{', '.join(PRESETS)}, or the path of a weights file or checkpoint. Default: %(default)s",
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
    model.add_argument(  # the former name of --batch_frames
        "--frames_at_once", dest="batch_frames", type=natural_number, default=argparse.SUPPRESS, help=argparse.SUPPRESS
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


def make_warehouse(output: str, temp_location: str | None) -> Warehouse:
    """Returns the tables that `--output` names; raises UsageError.

    Args:
      output: Value of `--output`.
      temp_location: `gs://` folder that BigQuery loads rows from. "" if no rows will be written.
    """
    from transforms.warehouse.open import open_warehouse  # BigQuery's client takes a second to import

    try:
        return open_warehouse(output, temp_location)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between them. Received: {text!r}") from None
