"""Compares the vote of all strides with the same vote without shortcuts (`benchmarks.plain_vote`), on drawn videos.

    python -m benchmarks.counting [--videos 20] [--weights FILE]

Both vote on the same videos, in turns. Prints the processor time that each takes per minute of video, and their ratio. Stops if
they find different paths.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks import plain_vote
from benchmarks.drawn_videos import parse_options, score_videos
from benchmarks.report import print_result
from model import voting
from model.counting import count_repetitions
from model.counting_options import CountingOptions
from model.logits import StrideLogits
from model.voting import Votes

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
    num_videos, loaded = parse_options(__doc__, argv)
    options, offset = loaded.preset.counting, loaded.network.config.period_offset
    ours: Vote = voting
    plain: Vote = plain_vote
    seconds, minutes = dict.fromkeys(("vote", "plain_vote", "count"), 0.0), 0.0
    for video, logits in score_videos(num_videos, loaded):
        num_frames = len(video.frames)
        minutes += num_frames / MINUTE_FRAMES
        path, path_sec = _timed(lambda: find_path(ours, logits, num_frames, offset, options))  # noqa: B023
        expected, plain_sec = _timed(lambda: find_path(plain, logits, num_frames, offset, options))  # noqa: B023
        _, count_sec = _timed(lambda: count_repetitions(logits, num_frames, offset, options))  # noqa: B023
        for name, spent_sec in (("vote", path_sec), ("plain_vote", plain_sec), ("count", count_sec)):
            seconds[name] += spent_sec
        if not np.array_equal(path, expected):
            raise SystemExit(f"the paths of a video of kind {video.kind!r} differ")
    msec = {name: round(1000 * spent_sec / minutes, 1) for name, spent_sec in seconds.items()}
    ratio = round(seconds["plain_vote"] / seconds["vote"], 1)
    print(
        f"per minute of video: vote {msec['vote']} ms, without shortcuts {msec['plain_vote']} ms, ratio {ratio}; "
        f"counting as a whole {msec['count']} ms"
    )
    print_result("counting", videos=num_videos, minutes=round(minutes, 1), core_msec_per_minute=msec, ratio=ratio)


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
