"""From logits to counts: by the rule of RepNet's authors, or by a vote of all strides (`model.voting`).

The authors' rule is that of their notebook ("Counting Out Time", CVPR 2020), with a stride score that leaves padding out unless
theirs is asked for. Each stride looks at every s-th frame; position k of stride s stands for frames k·s … k·s + s − 1. The
stride with the highest mean periodicity score counts the video: a periodic frame whose period is p positions counts 1/(s·p),
and the video's count is the sum over its frames.

"No period" is `inf` frames throughout, so that a rate of repetitions, 1/period, is 0 there.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping

import numpy as np

from model import voting
from model.config import WINDOW_FRAMES
from model.logits import StrideLogits

MIN_PERIOD = 3
"""Positions of the shortest period that counts; shorter ones are what the network says of a still scene."""

MEDIAN_WIDTH = 5
"""Frames of the median filter."""

PEAK_PERCENTILE = 90
"""Percentile of the frames' periodicity scores that is called their peak: a set may fill a tenth of a video, a glitch not."""

AMBIGUOUS_SCORE_SHARE = 0.95
"""Share of the best stride's score from which the next best one is as good an answer."""

AMBIGUOUS_COUNT_DIFFERENCE = 1.0
"""Repetitions by which two equally good answers may differ before the stride is called ambiguous."""

_SUM_TOLERANCE = 1e-9


class StrideRule(str, enum.Enum):
    """Which strides count: the one with the highest score, over the frames there are or over padding too, or all by vote."""

    REAL_FRAMES = "real_frames"
    NOTEBOOK = "notebook"
    VOTE = "vote"


@dataclasses.dataclass(frozen=True)
class CountingOptions:
    """How logits become a count.

    Attributes:
      stride_rule: REAL_FRAMES averages a stride's score over the positions that show a frame of the video; NOTEBOOK, as the
        authors do, also over the repeats of the last frame that fill the windows and the batches, which puts high strides of
        short videos at a disadvantage. VOTE lets all strides say together what the period is at each moment, see
        `model.voting`. A string with the value of any is taken too.
      video_threshold: a video whose confidence is below counts 0; 0..1. The notebook's `threshold`.
      frame_threshold: a frame is periodic where its periodicity score is above; 0..1. The notebook's `within_period_threshold`.
        With VOTE it is what a moment of rest is worth beside the votes for a period.
      median_filter: pass the periodic frames and their periods through a median filter of five frames. Nothing with VOTE, whose
        course of the period is as smooth as can be.
      constant_speed: let one period, that of the mean over the periodic frames, stand for the whole video.
      fully_periodic: put `frame_threshold` at 0, so that every frame with a countable period counts.
      batch_windows: windows of a batch, padding included; at least 1. Matters to the NOTEBOOK rule only.
      peak_share: a periodic frame's score must also reach this share of the video's own peak, the 90th percentile over its
        frames; 0..1. Where the network is sure of the set, half-sure frames before and after it are rest. 0, as in the
        notebook, asks for nothing.
      interpolate_periods: read periods between two classes off the probabilities of the likeliest class and its two neighbours.
        Without, as in the notebook, a period at stride s is a multiple of s frames.
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

    def __post_init__(self) -> None:
        """Raises ValueError if an option is out of its range."""
        if self.stride_rule not in list(StrideRule):
            names = ", ".join(rule.value for rule in StrideRule)
            raise ValueError(f"stride_rule must be one of {names}. Received: {self.stride_rule!r}")
        object.__setattr__(self, "stride_rule", StrideRule(self.stride_rule))
        for name in ("video_threshold", "frame_threshold", "peak_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be within 0..1. Received: {value!r}")
        if not isinstance(self.batch_windows, int) or self.batch_windows < 1:
            raise ValueError(f"batch_windows must be a whole number of at least 1. Received: {self.batch_windows!r}")


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of repetitions.

    Attributes:
      start_frame: first frame.
      end_frame: frame after the last.
      count: repetitions within.
    """

    start_frame: int
    end_frame: int
    count: float


