"""What `repcount count` makes of each video: lines on standard output, and files. To add a kind, subclass `Output`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import count_annotation, count_plot, plotting
from pipeline.command_line import UsageError
from pipeline.count_formats import SUBTITLE_FORMATS, TEXT_FORMATS, Outcome, to_text
from pipeline.counted_video import describe
from pipeline.kept_frames import KeptFrames
from pipeline.output_files import check_file, check_folder, check_no_input, derive_names, write_text
from pipeline.results_table import is_terminal, print_line, print_results
from transforms.objects import is_local
from transforms.records import FrameChunk, VideoCount, VideoRef, VideoResult
from transforms.text import printable


class Output:
    """Something that is made of each video. `watch` sees its chunks, then `write` gets its count or failure.

    Attributes:
      is_complete: False if it could not be made of some video that was counted.
    """

    is_complete: bool = True

    def watch(self, chunk: FrameChunk) -> None:
        """Takes the next chunk of the video's frames; its `index` is 0 if a new video begins."""

    def write(self, outcome: Outcome) -> None:
        """Makes the output of the video; raises OSError if it cannot be written."""

    def close(self) -> None:
        """Ends the output, also after an error or an interruption."""


class PrintTable(Output):
    """Prints a table at the end on a terminal, else a line per video."""

    def __init__(self) -> None:
        self._results: list[VideoResult] = []

    def write(self, outcome: Outcome) -> None:
        """Prints the line, or keeps it for the table."""
        result = VideoResult.of(outcome.result, wall_sec=outcome.wall_sec)
        if is_terminal():
            self._results.append(result)
        else:
            print_line(result)

    def close(self) -> None:
        """Prints the table; an interrupted command prints what it has counted."""
        if self._results:
            print_results(self._results)


class PrintText(Output):
    """Prints a text per video, as soon as it is counted. The subtitles of a video that failed are a line on standard error."""

    def __init__(self, text_format: str, with_curve: bool) -> None:
        self._format = text_format
        self._with_curve = with_curve
        self._is_first = True

    def write(self, outcome: Outcome) -> None:
        """Prints the text."""
        text = to_text(outcome, self._format, self._with_curve, with_header=self._is_first)
        self._is_first = False
        if text is None:
            failed = VideoResult.of(outcome.result)
            print(f"repcount count: {printable(failed.uri)}: {printable(failed.remark)}", file=sys.stderr)
        else:
            print(text, end="", flush=True)


class WriteTexts(Output):
    """Writes a file per video. A video that failed has no file of subtitles."""

    def __init__(self, text_format: str, with_curve: bool, paths: Mapping[str, Path]) -> None:
        """Takes the file of each video by its URI."""
        self._format = text_format
        self._with_curve = with_curve
        self._paths = paths

    def write(self, outcome: Outcome) -> None:
        """Writes the file."""
        text = to_text(outcome, self._format, self._with_curve)
        if text is not None:
            write_text(self._paths[outcome.result.video.uri], text)


class DrawPlots(Output):
    """Draws a picture of each counted video; of one that failed there is none."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Takes the file of each video by its URI."""
        self._paths = paths
        self._kept = KeptFrames()

    def watch(self, chunk: FrameChunk) -> None:
        """Keeps some of the frames."""
        if chunk.index == 0:
            self._kept = KeptFrames()
        self._kept.add(chunk)

    def write(self, outcome: Outcome) -> None:
        """Draws the picture."""
        if isinstance(outcome.result, VideoCount):
            similarity = outcome.counter.scorer.similarity(self._kept.frames)
            figure = count_plot.plot(describe(outcome.result, outcome.counter), self._kept, similarity)
            plotting.save(figure, self._paths[outcome.result.video.uri])


class AnnotateVideos(Output):
    """Writes each counted video once more, with its count drawn on it."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Takes the file of each video by its URI."""
        self._annotator = count_annotation.Annotator(paths)

    def write(self, outcome: Outcome) -> None:
        """Writes the annotated video; a line on standard error says so if it cannot be decoded or encoded."""
        if isinstance(outcome.result, VideoCount):
            is_written = self._annotator.annotate(outcome.result, outcome.counter.decoding)
            self.is_complete = self.is_complete and is_written

    def close(self) -> None:
        """Ends the process that annotates."""
        self._annotator.close()


