"""`repcount evaluate`: counts videos with known counts and prints how accurate the counts are."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from model.evaluation import measure
from pipeline import evaluation_plot, plotting
from pipeline.command_line import CommandParser, UsageError, natural_number
from pipeline.counter import Counter, load_counter
from pipeline.evaluated_clips import count_labelled, count_unlabelled, find_labelled
from pipeline.evaluation_report import Counted, Evaluation, json_report, percent, print_tables
from pipeline.labels import Label, read_labels
from pipeline.options import add_model_options
from pipeline.output_files import check_file
from pipeline.progress_display import announce
from pipeline.published_labels import PUBLISHED_SETS, read_published
from transforms.text import printable

_CSV = "csv"
"""Format of labels that `read_labels` reads."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `evaluate` to the commands."""
    parser = subparsers.add_parser(
        "evaluate",
        description="Counts the labelled videos of a folder and prints how accurate the counts are. OBO: share of videos that "
        "are off by at most one. MAE: mean of |count − true| / true over videos with more than one repetition. bias: the same "
        "with its sign. exact: videos whose rounded count is the true one. The last measure is the number of videos without "
        "repetitions that count below 1. OBO and MAE have 95 % intervals. The table also shows what a counter that "
        "always answers 5 would reach. See docs/evaluation.md. Exit code: 0 if all videos were counted; 1 if some failed, or "
        "the picture could not be written; 2 if the command line is invalid; 130 if it was interrupted.",
        examples=[
            "repcount evaluate --labels labels.csv --videos clips/",
            "repcount evaluate --labels labels.csv --videos clips/ --plot report.png --worst 8",
            "repcount evaluate --labels labels.csv --videos clips/ --compare 'lite --frame_threshold 0.2'",
            "repcount evaluate --labels countix_test.csv --labels_format countix --videos kinetics/",
        ],
    )
    parser.add_argument(
        "--labels",
        required=True,
        metavar="PATH",
        help="CSV file with the columns file (path below the folder of the videos), count (true number of repetitions) and, "
        "for parts of videos, start_sec and end_sec; or what --labels_format needs",
    )
    parser.add_argument(
        "--labels_format",
        choices=(_CSV, *PUBLISHED_SETS),
        default=_CSV,
        help="csv, or a public set as published. countix, repcount: its CSV file. ucfrep: its folder of .mat files. quva: its "
        "folder of .npy files. Default: %(default)s",
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos, on this machine")
    cast("CommandParser", parser).quoting_options = ("--compare",)
    parser.add_argument(
        "--compare",
        metavar="'MODEL [OPTION …]'",
        help="count with this model and these options as well and compare clip by clip. Options that are not named stay as "
        "they are. Default: no comparison",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="write a picture of all counts and of the worst videos' curves to this file, which ends with "
        f"{', '.join(plotting.SUFFIXES)}. Default: no picture",
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
    other_args = None if args.compare is None else parse_compared(args.compare, args)
    labels, num_missing, num_left_out = _read_labels(args)
    labelled = find_labelled(labels, args.videos)
    counter = _load(args, load_counter)
    other_counter = None if other_args is None else _load(other_args, load_counter)
    if unlabelled := count_unlabelled(labelled, args.videos):
        _warn(f"the folder has videos without a label, which are ignored: {unlabelled:,}")
    started_sec = time.perf_counter()
    clips, worst = count_labelled(labelled, counter, num_worst=args.worst if args.plot else 0)
    speed = _describe_speed(sum(clip.result.duration_sec or 0.0 for clip in clips), time.perf_counter() - started_sec)
    other = (
        None if other_counter is None else Counted(args.compare, other_counter, count_labelled(labelled, other_counter, 0)[0])
    )
    first = Counted(counter.model.name, counter, clips)
    if args.labels_format == _CSV:
        evaluation = Evaluation(first, other)
    else:
        published = PUBLISHED_SETS[args.labels_format]
        evaluation = Evaluation(first, other, published.results, num_missing, num_left_out, published.left_out)
    if args.json:
        print(json.dumps(json_report(evaluation), allow_nan=False))
        print(speed, file=sys.stderr)
    else:
        print_tables(evaluation)
        print(speed)
    if args.plot:
        counts, true_counts = evaluation.first.counts, evaluation.first.true_counts
        measures = measure(counts, true_counts)
        title = f"{counter.model.name}: OBO {percent(measures.obo)}, MAE {percent(measures.mae)}"
        try:
            plotting.save(evaluation_plot.plot(title, counts, true_counts, worst), args.plot)
        except OSError as error:
            _warn(f"cannot write the picture: {error}")
            return 1
    return 1 if any(None in counted.counts for counted in evaluation.counted) else 0


def check_plot(path: Path | None, num_worst: int) -> None:
    """Checks, before anything is counted, that the picture can be drawn and written; raises UsageError."""
    if num_worst > evaluation_plot.MAX_CURVES:
        raise UsageError(f"--worst must be at most {evaluation_plot.MAX_CURVES}. Received: {num_worst}")
    if path is None:
        return
    if path.suffix.lower() not in plotting.SUFFIXES:
        raise UsageError(f"--plot must end with {', '.join(plotting.SUFFIXES)}. Received: {str(path)!r}")
    check_file("--plot", path)
    plotting.import_matplotlib()  # fails here, before anything is counted, where the extra `plot` is not installed


def parse_compared(text: str, args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments of the model to compare with.

    Args:
      text: Value of `--compare`: a model, options, or a model and then options.
      args: Arguments of the command line, which hold where `text` names no other ones.

    Raises:
      UsageError: `text` is no command line, or changes nothing.
      SystemExit: An option is unknown or invalid; the message has been printed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--compare must be a model and options in one argument: {error}. Received: {text!r}") from error
    parser = CommandParser(prog=f"{args.prog} --compare", add_help=False)
    add_model_options(parser)
    if words and not words[0].startswith("-"):
        words.insert(0, "--model")
    compared = parser.parse_args(words, argparse.Namespace(**vars(args)))
    if vars(compared) == vars(args):
        raise UsageError(f"--compare must name another model, or an option with another value. Received: {text!r}")
    return compared


def _read_labels(args: argparse.Namespace) -> tuple[list[Label], int, int]:
    """Returns what `read_published` does; labels that are not of a public set are never left out."""
    if args.labels_format == _CSV:
        return read_labels(args.labels), 0, 0
    return read_published(args.labels_format, args.labels, args.videos)


def _load(args: argparse.Namespace, load_counter: Callable[[argparse.Namespace], Counter]) -> Counter:
    with announce(f"Loading model {args.model} …"):
        return load_counter(args)


def _describe_speed(video_sec: float, wall_sec: float) -> str:
    times = video_sec / wall_sec
    return f"{video_sec:,.1f} s of video counted in {wall_sec:,.1f} s ({times:.1f} times real time, decoding included)"


def _warn(message: str) -> None:
    print(f"repcount evaluate: {printable(message)}", file=sys.stderr)