@dataclasses.dataclass(frozen=True, eq=False)
class Counted:
    """What was counted in a video of n sampled frames.

    Frame i lasts from i to i + 1 where frames are fractional. A video whose confidence is below `video_threshold` has count 0
    and no periodic frame.

    Attributes:
      count: repetitions, fractions included: the sum of `per_frame_count`.
      confidence: 0..1, what `video_threshold` is held against: the mean of `periodicity`, with VOTE over the periodic frames
        only; with `constant_speed` the mean probability of the one period. 0 where no frame is periodic, but for the first.
      stride: frames from one position to the next at the stride with the best score, which counted unless all did.
      period_frames: mean frames a repetition takes, over the frames that count; inf where the count is 0.
      notebook_period_frames: the notebook's `pred_period`: n divided by the count, hence above `period_frames` where only a
        part of the video is periodic; with `constant_speed` the one period. Does not heed `video_threshold`; inf where nothing
        counts even so.
      stride_scores: 0..1, mean periodicity score by stride, by `stride_rule`.
      per_frame_count: (n,) float64, repetitions that each frame adds, 1/period where the frame is periodic, else 0.
      periodicity: (n,) float32, 0..1, periodicity score of each frame.
      period_frames_curve: (n,) float64, period of each frame in frames, median filter applied, whether or not the frame is
        periodic; inf where it is shorter than `MIN_PERIOD` positions. With `constant_speed` the one period throughout.
      is_periodic: (n,) bool; true exactly where `per_frame_count` is not 0.
      segments: runs of periodic frames, see `find_segments`; their counts add up to `count`.
      repetition_frames: (floor(count),) float64, fractional frames at which repetitions 1, 2, 3 … are complete, rising.
      at_period_limit: at least half of the periodic frames have the longest period that the network can tell at this stride, so
        that the true one may be longer.
      ambiguous_stride: the stride with the second best score comes within 5 % of the best and would count differently by more
        than 1; with VOTE, if the likeliest periods, each moment for itself, would count differently by more than 1.
    """

    count: float
    confidence: float
    stride: int
    period_frames: float
    notebook_period_frames: float
    stride_scores: dict[int, float]
    per_frame_count: np.ndarray
    periodicity: np.ndarray
    period_frames_curve: np.ndarray
    is_periodic: np.ndarray
    segments: tuple[Segment, ...]
    repetition_frames: np.ndarray
    at_period_limit: bool
    ambiguous_stride: bool


def count_repetitions(
    logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, options: CountingOptions
) -> Counted:
    """Counts the repetitions of a video.

    Args:
      logits: of the whole video, by stride; the first stride wins where scores tie.
      num_frames: sampled frames of the video.
      period_offset: frames that period class 0 stands for, see `RepNetConfig`.
      options: how to count.

    Returns:
      The count with its curve, segments and repetition times.

    Raises:
      ValueError: there is no frame or no stride, or the logits of a stride are not finite, do not cover exactly the windows of
        `num_frames` frames, or lack the frozen window that the NOTEBOOK rule pads batches with.
    """
    if num_frames < 1:
        raise ValueError(f"a video to count has at least one frame. Received: {num_frames}")
    if not logits:
        raise ValueError("counting needs the logits of at least one stride. Received: none")
    positions: dict[int, _Positions] = {}
    stride_scores: dict[int, float] = {}
    for stride, of_stride in logits.items():
        _check_logits(of_stride, stride, num_frames)
        periods, scores = position_scores(of_stride.period, of_stride.periodicity, period_offset)
        positions[stride] = _Positions(stride, of_stride.period, periods, scores)
        if options.stride_rule is StrideRule.NOTEBOOK:
            frozen_scores = _frozen_scores(of_stride, period_offset)
            stride_scores[stride] = notebook_score(scores, frozen_scores, options.batch_windows)
        else:
            stride_scores[stride] = real_frames_score(scores, stride, num_frames)

    best, *others = sorted(stride_scores, key=lambda stride: -stride_scores[stride])
    last_class = logits[best].period.shape[1] - 1 + period_offset
    if options.stride_rule is StrideRule.VOTE:
        chosen, ambiguous = _count_by_vote(logits, num_frames, period_offset, options)
        longest_period = max(logits) * (last_class - 0.5)
    else:
        chosen, ambiguous = _count_at_stride(positions[best], num_frames, period_offset, options), False
        longest_period = best * (last_class - 0.5)  # whatever rounds to the last class
        if others and stride_scores[others[0]] >= AMBIGUOUS_SCORE_SHARE * stride_scores[best]:
            second = _count_at_stride(positions[others[0]], num_frames, period_offset, options)
            difference = float(second.per_frame_count.sum() - chosen.per_frame_count.sum())
            ambiguous = abs(difference) > AMBIGUOUS_COUNT_DIFFERENCE
    count = float(chosen.per_frame_count.sum())
    return Counted(
        count=count,
        confidence=chosen.confidence,
        stride=best,
        period_frames=int(chosen.is_periodic.sum()) / count if count else math.inf,
        notebook_period_frames=chosen.notebook_period_frames,
        stride_scores=stride_scores,
        per_frame_count=chosen.per_frame_count,
        periodicity=chosen.periodicity,
        period_frames_curve=chosen.period_frames_curve,
        is_periodic=chosen.is_periodic,
        segments=find_segments(chosen.is_periodic, chosen.per_frame_count, chosen.period_frames_curve),
        repetition_frames=find_repetitions(chosen.per_frame_count),
        at_period_limit=is_at_period_limit(chosen.is_periodic, chosen.period_frames_curve, longest_period),
        ambiguous_stride=ambiguous,
    )


