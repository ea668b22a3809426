"""`repcount count VIDEO…`: counts videos here and now and prints the counts. No pipeline, no tables."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline.counter import Counter, count_video, load_counter
from pipeline.options import add_listing_options, add_model_options, make_suffixes
from pipeline.progress_display import announce, show_status
from pipeline.results_table import is_terminal, print_line, print_results
from transforms.left_out import LeftOutAccount, left_out_line
from transforms.matching import check_matches, match_objects
from transforms.records import VideoRef, VideoResult


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `count` to the commands."""
    parser = subparsers.add_parser(
        "count",
        description="Counts the repetitions in videos and prints the counts. Exit code: 0 if all videos were counted, 1 if "
        "some failed or cannot be looked at, 2 if the command line is invalid, 130 if it was interrupted.",
        examples=["repcount count squats.mp4", "repcount count --json 'gs://gym/2026-01-31/**' > counts.jsonl"],
    )
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="a file, a directory or a pattern such as 'dir/**.mp4', local or gs://"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON per video instead of a table")
    add_listing_options(parser.add_argument_group("videos"))
    add_model_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, *, load_counter: Callable[[argparse.Namespace], Counter] = load_counter) -> int:
    """Counts `args.videos` and prints the results; returns the exit code.

    Raises:
      UserError: The command line is invalid, a pattern matches nothing, or the model cannot be loaded.
    """
    suffixes = make_suffixes(args)
    check_matches(args.videos, suffixes, args.billing_project)
    account = LeftOutAccount()
    videos = list(
        dict.fromkeys(
            video for pattern in args.videos for video in sorted(_match(pattern, suffixes, args.billing_project, account))
        )
    )
    if account.numbers and not getattr(args, "quiet", False):
        print(f"repcount count: {left_out_line(account.numbers)}", file=sys.stderr)
    for lost in account.lost:
        print(f"repcount count: {lost}", file=sys.stderr)
    with announce(f"Loading model {args.model} …"):
        counter = load_counter(args)
    results: list[VideoResult] = []
    try:
        with show_status() as update:
            for number, video in enumerate(videos, start=1):
                update(f"Counting {video.uri} ({number} of {len(videos)})")
                started = time.perf_counter()
                counted = count_video(video, counter)
                result = VideoResult.of(counted, wall_sec=time.perf_counter() - started)
                results.append(result)
                if args.json:
                    print(json.dumps(json_record(result)), flush=True)
                elif not is_terminal():
                    print_line(result)
    finally:  # an interrupted command prints what it has counted
        if is_terminal() and not args.json:
            print_results(results)
    return 1 if account.lost or any(result.code for result in results) else 0


def _match(pattern: str, suffixes: Sequence[str], billing_project: str | None, account: LeftOutAccount) -> Iterator[VideoRef]:
    for found in match_objects(pattern, suffixes, billing_project=billing_project):
        if isinstance(found, VideoRef):
            yield found
        else:
            account.add(found)


def json_record(result: VideoResult) -> dict[str, object]:
    """Returns what `--json` prints for a video."""
    return {
        "video_uri": result.uri,
        "count": result.count,
        "count_rounded": result.count_rounded,
        "confidence": result.confidence,
        "certainty": result.certainty,
        "stride": result.stride,
        **(
            {"status": "counted", "flags": list(result.flags)}
            if result.code is None
            else {"status": "failed", "code": result.code, "message": result.message}
        ),
    }
