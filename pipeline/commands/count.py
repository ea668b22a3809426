"""`repcount count VIDEO…`: counts videos here and now and prints the counts. No pipeline, no database."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Generator

from rich.console import Console
from rich.text import Text

from model.counting import CountingOptions
from model.presets import WeightsError, load_model
from pipeline.options import UsageError, add_model_options, make_counting, make_decoding, make_model
from pipeline.results_table import print_table, printable, results_table
from transforms.counting import aggregate
from transforms.decoding.decode_videos import Reader, decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.inference import ChunkScorer, ModelConfig, score_or_fail
from transforms.listing import NoMatchError, check_matches, list_videos
from transforms.records import ChunkScores, Failure, VideoCount, VideoRef, VideoResult


@dataclasses.dataclass(frozen=True)
class Counter:
    """A model that is ready to count with.

    Attributes:
      decoding: how videos become frames; chunks fit the scorer's strides.
      scorer: network and strides.
      options: how logits become counts.
      model: what the scorer's network is.
    """

    decoding: DecodingOptions
    scorer: ChunkScorer
    options: CountingOptions
    model: ModelConfig


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
    parser.set_defaults(run=run)
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
    results: list[VideoResult] = []
    with Console(stderr=True).status("") as status:
        for number, video in enumerate(videos, start=1):
            status.update(Text(f"Counting {printable(video.uri)} ({number} of {len(videos)})"))
            started = time.perf_counter()
            counted = count_video(video, counter)
            result = VideoResult.of(counted, wall_sec=time.perf_counter() - started)
            results.append(result)
            if args.json:
                print(json.dumps(json_record(result)), flush=True)
    if not args.json:
        print_table(results_table(results))
    return 1 if any(result.code for result in results) else 0


def load_counter(args: argparse.Namespace) -> Counter:
    """Makes ready what the options of `add_model_options` ask for.

    Raises:
      UsageError: an option cannot be meant.
      WeightsError: the model cannot be had.
    """
    loaded = load_model(args.model)
    model = make_model(args, loaded)
    # They load TensorFlow, which a mistake in what came before need not wait for.
    from model.devices import NoGpuError, prepare_gpus
    from model.precision import Precision
    from model.scoring import Scorer

    try:
        prepare_gpus(require=model.require_gpu)
    except NoGpuError as error:
        raise UsageError(str(error)) from error
    return Counter(
        decoding=make_decoding(args, model.strides),
        scorer=Scorer(loaded.network, model.strides, Precision(model.precision), model.batch_frames),
        options=make_counting(args, loaded),
        model=model,
    )


def count_video(video: VideoRef, counter: Counter) -> VideoCount | Failure:
    """Decodes and scores one video chunk by chunk, up to a failure if there is one, and settles it as the pipeline does."""
    with contextlib.closing(_score_chunks(video, counter, _decoder().read)) as scores:
        return aggregate(video, scores, counter.options, counter.model.period_offset)


@functools.cache
def _decoder() -> DecoderProcess:
    """Returns what decodes all videos of this process, one after the other."""
    decoder = DecoderProcess()
    atexit.register(decoder.close)
    return decoder


def _score_chunks(video: VideoRef, counter: Counter, read: Reader) -> Generator[ChunkScores | Failure, None, None]:
    for item in decode_or_fail(video, counter.decoding, read):
        scores = item if isinstance(item, Failure) else score_or_fail(item, counter.scorer)
        yield scores
        if isinstance(scores, Failure):  # nothing that may follow changes what becomes of the video
            return


def json_record(result: VideoResult) -> dict[str, object]:
    """Returns what `--json` prints for a video."""
    return {
        "video_uri": result.uri,
        "count": result.count,
        "count_rounded": result.count_rounded,
        "confidence": result.confidence,
        "stride": result.stride,
        **(
            {"status": "counted", "flags": list(result.flags)}
            if result.code is None
            else {"status": "failed", "code": result.code, "message": result.message}
        ),
    }
