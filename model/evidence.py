"""What counting needs of a network's logits: far less than the logits, which wait until the whole video is scored.

Stretches of a video are reduced by themselves, as soon as they are scored. `join_evidence` then gives the same as reducing the
whole video at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model.voting import Votes, join_votes

_SCORE_UNITS = 2**40
"""Units of a total score. Whole numbers add up to the same sum in any order, so that stretches may have any length."""


@dataclasses.dataclass(frozen=True, eq=False)
class Positions:
    """The network's answer at each position of one stride, padding included.

    Attributes:
      periods: Periods in positions, (num_positions,) int16; see `counting.position_scores`.
      scores: Periodicity scores, (num_positions,) float32; see `counting.position_scores`.
      offsets: Distance of each period from its class, (num_positions,) float64 in −1..1. None without `interpolate_periods`.
      period_logits: Period logits, (num_positions, num_classes) float32. None without `constant_speed`, which needs them all.
      frozen_scores: Scores of the window that shows the last frame 64 times, (64,) float32. None unless the rule is NOTEBOOK
        and the stretch ends the video.
    """

    periods: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray | None
    period_logits: np.ndarray | None
    frozen_scores: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What counting needs of the logits of a video, or of a stretch of it.

    Attributes:
      first_frame: Number of frames before the stretch.
      num_frames: Number of sampled frames in the stretch.
      repeats: Times that windows showed each frame.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      num_classes: Number of period classes of the network.
      positions: The answer of each stride. Empty with the rule VOTE.
      score_totals: Sum of the scores that show a frame, by stride; see `total_score`. Empty with the other rules.
      votes: The votes of all strides. None with the other rules.
    """

    first_frame: int
    num_frames: int
    repeats: int
    period_offset: int
    num_classes: int
    positions: dict[int, Positions]
    score_totals: dict[int, int]
    votes: Votes | None


def total_score(scores: np.ndarray) -> int:
    """Returns the sum of scores, (n,) float32 in 0..1, as a whole number of small units, for `mean_score`."""
    return int(np.rint(scores.astype(np.float64) * _SCORE_UNITS).astype(np.int64).sum())


def mean_score(total: int, num_scores: int) -> float:
    """Returns the mean of scores whose `total_score` is known."""
    return total / (_SCORE_UNITS * num_scores)


def join_evidence(stretches: Sequence[Evidence]) -> Evidence:
    """Returns the evidence of a video from that of its stretches, in order.

    Raises:
      ValueError: A stretch does not begin where the one before ends, or the stretches have different strides.
    """
    first, last, num_frames = stretches[0], stretches[-1], 0
    for stretch in stretches:
        if stretch.first_frame != num_frames:
            raise ValueError(
                f"a stretch should begin at frame {num_frames}. Received: one that begins at {stretch.first_frame}"
            )
        num_frames += stretch.num_frames
        for name in ("positions", "score_totals"):
            if set(getattr(stretch, name)) != set(getattr(first, name)):
                raise ValueError(
                    f"all stretches should have the strides of the first, {list(getattr(first, name))}. "
                    f"Received: {list(getattr(stretch, name))}"
                )
    votes = [stretch.votes for stretch in stretches if stretch.votes is not None]
    return dataclasses.replace(
        first,
        num_frames=num_frames,
        positions={
            stride: Positions(
                periods=np.concatenate([stretch.positions[stride].periods for stretch in stretches]),
                scores=np.concatenate([stretch.positions[stride].scores for stretch in stretches]),
                offsets=_concatenate([stretch.positions[stride].offsets for stretch in stretches]),
                period_logits=_concatenate([stretch.positions[stride].period_logits for stretch in stretches]),
                frozen_scores=last.positions[stride].frozen_scores,
            )
            for stride in first.positions
        },
        score_totals={stride: sum(stretch.score_totals[stride] for stretch in stretches) for stride in first.score_totals},
        votes=join_votes(votes) if votes else None,
    )


def _concatenate(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Returns the parts joined, or None if there are none."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None
