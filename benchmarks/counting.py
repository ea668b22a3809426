"""Measures counting by the vote of all strides on drawn videos: the vote's time, and the bytes that wait for it.

    python -m benchmarks.counting [--videos 20] [--first_seed 0] [--weights FILE]

Drawn videos are joined to videos of a minute. The time is compared with that of the same vote without shortcuts
(`benchmarks.plain_vote`), in turns on the same videos. The bytes are compared with those of the logits. Prints both per minute
of video, their ratios, and the largest change of a count that the rounding of what waits makes. Stops if the two votes find
different paths.
"""

from __future__ import annotations

import datetime
import os
import pickle
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import plain_vote
from benchmarks.drawn_videos import parse_options
from benchmarks.report import print_result
from model import voting
from model.config import FRAME_SIZE
from model.counting import count_evidence, count_repetitions
from model.counting_options import CountingOptions
from model.logits import StrideLogits
from model.scoring import Scorer
from model.training.videos import draw_video
from model.voting import Votes
from transforms.evidence import ChunkEvidence, reduce_or_fail, unpack
from transforms.records import ChunkScores, VideoRef

T = TypeVar("T")

MINUTE_FRAMES = 1800
"""Frames of a minute at 30 frames per second."""

_TURNS = 3


class Vote(Protocol):
    """A way to vote: `model.voting`, or the same without shortcuts."""

    def collect_votes(self, logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, repeats: int = 1) -> Votes:
        """Returns the votes of all strides together."""
        ...

    def find_path(self, votes: np.ndarray, rest_vote: float) -> np.ndarray:
        """Returns the most likely path of the period through the video."""
        ...


def main(argv: Sequence[str] | None = None) -> None:
    """Draws, scores and counts each video, and prints the results."""
    video_ref = VideoRef("gs://gym/squats.mp4", 1, 1, datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC))
    seeds, loaded = parse_options(__doc__, argv)
    options, offset = loaded.preset.counting, loaded.network.config.period_offset
    ours: Vote = voting
    plain: Vote = plain_vote
    seconds, minutes = dict.fromkeys(("vote", "plain_vote", "count"), 0.0), 0.0
    num_bytes, change = dict.fromkeys(("logits", "evidence"), 0), 0.0
    scorer = Scorer(loaded.network, loaded.preset.strides, overlap_from=loaded.preset.overlap_from)
    for frames in draw_minutes(seeds):
        num_frames, logits = len(frames), scorer.score(frames)
        minutes += num_frames / MINUTE_FRAMES
        path, path_sec = _timed(lambda: find_path(ours, logits, num_frames, offset, options))  # noqa: B023
        expected, plain_sec = _timed(lambda: find_path(plain, logits, num_frames, offset, options))  # noqa: B023
        counted, count_sec = _timed(lambda: count_repetitions(logits, num_frames, offset, options))  # noqa: B023
        for name, spent_sec in (("vote", path_sec), ("plain_vote", plain_sec), ("count", count_sec)):
            seconds[name] += spent_sec
        if not np.array_equal(path, expected):
            raise SystemExit("the paths differ")
        scores = ChunkScores(video_ref, 0, logits, np.arange(num_frames) / 30, None)
        reduced = reduce_or_fail(scores, options, offset)
        if not isinstance(reduced, ChunkEvidence):
            raise SystemExit(f"a video cannot be counted: {reduced.message}")
        num_bytes["logits"] += len(pickle.dumps(scores))
        num_bytes["evidence"] += len(pickle.dumps(reduced))
        change = max(change, abs(count_evidence(unpack(reduced.packed)[0], options).count - counted.count))
    msec = {name: round(1000 * spent_sec / minutes, 1) for name, spent_sec in seconds.items()}
    kilobytes = {name: round(size / 1000 / minutes, 1) for name, size in num_bytes.items()}
    ratio, bytes_ratio = seconds["plain_vote"] / seconds["vote"], num_bytes["logits"] / num_bytes["evidence"]
    print(
        f"per minute of video: vote {msec['vote']} ms, without shortcuts {msec['plain_vote']} ms, ratio {ratio:.1f}; "
        f"counting as a whole {msec['count']} ms; logits {kilobytes['logits']} kB, what waits {kilobytes['evidence']} kB, "
        f"ratio {bytes_ratio:.1f}; largest change of a count {change:.6f}"
    )
    print_result(
        "counting",
        videos=len(seeds),
        minutes=round(minutes, 1),
        core_msec_per_minute=msec,
        ratio=round(ratio, 1),
        kilobytes_per_minute=kilobytes,
        bytes_ratio=round(bytes_ratio, 1),
        largest_change=round(change, 6),
    )


def draw_minutes(seeds: range) -> Iterator[np.ndarray]:
    """Draws videos, and yields a minute of frames, (n, 112, 112, 3) uint8, at a time; the last is shorter."""
    frames = np.zeros((0, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    for seed in seeds:
        frames = np.concatenate([frames, draw_video(seed).frames])
        while len(frames) >= MINUTE_FRAMES or (seed == seeds[-1] and len(frames)):
            yield frames[:MINUTE_FRAMES]
            frames = frames[MINUTE_FRAMES:]


def find_path(
    vote: Vote, logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, options: CountingOptions
) -> np.ndarray:
    """Returns the path that a way to vote finds, (num_steps,) int64; see `model.voting.find_path`."""
    votes = vote.collect_votes(logits, num_frames, period_offset).votes
    return vote.find_path(votes, options.score_threshold(votes.max(axis=1)))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Returns the result of `work`, and the median processor time in seconds that it takes."""
    spent_sec = []
    for _ in range(_TURNS):
        started_sec = time.process_time()
        result = work()
        spent_sec.append(time.process_time() - started_sec)
    return result, statistics.median(spent_sec)


if __name__ == "__main__":
    main()
