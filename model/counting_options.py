"""The options that turn logits into a count."""

from __future__ import annotations

import dataclasses
import enum
import math

import numpy as np

from model.certainty import FEATURES

PEAK_PERCENTILE = 90
"""Percentile of the frames' scores that counts as their peak. A set may fill only a tenth of a video; a glitch fills less."""


class StrideRule(enum.StrEnum):
    """Which strides count: the best one by its real frames, the best one by its padding too, or all strides by vote."""

    REAL_FRAMES = "real_frames"
    NOTEBOOK = "notebook"
    VOTE = "vote"


@dataclasses.dataclass(frozen=True)
class CountingOptions:
    """How logits become a count.

    Attributes:
      stride_rule: How strides are chosen. REAL_FRAMES: the stride with the highest mean score over positions that show a frame
        of the video. NOTEBOOK, the authors' rule: the mean also includes the repeats of the last frame that fill windows and
        batches, which penalizes high strides in short videos. VOTE: all strides vote on the period at each time step, see
        `model.voting`. The value of a member, a string, is accepted too.
      video_threshold: Lowest confidence, 0..1, at which a video counts; below it the count is 0. The notebook's `threshold`.
      frame_threshold: Score, 0..1, above which a frame is periodic. The notebook's `within_period_threshold`. With VOTE, the
        score given to "not repeating"; higher counts fewer repetitions.
      median_filter: Whether to smooth the periodic frames and their periods with a median over five frames. VOTE ignores it:
        its path is already smooth.
      constant_speed: Whether to use one period for the whole video: the most likely one on average over the periodic frames.
      fully_periodic: Whether to set `frame_threshold` to 0, so that every frame with a countable period counts.
      batch_windows: Windows per batch, padding included; at least 1. Used by the NOTEBOOK rule only.
      peak_share: Share, 0..1, of the video's own peak score (the 90th percentile over its frames) that a periodic frame must
        also reach. Where the network is sure of a set, this drops doubtful frames before and after it. 0, as in the notebook,
        turns it off.
      interpolate_periods: Whether to place periods between classes, by the probabilities of the most likely class and its two
        neighbours. Otherwise, as in the notebook, a period at stride s is a multiple of s frames.
      certainty: Coefficients of the probability that a count is within one, fitted for these options; see `model.certainty`.
        Empty for none. Used with VOTE only.
    """

    stride_rule: StrideRule = StrideRule.REAL_FRAMES
    video_threshold: float = 0.2
    frame_threshold: float = 0.5
    median_filter: bool = True
    constant_speed: bool = False
    fully_periodic: bool = False
    batch_windows: int = 20
    peak_share: float = 0.0
    interpolate_periods: bool = False
    certainty: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError if an option is out of its range."""
        if self.stride_rule not in list(StrideRule):
            names = ", ".join(rule.value for rule in StrideRule)
            raise ValueError(f"stride_rule must be one of {names}. Received: {self.stride_rule!r}")
        object.__setattr__(self, "stride_rule", StrideRule(self.stride_rule))
        for name in ("median_filter", "constant_speed", "fully_periodic", "interpolate_periods"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false. Received: {getattr(self, name)!r}")
        for name in ("video_threshold", "frame_threshold", "peak_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be within 0..1. Received: {value!r}")
        object.__setattr__(self, "certainty", tuple(self.certainty))
        if len(self.certainty) not in (0, len(FEATURES)):
            raise ValueError(f"certainty must have {len(FEATURES)} coefficients, or none. Received: {self.certainty}")
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in self.certainty):
            raise ValueError(f"coefficients of certainty must be finite numbers. Received: {self.certainty}")
        if not isinstance(self.batch_windows, int) or self.batch_windows < 1:
            raise ValueError(f"batch_windows must be a whole number of at least 1. Received: {self.batch_windows!r}")

    def score_threshold(self, scores: np.ndarray) -> float:
        """Returns the score above which a frame, or a time step, is periodic in a video with these `scores`, (n,) in 0..1."""
        if self.fully_periodic:
            return 0.0
        return max(self.frame_threshold, self.peak_share * float(np.percentile(scores, PEAK_PERCENTILE)))
