"""`repcount evaluate`: counts videos with known counts and prints how accurate the counts are."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from model.evaluation import BASELINE_COUNT, Measures, measure
from pipeline import evaluation_plot
from pipeline.command_line import UsageError, natural_number
from pipeline.counter import Counter, count_video, load_counter
from pipeline.evaluation_plot import ClipCurves
from pipeline.labels import quote, read_labels
from pipeline.options import add_model_options
from pipeline.progress_display import announce, show_status
from pipeline.results_table import fit_columns, is_terminal, print_table, printable, text_table
from transforms.matching import list_videos
from transforms.objects import find_object
from transforms.records import VideoCount, VideoRef, VideoResult

_NOTHING = "–"

_NUMBERS = ("true", "count", "exact", "error", "confidence", "stride")
"""Headings of columns of numbers."""

_LEAST_NEEDED = ("stride", "confidence", "exact")
"""Headings of columns that are left out if the terminal is too narrow, the first one first."""

_NAMED_FILES = 3
"""Number of missing files that a message names."""


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video with a known count.

    Attributes:
      file: Path relative to the folder of the videos, without `.` and `..`.
      true_count: True number of repetitions, fractions included.
      video: The file in the folder.
    """

    file: str
    true_count: float
    video: VideoRef


@dataclasses.dataclass(frozen=True)
class Clip:
    """The result for a labelled video.

    Attributes:
      file: Path relative to the folder of the videos.
      true_count: True number of repetitions.
      result: Count or failure.
    """

    file: str
    true_count: float
    result: VideoResult

    @property
    def error(self) -> float | None:
        """The count minus the true count. None if the video failed."""
        return None if self.result.count is None else self.result.count - self.true_count

    @property
    def sort_key(self) -> tuple[float, str]:
        """Sorts failed videos first, then by the size of the error, largest first."""
        return -math.inf if self.error is None else -abs(self.error), self.file


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `evaluate` to the commands."""
    parser = subparsers.add_parser(
        "evaluate",
        description="Counts the labelled videos of a folder and prints how accurate the counts are. OBO: share of videos that "
        "are off by at most one. MAE: mean of |count − true| / true over videos with more than one repetition. bias: the same "
        "with its sign. The last measure is the number of videos without repetitions that count below 1. The table also shows "
        "what a counter that always answers 5 would reach. Exit code: 0 if all videos were counted; 1 if some failed, or the "
        "picture could not be written; 2 if the command line is invalid; 130 if it was interrupted.",
        examples=[
            "repcount evaluate --labels labels.csv --videos clips/",
            "repcount evaluate --labels labels.csv --videos clips/ --plot report.png --worst 8",
        ],
    )
    parser.add_argument(
        "--labels",
        required=True,
        metavar="FILE.csv",
        help="CSV file with the columns file (path below the folder of the videos) and count (true number of repetitions)",
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos, on this machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="write a picture of all counts and of the worst videos' curves to this file, which ends with "
        f"{', '.join(evaluation_plot.SUFFIXES)}. Default: no picture",
    )
    parser.add_argument(
        "--worst",
        type=natural_number,
        default=4,
        metavar="N",
        help=f"number of videos whose curves are in the picture, at most {evaluation_plot.MAX_CURVES}; those with the largest "
        "errors. Default: %(default)s",
    )
    add_model_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, *, load_counter: Callable[[argparse.Namespace], Counter] = load_counter) -> int:
    """Counts the videos that `args.labels` names and prints how accurate the counts are; returns the exit code.

    Raises:
      UserError: The command line or the labels are invalid, or the model cannot be loaded. Nothing was counted.
    """
    check_plot(args.plot, args.worst)
    labelled = find_labelled(read_labels(args.labels), args.videos)
    with announce(f"Loading model {args.model} …"):
        counter = load_counter(args)
    if unlabelled := count_unlabelled(labelled, args.videos):
        _warn(f"the folder has videos without a label, which are ignored: {unlabelled:,}")
    started_sec = time.perf_counter()
    clips, worst = count_labelled(labelled, counter, num_worst=args.worst if args.plot else 0)
    speed = _describe_speed(sum(clip.result.duration_sec or 0.0 for clip in clips), time.perf_counter() - started_sec)
    counts, true_counts = [clip.result.count for clip in clips], [clip.true_count for clip in clips]
    measures, baseline = measure(counts, true_counts), measure([BASELINE_COUNT] * len(clips), true_counts)
    if args.json:
        print(json.dumps(json_report(clips, measures, baseline, counter), allow_nan=False))
        print(speed, file=sys.stderr)
    else:
        _print_tables(clips, {counter.model.name: measures, f"always {BASELINE_COUNT:g}": baseline})
        print(speed)
    if args.plot:
        title = f"{counter.model.name}: OBO {_percent(measures.obo)}, MAE {_percent(measures.mae)}"
        try:
            evaluation_plot.save(evaluation_plot.plot(title, counts, true_counts, worst), args.plot)
        except OSError as error:
            _warn(f"cannot write the picture: {error}")
            return 1
    return 1 if None in counts else 0


def check_plot(path: Path | None, num_worst: int) -> None:
    """Checks, before anything is counted, that the picture can be drawn and written; raises UsageError."""
    if num_worst > evaluation_plot.MAX_CURVES:
        raise UsageError(f"--worst must be at most {evaluation_plot.MAX_CURVES}. Received: {num_worst}")
    if path is None:
        return
    if path.suffix.lower() not in evaluation_plot.SUFFIXES:
        raise UsageError(f"--plot must end with {', '.join(evaluation_plot.SUFFIXES)}. Received: {str(path)!r}")
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--plot must be a file in an existing, writable folder. Received: {str(path)!r}")
    import matplotlib  # noqa: F401  # Fails here, before anything is counted, where the extra `plot` is not installed.


def find_labelled(labels: Mapping[str, float], folder: str) -> list[LabelledVideo]:
    """Returns the labelled videos of a folder; raises UsageError if it is not a local folder, or lacks one of them."""
    if not os.path.isdir(folder):
        raise UsageError(f"--videos must be a folder on this machine. Received: {folder!r}")
    try:
        found = {file: find_object(os.path.join(os.path.abspath(folder), file)) for file in labels}
    except OSError as error:
        raise UsageError(f"every labelled file must be readable: {error.strerror}. Received: {error.filename!r}") from error
    missing = [file for file, video in found.items() if video is None]
    if missing:
        named = ", ".join(map(quote, missing[:_NAMED_FILES])) + (", …" if len(missing) > _NAMED_FILES else "")
        raise UsageError(
            f"every labelled file must be in the folder {folder!r}; {len(missing):,} of {len(labels):,} are missing. "
            f"Received: {named}"
        )
    return [LabelledVideo(file, labels[file], video) for file, video in found.items() if video is not None]


def count_unlabelled(labelled: Sequence[LabelledVideo], folder: str) -> int:
    """Returns the number of videos in a folder that have no label."""
    return len({video.uri for video in list_videos(folder)} - {known.video.uri for known in labelled})


def count_labelled(labelled: Sequence[LabelledVideo], counter: Counter, num_worst: int) -> tuple[list[Clip], list[ClipCurves]]:
    """Counts videos, one after the other.

    Args:
      labelled: Videos to count.
      counter: Model and options.
      num_worst: Number of counted videos whose curves are kept: those with the largest errors.

    Returns:
      The results of all videos and the kept curves, both sorted by `Clip.sort_key`.
    """
    clips: list[Clip] = []
    worst: list[tuple[Clip, ClipCurves]] = []
    with show_status() as update:
        for number, known in enumerate(labelled, start=1):
            update(f"Counting {known.file} ({number} of {len(labelled)})")
            counted = count_video(known.video, counter)
            clip = Clip(known.file, known.true_count, VideoResult.of(counted))
            clips.append(clip)
            if isinstance(counted, VideoCount):
                worst.append((clip, evaluation_plot.take_curves(known.file, known.true_count, counted)))
                worst = sorted(worst, key=lambda item: item[0].sort_key)[:num_worst]
    return sorted(clips, key=lambda clip: clip.sort_key), [curves for _, curves in worst]


def json_report(clips: Sequence[Clip], measures: Measures, baseline: Measures, counter: Counter) -> dict[str, object]:
    """Returns what `--json` prints."""
    return {
        "model": counter.model.name,
        "model_sha256": counter.model.sha256,
        "precision": counter.model.precision,
        "options": dataclasses.asdict(counter.options),
        "strides": counter.model.strides,
        "max_fps": counter.decoding.max_fps,
        "measures": dataclasses.asdict(measures),
        "baseline": dataclasses.asdict(baseline),
        "clips": [_json_clip(clip) for clip in clips],
    }


def _json_clip(clip: Clip) -> dict[str, object]:
    result = clip.result
    return {
        "file": clip.file,
        "true_count": clip.true_count,
        "count": result.count,
        "error": clip.error,
        "confidence": result.confidence,
        "stride": result.stride,
        "duration_sec": result.duration_sec,
        "flags": list(result.flags),
        "code": result.code,
        "message": result.message,
    }


def _print_tables(clips: Sequence[Clip], measures: Mapping[str, Measures]) -> None:
    """Prints a line for each video, then one for each name in `measures`."""
    rows = [_clip_cells(clip) for clip in clips]
    columns = {heading: [row[place] for row in rows] for place, heading in enumerate(("file", *_NUMBERS, "remark"))}
    if is_terminal():
        columns = fit_columns(columns, _LEAST_NEEDED, Console().width)
    print_table(text_table(list(columns), zip(*columns.values(), strict=True), _NUMBERS))
    measured = ("OBO", "MAE", "bias", "below 1 where true is 0")
    print_table(text_table(("", *measured), [(name, *_measure_cells(of)) for name, of in measures.items()], measured))


def _clip_cells(clip: Clip) -> tuple[str, ...]:
    result = clip.result
    return (
        clip.file,
        f"{clip.true_count:g}",
        _format(result.count_rounded, "d"),
        _format(result.count, ".1f"),
        _NOTHING if clip.error is None else f"{round(clip.error, 1) + 0.0:+.1f}",  # + 0.0 turns -0.0 into 0.0
        _format(result.confidence, ".2f"),
        _format(result.stride, "d"),
        result.remark,
    )


def _measure_cells(measures: Measures) -> tuple[str, ...]:
    share = measures.zero_share
    return (
        f"{_percent(measures.obo)} of {measures.num_clips}",
        f"{_percent(measures.mae)} over {measures.num_mae_clips}",
        _format(measures.bias, "+.1%"),
        _NOTHING if share is None else f"{round(share * measures.num_zero_clips)} of {measures.num_zero_clips}",
    )


def _percent(share: float | None) -> str:
    return _format(share, ".1%")


def _format(value: float | None, specification: str) -> str:
    return _NOTHING if value is None else format(value, specification).replace("%", " %")


def _describe_speed(video_sec: float, wall_sec: float) -> str:
    times = video_sec / wall_sec
    return f"{video_sec:,.1f} s of video counted in {wall_sec:,.1f} s ({times:.1f} times real time, decoding included)"


def _warn(message: str) -> None:
    print(f"repcount evaluate: {printable(message)}", file=sys.stderr)