def position_scores(period: np.ndarray, periodicity: np.ndarray, period_offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads off each position's period and how sure the network is of it.

    Args:
      period: (num_positions, num_periods) float, period logits.
      periodicity: (num_positions,) float, periodicity logits.
      period_offset: frames that period class 0 stands for.

    Returns:
      Periods, (num_positions,) int64, in positions: the most likely class, the lowest on ties. And periodicity scores,
      (num_positions,) float32, 0..1: √(sigmoid(periodicity logit) · c), where c is the probability of that class, or 0 if its
      period is below `MIN_PERIOD`. Computed in float64 and rounded once, so that thresholds see the numbers that are published.
    """
    periods = period.argmax(axis=1) + period_offset
    below_peak = np.subtract(period, period.max(axis=1, keepdims=True), dtype=np.float64)
    confidence = np.where(periods < MIN_PERIOD, 0.0, 1.0 / np.exp(below_peak, out=below_peak).sum(axis=1))
    # log-sigmoid, since exp(-x) overflows for a very sure "no".
    periodic = np.exp(-np.logaddexp(0.0, -periodicity.astype(np.float64)))
    return periods, np.sqrt(periodic * confidence).astype(np.float32)


def real_frames_score(scores: np.ndarray, stride: int, num_frames: int) -> float:
    """Returns the mean periodicity score over the positions that show a frame of the video."""
    return float(scores[: -(-num_frames // stride)].mean(dtype=np.float64))


def notebook_score(scores: np.ndarray, frozen_scores: np.ndarray | None, batch_windows: int) -> float:
    """Returns the mean periodicity score over whole batches of windows.

    Args:
      scores: (num_windows · 64,) float32, of the windows that show the video.
      frozen_scores: (64,) float32, of the window that shows the last frame 64 times and fills the last batch; may be None if
        the batches are full without it.
      batch_windows: windows of a batch.

    Raises:
      ValueError: a batch has to be filled, and there is no frozen window.
    """
    num_windows = len(scores) // WINDOW_FRAMES
    num_padding = -num_windows % batch_windows
    total = scores.sum(dtype=np.float64)
    if num_padding:
        if frozen_scores is None:
            raise ValueError(
                "the notebook's rule needs the logits of a frozen window to fill a batch. "
                f"Received: {num_windows} windows for batches of {batch_windows}, and no frozen window"
            )
        total += num_padding * frozen_scores.sum(dtype=np.float64)
    return float(total / ((num_windows + num_padding) * WINDOW_FRAMES))


def median_filter(values: np.ndarray, beyond: float | bool) -> np.ndarray:
    """Returns the median of each value and the two on either side of it.

    Args:
      values: (n,) of any type with an order.
      beyond: what stands before the first value and after the last.
    """
    reach = MEDIAN_WIDTH // 2
    padded = np.pad(values, reach, constant_values=beyond)
    return np.sort(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_WIDTH), axis=1)[:, reach]


def find_segments(is_periodic: np.ndarray, per_frame_count: np.ndarray, period_frames_curve: np.ndarray) -> tuple[Segment, ...]:
    """Finds the stretches of repetitions: runs of periodic frames, joined over short gaps.

    A gap is bridged if it is shorter than the longer of the two periods beside it: whoever pauses for less than a repetition
    has not begun a new set. Bridged frames add nothing to the count.

    Args:
      is_periodic: (n,) bool.
      per_frame_count: (n,) float64.
      period_frames_curve: (n,) float64, in frames.
    """
    edges = np.flatnonzero(np.diff(is_periodic, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return ()
    gaps = starts[1:] - ends[:-1]
    splits = gaps >= np.maximum(period_frames_curve[ends[:-1] - 1], period_frames_curve[starts[1:]])
    starts, ends = starts[np.append(True, splits)], ends[np.append(splits, True)]
    return tuple(
        Segment(start_frame=start, end_frame=end, count=float(per_frame_count[start:end].sum()))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def find_repetitions(per_frame_count: np.ndarray) -> np.ndarray:
    """Returns the fractional frames, (floor(sum),) float64, at which the running count reaches 1, 2, 3 … .

    Each frame's count accrues evenly over the frame, from i to i + 1. Twelve times 1/12 makes a repetition, whatever the
    rounding of the sum.
    """
    running = np.cumsum(per_frame_count)
    whole = np.arange(1, math.floor(running[-1] + _SUM_TOLERANCE) + 1)
    frames = np.searchsorted(running, whole - _SUM_TOLERANCE)
    missing = running[frames] - whole
    return frames + np.clip(1.0 - missing / per_frame_count[frames], 0.0, 1.0)


def is_at_period_limit(is_periodic: np.ndarray, period_frames_curve: np.ndarray, longest_period_frames: float) -> bool:
    """Returns whether at least half of the periodic frames, and at least one, have the longest period there is."""
    periods = period_frames_curve[is_periodic]
    return len(periods) > 0 and bool(np.mean(periods >= longest_period_frames) >= 0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class _Positions:
    """What the network says at each position of one stride.

    Attributes:
      stride: frames from one position to the next.
      period_logits: (num_positions, num_periods) float32.
      periods: (num_positions,) int64, see `position_scores`.
      scores: (num_positions,) float32, see `position_scores`.
    """

    stride: int
    period_logits: np.ndarray
    periods: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _StrideCount:
    """What one stride counts; see `Counted`."""

    confidence: float
    notebook_period_frames: float
    per_frame_count: np.ndarray
    periodicity: np.ndarray
    period_frames_curve: np.ndarray
    is_periodic: np.ndarray


def _count_at_stride(positions: _Positions, num_frames: int, period_offset: int, options: CountingOptions) -> _StrideCount:
    """Counts the video at one stride."""
    stride = positions.stride
    periodicity = np.repeat(positions.scores, stride)[:num_frames]
    is_periodic = periodicity > _threshold(periodicity, options)
    if options.median_filter:
        is_periodic = median_filter(is_periodic, beyond=False)
    if options.constant_speed:
        period, confidence = _constant_period(positions.period_logits, is_periodic, stride, period_offset)
        curve = np.full(num_frames, stride * period)
        notebook_period_frames = stride * period
    else:
        periods = positions.periods.astype(np.float64)
        if options.interpolate_periods:
            periods += _offset_between_classes(positions.period_logits)
        periods = np.where(positions.periods < MIN_PERIOD, math.inf, stride * periods)
        curve = np.repeat(periods, stride)[:num_frames]
        # The notebook filters rates, 1/period, with zeros beyond the ends: the same, since 1/x only turns the order round.
        if options.median_filter:
            curve = median_filter(curve, beyond=math.inf)
        confidence = float(periodicity.mean(dtype=np.float64))
        total = float(np.sum(1.0 / curve[is_periodic]))
        notebook_period_frames = num_frames / total if total else math.inf
    if confidence < options.video_threshold:
        is_periodic = np.zeros_like(is_periodic)
    per_frame_count = np.where(is_periodic, 1.0 / curve, 0.0)
    return _StrideCount(
        confidence=confidence,
        notebook_period_frames=notebook_period_frames,
        per_frame_count=per_frame_count,
        periodicity=periodicity,
        period_frames_curve=curve,
        is_periodic=per_frame_count > 0,
    )


def _count_by_vote(
    logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, options: CountingOptions
) -> tuple[_StrideCount, bool]:
    """Counts the video at all strides; also returns whether the answer is ambiguous, see `Counted`."""
    collected = voting.collect_votes(logits, num_frames, period_offset)
    votes = collected.votes
    likeliest = votes.argmax(axis=1)
    rest_vote = -math.inf if options.fully_periodic else _threshold(votes.max(axis=1), options)
    course = voting.find_course(votes, rest_vote)
    moves = course >= 0
    bins = np.where(moves, course, likeliest)
    if options.constant_speed and moves.any():
        bins = np.full(len(bins), votes[moves].sum(axis=0).argmax())
    of_bins = np.take_along_axis(votes, bins[:, None], axis=1)[:, 0]
    periods = voting.refine_periods(collected, bins)
    if options.constant_speed and moves.any():
        periods = np.full(len(bins), periods[moves].mean())
    curve, is_periodic = collected.to_frames(periods), collected.to_frames(moves)
    periodicity = collected.to_frames(of_bins)
    confidence = float(periodicity[is_periodic].mean(dtype=np.float64)) if is_periodic.any() else 0.0
    total = float(np.sum(1.0 / curve[is_periodic]))
    each_for_itself = float(np.sum(1.0 / collected.to_frames(voting.refine_periods(collected, likeliest))[is_periodic]))
    if confidence < options.video_threshold:
        is_periodic = np.zeros_like(is_periodic)
    count = _StrideCount(
        confidence=confidence,
        notebook_period_frames=num_frames / total if total else math.inf,
        per_frame_count=np.where(is_periodic, 1.0 / curve, 0.0),
        periodicity=periodicity,
        period_frames_curve=curve,
        is_periodic=is_periodic,
    )
    return count, bool(is_periodic.any()) and abs(each_for_itself - total) > AMBIGUOUS_COUNT_DIFFERENCE


def _threshold(periodicity: np.ndarray, options: CountingOptions) -> float:
    """Returns the periodicity score above which a frame, or a moment, of this video is periodic."""
    if options.fully_periodic:
        return 0.0
    return max(options.frame_threshold, options.peak_share * float(np.percentile(periodicity, PEAK_PERCENTILE)))


def _offset_between_classes(period_logits: np.ndarray) -> np.ndarray:
    """Returns how far the period lies from the likeliest class towards one of its neighbours, (num_positions,) float64, −1..1.

    It is the mean offset of the three classes weighted by their probabilities; beyond the first and the last there is none.
    """
    likeliest = period_logits.argmax(axis=1)
    padded = np.pad(period_logits.astype(np.float64), ((0, 0), (1, 1)), constant_values=-np.inf)
    around = np.take_along_axis(padded, likeliest[:, None] + np.arange(3), axis=1)
    weights = np.exp(around - around[:, 1:2])
    return (weights[:, 2] - weights[:, 0]) / weights.sum(axis=1)


def _constant_period(
    period_logits: np.ndarray, is_periodic: np.ndarray, stride: int, period_offset: int
) -> tuple[float, float]:
    """Returns the period in positions that is likeliest on the mean over the periodic frames, and its mean probability.

    A period of 0 positions, which only the 2025 classes have, counts nothing: it is returned as inf, as is that of a video
    without a periodic frame.
    """
    num_positions = -(-len(is_periodic) // stride)
    frames = np.pad(is_periodic, (0, num_positions * stride - len(is_periodic))).reshape(num_positions, stride).sum(axis=1)
    if not frames.any():
        return math.inf, 0.0
    likelihood = period_logits[:num_positions].astype(np.float64)
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    likelihood /= likelihood.sum(axis=1, keepdims=True)
    mean = frames @ likelihood / frames.sum()
    best = int(mean.argmax())
    return float(best + period_offset) or math.inf, float(mean[best])


def _frozen_scores(logits: StrideLogits, period_offset: int) -> np.ndarray | None:
    """Returns the periodicity scores, (64,) float32, of the frozen window; None where there is none."""
    if logits.frozen_period is None or logits.frozen_periodicity is None:
        return None
    return position_scores(logits.frozen_period, logits.frozen_periodicity, period_offset)[1]


def _check_logits(logits: StrideLogits, stride: int, num_frames: int) -> None:
    """Raises ValueError unless the logits of a stride are finite and cover exactly the windows of the video."""
    num_positions = -(-num_frames // (WINDOW_FRAMES * stride)) * WINDOW_FRAMES
    if logits.period.ndim != 2 or len(logits.period) != num_positions or logits.periodicity.shape != (num_positions,):
        raise ValueError(
            f"stride {stride} has {num_positions} positions for {num_frames} frames, padding included. "
            f"Received: period logits {logits.period.shape}, periodicity logits {logits.periodicity.shape}"
        )
    for name in ("period", "periodicity", "frozen_period", "frozen_periodicity"):
        values = getattr(logits, name)
        if values is not None and not np.isfinite(values).all():
            bad = int(np.size(values) - np.isfinite(values).sum())
            raise ValueError(f"logits of stride {stride} must be finite. Received: {bad} values of `{name}` that are not")
