"""`repcount count VIDEO…`: counts videos here and now and prints the counts. No pipeline, no tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from pipeline.count_formats import Outcome
from pipeline.count_outputs import add_output_options, check_output_options, make_outputs
from pipeline.count_progress import show_videos
from pipeline.counter import Counter, count_video, load_counter
from pipeline.options import add_listing_options, add_model_options, make_suffixes
from pipeline.progress_display import announce
from transforms.left_out import LeftOutAccount, left_out_line
from transforms.matching import check_matches, match_videos
from transforms.records import Failure, FrameChunk


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `count` to the commands."""
    parser = subparsers.add_parser(
        "count",
        description="Counts the repetitions in videos and prints the counts. Exit code: 0 if all videos were counted, 1 if "
        "some failed or cannot be looked at, 2 if the command line is invalid, 130 if it was interrupted.",
        examples=[
            "repcount count squats.mp4",
            "repcount count --json 'gs://gym/2026-01-31/**' > counts.jsonl",
            "repcount count --format srt squats.mp4 > squats.srt",
            "repcount count --format csv videos/ > counts.csv",
            "repcount count --plot squats.png squats.mp4",
            "repcount count --annotate counted.mp4 squats.mp4",
            "repcount count --format vtt --output_dir subtitles videos/",
        ],
    )
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="a file, a directory or a pattern such as 'dir/**.mp4', local or gs://"
    )
    add_output_options(parser.add_argument_group("output"))
    add_listing_options(parser.add_argument_group("videos"))
    add_model_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, *, load_counter: Callable[[argparse.Namespace], Counter] = load_counter) -> int:
    """Counts `args.videos` and prints the results; returns the exit code.

    Raises:
      UserError: The command line is invalid, a pattern matches nothing, or the model cannot be loaded.
    """
    check_output_options(args)
    suffixes = make_suffixes(args)
    check_matches(args.videos, suffixes, args.billing_project)
    account = LeftOutAccount()
    videos = list(
        dict.fromkeys(
            video for pattern in args.videos for video in sorted(match_videos(pattern, suffixes, account, args.billing_project))
        )
    )
    if account.numbers and not getattr(args, "quiet", False):
        print(f"repcount count: {left_out_line(account.numbers)}", file=sys.stderr)
    for lost in account.lost:
        print(f"repcount count: {lost}", file=sys.stderr)
    outputs = make_outputs(args, videos)

    def watch(chunk: FrameChunk) -> None:
        for output in outputs:
            output.watch(chunk)

    with announce(f"Loading model {args.model} …"):
        counter = load_counter(args)
    is_good = not account.lost
    try:
        with show_videos(len(videos)) as progress:
            for video in videos:
                progress.begin(video.uri)
                started = time.perf_counter()
                result = count_video(video, counter, watch)
                outcome = Outcome(result, counter, wall_sec=time.perf_counter() - started)
                is_good = is_good and not isinstance(result, Failure)
                with progress.printing():
                    for output in outputs:
                        output.write(outcome)
    finally:
        for output in outputs:
            output.close()
    return 0 if is_good and all(output.is_complete for output in outputs) else 1