def add_output_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options that say what to make of each video."""
    formats = group.add_mutually_exclusive_group()
    formats.add_argument(
        "--format",
        choices=("table", *TEXT_FORMATS),
        help="what to print. json: a line per video. csv: a row per video below a header. srt, vtt: subtitles that show the "
        "number of each repetition from when it is complete until the next one is. Default: table",
    )
    formats.add_argument("--json", dest="format", action="store_const", const="json", help="short for --format json")
    group.add_argument("--curve", action="store_true", help="add to JSON the count, periodicity and rate at each frame")
    group.add_argument(
        "--plot",
        metavar="FILE",
        help="draw the video's frames, count, periodicity and similarity, and the score of each stride, into this file. Its "
        f"suffix decides the format: {', '.join(plotting.SUFFIXES)}. With --output_dir, a suffix alone, such as png",
    )
    group.add_argument(
        "--annotate",
        metavar="FILE",
        help="write the video once more, as MP4, into this file: with the running count, repetitions a minute, a ring that "
        "fills with each repetition, and a bar of periodicity. With --output_dir, mp4 alone",
    )
    group.add_argument(
        "--output_dir",
        metavar="DIR",
        help="write a file per video into this folder instead, named after the video: squats.mp4 becomes squats.srt",
    )


def check_output_options(args: argparse.Namespace) -> None:
    """Raises UsageError if the options do not fit together, whatever the videos."""
    if args.curve and args.format != "json":
        raise UsageError(
            f"--curve needs --format json. Received: {f'--format {args.format}' if args.format else 'no --format'}"
        )
    makes_files = args.format in TEXT_FORMATS or args.plot is not None or args.annotate is not None
    if args.output_dir is not None and not makes_files:
        formats = ", ".join(TEXT_FORMATS)
        raise UsageError(
            f"--output_dir needs --plot, --annotate, or --format {formats}. Received: {args.format or 'no --format'}"
        )
    if args.annotate is not None:
        _suffix("--annotate", args.annotate, count_annotation.SUFFIXES)
    if args.plot is not None:
        _suffix("--plot", args.plot, plotting.SUFFIXES)
        plotting.import_matplotlib()  # fails here, before anything is counted, where the extra `plot` is not installed


def make_outputs(args: argparse.Namespace, videos: Sequence[VideoRef]) -> list[Output]:
    """Returns what to make of each video.

    Raises:
      UsageError: The options do not fit together or the number of videos, or a file would overwrite a video.
    """
    check_output_options(args)
    uris = [video.uri for video in videos]
    outputs: list[Output] = []
    if args.format not in TEXT_FORMATS or args.output_dir is not None:
        outputs.append(PrintTable())
    else:
        if args.format in SUBTITLE_FORMATS:
            _check_one(f"--format {args.format} prints", uris)
        outputs.append(PrintText(args.format, args.curve))
    if args.format in TEXT_FORMATS and args.output_dir is not None:
        outputs.append(WriteTexts(args.format, args.curve, derive_paths(args.output_dir, f".{args.format}", uris)))
    if args.plot is not None:
        outputs.append(DrawPlots(choose_paths("--plot", args.plot, plotting.SUFFIXES, args.output_dir, uris)))
    if args.annotate is not None:
        paths = choose_paths("--annotate", args.annotate, count_annotation.SUFFIXES, args.output_dir, uris)
        outputs.append(AnnotateVideos(paths))
    return outputs


def choose_paths(
    option: str, value: str, suffixes: Sequence[str], output_dir: str | None, uris: Sequence[str]
) -> dict[str, Path]:
    """Returns the file of each video, by its URI, for an option that takes a file; creates nothing.

    Without `output_dir`, the value is the file of the one video. With it, only the value's suffix matters.

    Args:
      option: Name of the option, for messages.
      value: Its value: a file, or a suffix with or without its dot.
      suffixes: Allowed suffixes, in lower case.
      output_dir: Folder of files per video, if there is one.
      uris: The videos.

    Raises:
      UsageError: The suffix is none of these, there are several videos and no folder, or the file cannot be written there.
    """
    suffix = _suffix(option, value, suffixes)
    if output_dir is not None:
        return derive_paths(output_dir, suffix, uris)
    path = Path(value)
    if not path.suffix:
        raise UsageError(f"{option} must be a file, or with --output_dir a suffix. Received: {value!r}")
    _check_one(f"{option} FILE takes", uris)
    if not is_local(value):
        raise UsageError(f"{option} must be a file of this machine. Received: {value!r}")
    check_file(option, path)
    check_no_input([path], uris)
    return dict.fromkeys(uris, path)


def _suffix(option: str, value: str, suffixes: Sequence[str]) -> str:
    """Returns the suffix of an option's value in lower case; raises UsageError unless it is one of `suffixes`."""
    suffix = (Path(value).suffix or f".{Path(value).name.removeprefix('.')}").lower()
    if suffix not in suffixes:
        raise UsageError(f"{option} must end with {', '.join(suffixes)}. Received: {value!r}")
    return suffix


def _check_one(what: str, uris: Sequence[str]) -> None:
    if len(uris) > 1:
        raise UsageError(f"{what} one video, and --output_dir DIR writes a file for each. Received: {len(uris)} videos")


def derive_paths(output_dir: str, suffix: str, uris: Sequence[str]) -> dict[str, Path]:
    """Returns a file in `output_dir` for each video, by its URI; creates nothing.

    Raises:
      UsageError: The folder cannot be written to, or a file would overwrite a video.
    """
    check_folder(output_dir)
    paths = {uri: Path(output_dir, f"{name}{suffix}") for uri, name in derive_names(uris).items()}
    check_no_input(paths.values(), uris)
    return paths
