"""`repcount evaluate`: counts videos whose true counts are known, and says how good that was."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from model.evaluation import BASELINE_COUNT, Measures, measure
from model.presets import WeightsError
from pipeline import evaluation_plot
from pipeline.command_line import UsageError, natural_number
from pipeline.counter import Counter, count_video, load_counter
from pipeline.evaluation_plot import ClipCurves
from pipeline.options import add_model_options
from pipeline.results_table import print_table, printable, text_table
from transforms.matching import list_videos
from transforms.objects import find_object
from transforms.records import Failure, VideoCount, VideoRef

MAX_TRUE_COUNT = 1_000_000
"""Repetitions that no video has; whatever is above is not a count, but a time or an identifier in the wrong column."""

_NOTHING = "–"
_NAMED_FILES = 3  # in a message about many


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video whose true count is known.

    Attributes:
      file: path relative to the folder of the videos, as in the labels but without detours.
      true_count: repetitions, fractions included.
      video: the file as it was found.
    """

    file: str
    true_count: float
    video: VideoRef


@dataclasses.dataclass(frozen=True)
class Clip:
    """What became of a labelled video.

    Attributes:
      file: as in `LabelledVideo`.
      true_count: repetitions by its label.
      count: repetitions that were counted; None if it failed, and so the next four.
      error: count − true_count.
      confidence: 0..1.
      stride: frames from one position to the next at the stride that counted.
      duration_sec: of the video.
      flags: what a reader of the count should know.
      code: why it failed; None if it was counted, and so the next.
      message: the same for people.
    """

    file: str
    true_count: float
    count: float | None = None
    error: float | None = None
    confidence: float | None = None
    stride: int | None = None
    duration_sec: float | None = None
    flags: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None

    @property
    def badness(self) -> tuple[float, str]:
        """Orders clips: those that failed, then the greatest errors, up or down."""
        return -math.inf if self.error is None else -abs(self.error), self.file


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `evaluate` to the commands."""
    parser = subparsers.add_parser(
        "evaluate",
        help="count videos whose true counts are known, and say how good that was",
        description="Counts the labelled videos of a folder and prints how near the counts come to the truth: OBO, the share "
        "that is off by one at most; MAE, the mean of |count − true| / true over those with more than one repetition; bias, "
        "the same with its sign; and how many of those without repetitions count below 1. Beside it: what always answering 5 "
        "would reach. Exit code: 0 all counted; 1 some failed, or the picture could not be written; 2 wrong usage.",
    )
    parser.add_argument(
        "--labels",
        required=True,
        metavar="FILE.csv",
        help="CSV whose first line names its columns, among them file, a path below the folder, and count, the true one",
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos, on this machine")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help=f"picture of all counts and of the worst curves; {', '.join(evaluation_plot.SUFFIXES)}. Default: none",
    )
    parser.add_argument(
        "--worst",
        type=natural_number,
        default=4,
        metavar="N",
        help="clips with the greatest errors whose curves are in the picture. Default: %(default)s",
    )
    add_model_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, *, load_counter: Callable[[argparse.Namespace], Counter] = load_counter) -> int:
    """Counts the videos that `args.labels` names and prints how good that was; returns the exit code."""
    try:
        check_plot(args.plot, args.worst)
        labelled = find_labelled(read_labels(args.labels), args.videos)
        counter = load_counter(args)
    except (UsageError, WeightsError) as error:
        _complain(str(error))
        return 2
    if unlabelled := count_unlabelled(labelled, args.videos):
        _complain(f"videos in the folder without a label, which are left out: {unlabelled:,}")
    started_sec = time.perf_counter()
    clips, worst = count_labelled(labelled, counter, num_worst=args.worst if args.plot else 0)
    speed = _describe_speed(sum(clip.duration_sec or 0.0 for clip in clips), time.perf_counter() - started_sec)
    counts, true_counts = [clip.count for clip in clips], [clip.true_count for clip in clips]
    measures, baseline = measure(counts, true_counts), measure([BASELINE_COUNT] * len(clips), true_counts)
    if args.json:
        print(json.dumps(json_report(clips, measures, baseline, counter), allow_nan=False))
        print(speed, file=sys.stderr)
    else:
        _print_tables(clips, {counter.model.name: measures, f"always {BASELINE_COUNT:g}": baseline})
        print(speed)
    exit_code = 1 if None in counts else 0
    if args.plot:
        title = f"{counter.model.name}: OBO {_percent(measures.obo)}, MAE {_percent(measures.mae)}"
        try:
            evaluation_plot.save(evaluation_plot.plot(title, counts, true_counts, worst), args.plot)
        except OSError as error:
            _complain(f"the picture cannot be written: {error}")
            return 1
    return exit_code


def check_plot(path: Path | None, num_worst: int) -> None:
    """Makes sure, before anything is counted, that the picture can be drawn and written; raises UsageError."""
    if num_worst > evaluation_plot.MAX_CURVES:
        raise UsageError(f"--worst must be at most {evaluation_plot.MAX_CURVES}, for one picture. Received: {num_worst}")
    if path is None:
        return
    if path.suffix.lower() not in evaluation_plot.SUFFIXES:
        raise UsageError(f"--plot must end with {', '.join(evaluation_plot.SUFFIXES)}. Received: {str(path)!r}")
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--plot must be a file in a folder that exists and can be written to. Received: {str(path)!r}")


def read_labels(path: str) -> dict[str, float]:
    """Reads true counts.

    Args:
      path: CSV in UTF-8 whose first line names the columns. `file` and `count` must be among them, others are ignored, and so
        are lines without anything in them.

    Returns:
      {file: true count} in the order of the lines; files are relative to the folder of the videos, without `.` and `..`.

    Raises:
      UsageError: it cannot be read, a column is missing, or a line is not a file of its own and a count; says which line.
    """
    labels: dict[str, float] = {}
    first_lines: dict[str, int] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, strict=True)
            headings = [heading.strip() for heading in next(rows, [])]
            if headings.count("file") != 1 or headings.count("count") != 1:
                raise UsageError(
                    "the first line of the labels must name the columns file and count, each once, with commas between them. "
                    f"Received: {_quote(','.join(headings))}"
                )
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                place = f"line {rows.line_num} of the labels"
                if any(cell.strip() for cell in cells[len(headings) :]):
                    raise UsageError(
                        f"{place}: there must be as many cells as columns, {len(headings)}; one with a comma takes quotation "
                        f"marks. Received: {_quote(','.join(cells))}"
                    )
                row = dict(zip(headings, cells, strict=False))  # "" below stands for cells that a short line lacks
                file = _parse_file(row.get("file", ""), place)
                if file in labels:
                    raise UsageError(
                        f"{place}: a file must have one label, and line {first_lines[file]} has one. Received: {_quote(file)}"
                    )
                labels[file] = _parse_count(row.get("count", ""), place)
                first_lines[file] = rows.line_num
    except csv.Error as error:
        raise UsageError(f"the labels must be CSV, which line {rows.line_num} is not: {error}. Received: {path!r}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels must be text in UTF-8: {error}. Received: {path!r}") from error
    except OSError as error:
        raise UsageError(f"the labels must be a file that can be read: {error.strerror}. Received: {path!r}") from error
    if not labels:
        raise UsageError(f"the labels must have at least one line below the names of the columns. Received: {path!r}")
    return labels


def find_labelled(labels: Mapping[str, float], folder: str) -> list[LabelledVideo]:
    """Returns the labelled videos of a folder; raises UsageError if it is not a folder of this machine, or one is not in it."""
    if not os.path.isdir(folder):
        raise UsageError(f"--videos must be a folder on this machine. Received: {folder!r}")
    found = {file: find_object(os.path.join(os.path.abspath(folder), file)) for file in labels}
    missing = [file for file, video in found.items() if video is None]
    if missing:
        named = ", ".join(map(_quote, missing[:_NAMED_FILES])) + (", …" if len(missing) > _NAMED_FILES else "")
        raise UsageError(
            f"every labelled file must be in the folder {folder!r}, and {len(missing):,} of {len(labels):,} are not. "
            f"Received: {named}"
        )
    return [LabelledVideo(file, labels[file], video) for file, video in found.items() if video is not None]


def count_unlabelled(labelled: Sequence[LabelledVideo], folder: str) -> int:
    """Returns how many videos a folder holds besides the labelled ones."""
    return len({video.uri for video in list_videos(folder)} - {clip.video.uri for clip in labelled})


def count_labelled(labelled: Sequence[LabelledVideo], counter: Counter, num_worst: int) -> tuple[list[Clip], list[ClipCurves]]:
    """Counts videos one after the other.

    Args:
      labelled: which.
      counter: what counts.
      num_worst: counted clips whose curves are kept, those with the greatest errors; the others' are dropped on the way.

    Returns:
      What became of all, and the curves, both from the worst on.
    """
    clips: list[Clip] = []
    worst: list[tuple[Clip, ClipCurves]] = []
    with Console(stderr=True).status("") as status:
        for number, known in enumerate(labelled, start=1):
            status.update(Text(f"Counting {printable(known.file)} ({number} of {len(labelled)})"))
            result = count_video(known.video, counter)
            clip = make_clip(known, result)
            clips.append(clip)
            if isinstance(result, VideoCount):
                worst.append((clip, evaluation_plot.take_curves(known.file, known.true_count, result)))
                worst = sorted(worst, key=lambda item: item[0].badness)[:num_worst]
    return sorted(clips, key=lambda clip: clip.badness), [curves for _, curves in worst]


def make_clip(known: LabelledVideo, result: VideoCount | Failure) -> Clip:
    """Holds a result against the label."""
    if isinstance(result, Failure):
        return Clip(known.file, known.true_count, code=result.code.value, message=result.message)
    return Clip(
        file=known.file,
        true_count=known.true_count,
        count=result.counted.count,
        error=result.counted.count - known.true_count,
        confidence=result.counted.confidence,
        stride=result.counted.stride,
        duration_sec=result.facts.duration_sec,
        flags=tuple(flag.value for flag in result.flags),
    )


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
        "clips": [dataclasses.asdict(clip) for clip in clips],
    }


def _print_tables(clips: Sequence[Clip], measures: Mapping[str, Measures]) -> None:
    """Prints a line for each clip, then one for each name in `measures`."""
    numbers = ("true", "counted", "error", "confidence", "stride")
    print_table(text_table(("file", *numbers, "remark"), map(_clip_cells, clips), numbers))
    measured = ("OBO", "MAE", "bias", "below 1 where true is 0")
    print_table(text_table(("", *measured), [(name, *_measure_cells(of)) for name, of in measures.items()], measured))


def _clip_cells(clip: Clip) -> tuple[str, ...]:
    return (
        clip.file,
        f"{clip.true_count:g}",
        _format(clip.count, ".1f"),
        _NOTHING if clip.error is None else f"{round(clip.error, 1) + 0.0:+.1f}",  # + 0.0, since -0.0 says nothing
        _format(clip.confidence, ".2f"),
        _format(clip.stride, "d"),
        ", ".join(clip.flags) if clip.code is None else f"{clip.code}: {clip.message}",
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


def _parse_file(text: str, place: str) -> str:
    """Returns a path without detours; raises UsageError if it is not one below the folder."""
    file = os.path.normpath(text)
    if not text.strip() or "\0" in text or os.path.isabs(file) or file.split(os.sep)[0] in (os.curdir, os.pardir):
        raise UsageError(f"{place}: the file must be a path below the folder of the videos. Received: {_quote(text)}")
    return file


def _parse_count(text: str, place: str) -> float:
    try:
        count = math.nan if "_" in text else float(text)  # 1_2 is a number in Python, and a slip anywhere else
    except ValueError:
        count = math.nan
    if not 0 <= count <= MAX_TRUE_COUNT:
        raise UsageError(
            f"{place}: the count must be a number from 0 to {MAX_TRUE_COUNT:,}, such as 8 or 8.5. Received: {_quote(text)}"
        )
    return count


def _quote(text: str) -> str:
    """Returns text as it is received, cut off where it would fill the screen."""
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def _complain(message: str) -> None:
    """Prints one line on standard error, whatever names are in it."""
    print(f"repcount evaluate: {printable(message)}", file=sys.stderr)
