"""`repcount count VIDEO…`: counts videos here and now and prints the counts. No pipeline, no database."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.text import Text

from model.counting import CountingOptions
from model.logits import StrideLogits
from model.presets import WeightsError, load_model
from pipeline.options import UsageError, add_model_options, make_counting, make_decoding, make_model
from pipeline.results_table import ResultRow, printable, results_table
from transforms.counting import MAX_MESSAGE_CHARS, settle
from transforms.decoding import DecodeError, DecodingOptions, decode_video, local_file
from transforms.listing import NoMatchError, check_matches, list_videos
from transforms.records import ChunkScores, Failure, FailureCode, FrameChunk, Stage, VideoCount, VideoRef
from transforms.rows import rounded_count


class FrameScorer(Protocol):
    """What `model.scoring.Scorer` is to this command."""

    def score(self, frames: np.ndarray, *, is_last: bool = True) -> dict[int, StrideLogits]:
        """Returns the logits of (num_frames, 112, 112, 3) uint8 RGB frames by stride."""


@dataclasses.dataclass(frozen=True)
class Counter:
    """A model that is ready to count with.

    Attributes:
      decoding: how videos become frames; chunks fit the scorer's strides.
      scorer: network and strides.
      options: how logits become counts.
      period_offset: frames that period class 0 of the network stands for.
    """

    decoding: DecodingOptions
    scorer: FrameScorer
    options: CountingOptions
    period_offset: int


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `count` to the commands."""
    parser = subparsers.add_parser(
        "count",
        help="count videos here and now, without a pipeline or a database",
        description="Counts the repetitions in videos and prints them. Exit code: 0 all counted, 1 some failed, 2 wrong usage.",
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="a file, a directory, a pattern, or the like on gs://")
    parser.add_argument("--json", action="store_true", help="one line of JSON per video instead of a table")
    add_model_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Counts `args.videos`; returns the exit code."""
    try:
        check_matches(args.videos)
        videos = list(dict.fromkeys(video for pattern in args.videos for video in list_videos(pattern)))
        counter = load_counter(args)
    except (UsageError, NoMatchError, WeightsError) as error:
        print(f"repcount count: {printable(str(error))}", file=sys.stderr)
        return 2
    rows, failed = [], 0
    with Console(stderr=True).status("") as status:
        for number, video in enumerate(videos, start=1):
            status.update(Text(f"Counting {printable(video.uri)} ({number} of {len(videos)})"))
            started = time.perf_counter()
            result = count_video(video, counter)
            failed += isinstance(result, Failure)
            if args.json:
                print(json.dumps(json_record(result)), flush=True)
            rows.append(table_row(result, time.perf_counter() - started))
    if not args.json:
        Console().print(results_table(rows))
    return 1 if failed else 0


def load_counter(args: argparse.Namespace) -> Counter:
    """Makes ready what the options of `add_model_options` ask for.

    Raises:
      UsageError: an option cannot be meant.
      WeightsError: the model cannot be had.
    """
    from model.scoring import Precision, Scorer

    loaded = load_model(args.model)
    model = make_model(args, loaded)
    return Counter(
        decoding=make_decoding(args, model.strides),
        scorer=Scorer(loaded.network, model.strides, Precision(model.precision)),
        options=make_counting(args, loaded),
        period_offset=model.period_offset,
    )


def count_video(video: VideoRef, counter: Counter) -> VideoCount | Failure:
    """Decodes and scores one video chunk by chunk, and settles it as the pipeline does."""
    scores = _score(_decode(video, counter.decoding), counter.scorer)
    return settle(video, scores, counter.options, counter.period_offset)


def json_record(result: VideoCount | Failure) -> dict[str, object]:
    """Returns what `--json` prints of a video."""
    if isinstance(result, Failure):
        return {
            "video_uri": result.video.uri,
            "count": None,
            "count_rounded": None,
            "confidence": None,
            "stride": None,
            "status": "failed",
            "code": result.code.value,
            "message": result.message,
        }
    return {
        "video_uri": result.video.uri,
        "count": result.counted.count,
        "count_rounded": rounded_count(result.counted.count),
        "confidence": result.counted.confidence,
        "stride": result.counted.stride,
        "status": "counted",
        "flags": [flag.value for flag in result.flags],
    }


def table_row(result: VideoCount | Failure, wall_sec: float) -> ResultRow:
    """Returns a video's line of the table."""
    if isinstance(result, Failure):
        return ResultRow(result.video.uri, None, None, None, wall_sec, f"{result.code.value}: {result.message}")
    return ResultRow(
        uri=result.video.uri,
        count=result.counted.count,
        confidence=result.counted.confidence,
        video_sec=result.facts.duration_sec,
        wall_sec=wall_sec,
        remark=", ".join(flag.value for flag in result.flags),
    )


def _decode(video: VideoRef, options: DecodingOptions) -> Iterator[FrameChunk | Failure]:
    try:
        with local_file(video) as path:
            yield from decode_video(path, video, options)
    except DecodeError as error:
        yield Failure(video, Stage.DECODE, error.code, error.message)
    except Exception as error:  # whatever the decoder's libraries raise concerns this video only
        yield Failure(video, Stage.DECODE, FailureCode.READ_ERROR, _one_line(error))


def _score(decoded: Iterable[FrameChunk | Failure], scorer: FrameScorer) -> Iterator[ChunkScores | Failure]:
    for item in decoded:
        if isinstance(item, Failure):
            yield item
        else:
            try:
                logits = scorer.score(item.frames, is_last=item.facts is not None)
            except Exception as error:  # whatever the network's libraries raise concerns this video only
                yield Failure(item.video, Stage.SCORE, FailureCode.SCORING_FAILED, _one_line(error))
                return
            yield ChunkScores(item.video, item.index, logits, item.times_sec, item.facts)


def _one_line(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", MAX_MESSAGE_CHARS, placeholder=" …")
