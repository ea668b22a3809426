"""Counts repetitions from logits: by the best stride, as RepNet's authors do, or by the vote of all strides (`model.voting`).

The authors' rule is that of their notebook ("Counting Out Time", CVPR 2020). Stride s looks at every s-th frame, so position k
stands for frames k·s … k·s + s − 1. The stride with the highest mean periodicity score counts the video: a periodic frame whose
period is p positions adds 1/(s·p), and the video's count is the sum over its frames. The mean leaves out
padding, unless the NOTEBOOK rule is chosen.

"No period" is `inf` frames everywhere, so that the rate of repetitions, 1/period, is 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from model import certainty, voting
from model.config import WINDOW_FRAMES
from model.counting_options import CountingOptions, StrideRule
from model.evidence import Evidence, Positions, mean_score, total_score
from model.frame_counts import (
    AMBIGUOUS_COUNT_DIFFERENCE,
    FrameCounts,
    Segment,
    find_repetitions,
    find_segments,
    is_at_period_limit,
    total_count,
)
from model.logits import StrideLogits, middle_shown, sigmoid, softmax

MIN_PERIOD = 3
"""Shortest period that counts, in positions; the network answers shorter ones for still scenes."""

MEDIAN_WIDTH = 5
"""Width of the median filter in frames."""

AMBIGUOUS_SCORE_SHARE = 0.95
"""Share of the best stride's score at which the second best is an equally good answer."""


@dataclasses.dataclass(frozen=True, eq=False)
class Counted:
    """The count of a video of n sampled frames.

    Where frames are fractional, frame i lasts from i to i + 1. A video whose confidence is below `video_threshold` has count 0
    and no periodic frame.

    Attributes:
      count: Repetitions, fractions included: the sum of `per_frame_count`.
      confidence: How sure the network is of the video, 0..1; `video_threshold` applies to it. The mean of `periodicity` over
        all frames; with VOTE, over the periodic frames, and 0 if there are none. With `constant_speed` and one of the other
        rules, the mean probability of the one period, and 0 if no frame is periodic.
      certainty: Probability, 0..1, that `count` is within one of the true number. None if no frame is periodic, or the options
        have no coefficients for it; see `model.certainty`.
      stride: Stride in shown frames with the best score. It counted the video, unless all strides voted.
      notebook_period_frames: The notebook's `pred_period` in frames: n divided by the count, and so longer than a repetition if
        only a part of the video is periodic. With `constant_speed`, the one period. Ignores `video_threshold`; inf if nothing
        counts even then.
      stride_scores: Mean periodicity score, 0..1, by stride, according to `stride_rule`.
      per_frame_count: Repetitions that each frame adds, (n,) float64: 1/period where the frame is periodic, else 0.
      periodicity: Periodicity score of each frame, (n,) float32 in 0..1.
      period_frames_curve: Period of each frame in frames, (n,) float64, after the median filter, whether or not the frame is
        periodic; inf where it is shorter than `MIN_PERIOD` positions. With `constant_speed`, the one period everywhere.
      is_periodic: Whether each frame counts, (n,) bool: true exactly where `per_frame_count` is not 0.
      segments: Runs of periodic frames, see `find_segments`; their counts add up to `count`.
      repetition_frames: Fractional frames, ascending, at which repetitions 1, 2, 3 … are complete, (rounded_count(count),)
        float64. If the count is rounded up, the last one is complete where counting ends.
      at_period_limit: Whether at least half of the periodic frames have the longest period that the network can tell at this
        stride; the true period may be longer.
      ambiguous_stride: Whether the second best stride scores within 5 % of the best and counts differently by more than 1. With
        VOTE, whether the most likely periods, each time step for itself, count differently by more than 1.
    """

    count: float
    confidence: float
    certainty: float | None
    stride: int
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
    logits: Mapping[int, StrideLogits], num_frames: int, period_offset: int, options: CountingOptions, repeats: int = 1
) -> Counted:
    """Returns the count of a video, with its curve, segments and times of repetitions.

    Args:
      logits: Logits of the whole video, by stride. If scores tie, the first stride wins.
      num_frames: Number of sampled frames in the video.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      options: How to count.
      repeats: Times that windows showed each frame, see `model.logits.slow_repeats`. The result is in frames of the video.

    Raises:
      ValueError: There is no frame or no stride; or the logits of a stride are not finite, do not cover exactly the windows of
        `num_frames` frames, or lack the frozen window that the NOTEBOOK rule pads batches with.
    """
    return count_evidence(gather_evidence(logits, num_frames, period_offset, options, repeats), options)


def gather_evidence(
    logits: Mapping[int, StrideLogits],
    num_frames: int,
    period_offset: int,
    options: CountingOptions,
    repeats: int = 1,
    first_frame: int = 0,
) -> Evidence:
    """Returns what counting with these options needs of the logits of a video, or of a stretch of it.

    Args:
      logits: Logits by stride. If scores tie, the first stride wins.
      num_frames: Number of sampled frames in the video or stretch.
      period_offset: Period in frames of class 0, see `RepNetConfig`.
      options: How to count.
      repeats: Times that windows showed each frame.
      first_frame: Number of frames before the stretch.

    Raises:
      ValueError: There is no frame or no stride; or the logits of a stride are not finite, or do not cover exactly the windows
        of `num_frames` frames.
    """
    if num_frames < 1:
        raise ValueError(f"a video must have at least one frame. Received: {num_frames}")
    if not logits:
        raise ValueError("counting needs the logits of at least one stride. Received: none")
    votes, score_totals, positions = None, {}, {}
    for stride, of_stride in logits.items():
        _check_logits(of_stride, stride, num_frames * repeats)
        periods, scores = position_scores(of_stride.period, of_stride.periodicity, period_offset)
        if options.stride_rule is StrideRule.VOTE:
            score_totals[stride] = total_score(scores[: -(-num_frames * repeats // stride)])
        else:
            positions[stride] = Positions(
                periods=periods.astype(np.int16),
                scores=scores,
                offsets=_offset_between_classes(of_stride.period) if options.interpolate_periods else None,
                period_logits=of_stride.period if options.constant_speed else None,
                frozen_scores=_frozen_scores(of_stride, period_offset) if options.stride_rule is StrideRule.NOTEBOOK else None,
            )
    if options.stride_rule is StrideRule.VOTE:
        votes = voting.collect_votes(logits, num_frames, period_offset, repeats, first_frame)
    num_classes = next(iter(logits.values())).period.shape[1]
    return Evidence(first_frame, num_frames, repeats, period_offset, num_classes, positions, score_totals, votes)


def count_evidence(evidence: Evidence, options: CountingOptions) -> Counted:
    """Returns the count of a video from what `gather_evidence` found with the same options; see `count_repetitions`.

    Raises:
      ValueError: The evidence lacks the frozen window that the NOTEBOOK rule pads batches with.
    """
    stride_scores = _stride_scores(evidence, options)
    best, *others = sorted(stride_scores, key=lambda stride: -stride_scores[stride])
    ambiguous, certain = False, None
    last_class = evidence.num_classes - 1 + evidence.period_offset
    if evidence.votes is not None:
        chosen, alternative_count = voting.count_by_vote(evidence.votes, options)
        if chosen.is_periodic.any():
            ambiguous = abs(alternative_count - float(chosen.per_frame_count.sum())) > AMBIGUOUS_COUNT_DIFFERENCE
            if options.certainty:
                certain = certainty.probability(options.certainty, certainty.features(chosen, alternative_count))
        longest_period = max(stride_scores) * (last_class - 0.5) / evidence.repeats
    else:
        chosen = _count_at_stride(evidence, best, options)
        longest_period = best * (last_class - 0.5) / evidence.repeats  # whatever rounds to the last class
        if others and stride_scores[others[0]] >= AMBIGUOUS_SCORE_SHARE * stride_scores[best]:
            second = _count_at_stride(evidence, others[0], options)
            difference = float(second.per_frame_count.sum() - chosen.per_frame_count.sum())
            ambiguous = abs(difference) > AMBIGUOUS_COUNT_DIFFERENCE
    return Counted(
        count=total_count(chosen.per_frame_count),
        confidence=chosen.confidence,
        certainty=certain,
        stride=best,
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


def _stride_scores(evidence: Evidence, options: CountingOptions) -> dict[int, float]:
    """Returns the mean periodicity score of each stride according to the rule."""
    num_shown = evidence.num_frames * evidence.repeats
    if evidence.votes is not None:
        return {stride: mean_score(total, -(-num_shown // stride)) for stride, total in evidence.score_totals.items()}
    if options.stride_rule is StrideRule.NOTEBOOK:
        return {
            stride: notebook_score(found.scores, found.frozen_scores, options.batch_windows)
            for stride, found in evidence.positions.items()
        }
    return {stride: real_frames_score(found.scores, stride, num_shown) for stride, found in evidence.positions.items()}


def position_scores(period: np.ndarray, periodicity: np.ndarray, period_offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns each position's period, and how sure the network is of it.

    Args:
      period: Period logits, (num_positions, num_periods) float.
      periodicity: Periodicity logits, (num_positions,) float.
      period_offset: Period in positions of class 0.

    Returns:
      The periods in positions, (num_positions,) int64: the most likely class, the lowest on ties. And the periodicity scores,
      (num_positions,) float32 in 0..1: √(sigmoid(periodicity logit) · c), where c is the probability of that class, or 0 if its
      period is below `MIN_PERIOD`. Computed in float64 and rounded once, so that thresholds apply to published numbers.
    """
    periods = period.argmax(axis=1) + period_offset
    below_peak = np.subtract(period, period.max(axis=1, keepdims=True), dtype=np.float64)
    confidence = np.where(periods < MIN_PERIOD, 0.0, 1.0 / np.exp(below_peak, out=below_peak).sum(axis=1))
    return periods, np.sqrt(sigmoid(periodicity) * confidence).astype(np.float32)


def real_frames_score(scores: np.ndarray, stride: int, num_frames: int) -> float:
    """Returns the mean periodicity score over the positions that show a frame of the video, padding left out."""
    return float(scores[: -(-num_frames // stride)].mean(dtype=np.float64))


def notebook_score(scores: np.ndarray, frozen_scores: np.ndarray | None, batch_windows: int) -> float:
    """Returns the mean periodicity score over whole batches of windows.

    Args:
      scores: Scores of the windows that show the video, (num_windows · 64,) float32.
      frozen_scores: Scores of the window that shows the last frame 64 times and fills the last batch, (64,) float32. May be
        None if the batches are full without it.
      batch_windows: Windows per batch.

    Raises:
      ValueError: A batch must be filled, and there is no frozen window.
    """
    num_windows = len(scores) // WINDOW_FRAMES
    num_padding = -num_windows % batch_windows
    total = scores.sum(dtype=np.float64)
    if num_padding:
        if frozen_scores is None:
            raise ValueError(
                "the notebook rule needs the logits of a frozen window to fill a batch. "
                f"Received: {num_windows} windows for batches of {batch_windows}, and no frozen window"
            )
        total += num_padding * frozen_scores.sum(dtype=np.float64)
    return float(total / ((num_windows + num_padding) * WINDOW_FRAMES))


def median_filter(values: np.ndarray, beyond: float | bool) -> np.ndarray:
    """Returns the median of each value and the two on either side of it.

    Args:
      values: Values of any ordered type, (n,).
      beyond: Value assumed before the first one and after the last.
    """
    reach = MEDIAN_WIDTH // 2
    padded = np.pad(values, reach, constant_values=beyond)
    return np.sort(np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_WIDTH), axis=1)[:, reach]


def _count_at_stride(evidence: Evidence, at_stride: int, options: CountingOptions) -> FrameCounts:
    """Counts the video at one stride."""
    num_frames, positions = evidence.num_frames, evidence.positions[at_stride]
    position_of = middle_shown(num_frames, evidence.repeats) // at_stride
    stride = at_stride / evidence.repeats
    periodicity = positions.scores[position_of]
    is_periodic = periodicity > options.score_threshold(periodicity)
    if options.median_filter:
        is_periodic = median_filter(is_periodic, beyond=False)
    if positions.period_logits is not None:
        period, confidence = _constant_period(positions.period_logits, is_periodic, position_of, evidence.period_offset)
        curve = np.full(num_frames, stride * period)
        notebook_period_frames = stride * period
    else:
        periods = positions.periods.astype(np.float64)
        if positions.offsets is not None:
            periods += positions.offsets
        periods = np.where(positions.periods < MIN_PERIOD, math.inf, stride * periods)
        curve = periods[position_of]
        # The notebook filters rates, 1/period, with zeros beyond the ends. The result is the same: 1/x only reverses the order.
        if options.median_filter:
            curve = median_filter(curve, beyond=math.inf)
        confidence = float(periodicity.mean(dtype=np.float64))
        total = float(np.sum(1.0 / curve[is_periodic]))
        notebook_period_frames = num_frames / total if total else math.inf
    if confidence < options.video_threshold:
        is_periodic = np.zeros_like(is_periodic)
    per_frame_count = np.where(is_periodic, 1.0 / curve, 0.0)
    return FrameCounts(
        confidence=confidence,
        notebook_period_frames=notebook_period_frames,
        per_frame_count=per_frame_count,
        periodicity=periodicity,
        period_frames_curve=curve,
        is_periodic=per_frame_count > 0,
    )


def _offset_between_classes(period_logits: np.ndarray) -> np.ndarray:
    """Returns the period's distance from the most likely class towards its neighbours, (num_positions,) float64 in −1..1.

    This is the mean offset of the three classes, weighted by their probabilities. There is none beyond the first and the last.
    """
    likeliest = period_logits.argmax(axis=1)
    padded = np.pad(period_logits.astype(np.float64), ((0, 0), (1, 1)), constant_values=-np.inf)
    around = np.take_along_axis(padded, likeliest[:, None] + np.arange(3), axis=1)
    weights = np.exp(around - around[:, 1:2])
    return (weights[:, 2] - weights[:, 0]) / weights.sum(axis=1)


def _constant_period(
    period_logits: np.ndarray, is_periodic: np.ndarray, position_of: np.ndarray, period_offset: int
) -> tuple[float, float]:
    """Returns the period in positions with the highest mean probability over the periodic frames, and that probability.

    A period of 0 positions, a class that only the 2025 network has, counts nothing: it is returned as inf. So is the period of
    a video without a periodic frame.
    """
    frames = np.bincount(position_of, weights=is_periodic)
    if not frames.any():
        return math.inf, 0.0
    mean = frames @ softmax(period_logits[: len(frames)]) / frames.sum()
    best = int(mean.argmax())
    return float(best + period_offset) or math.inf, float(mean[best])


def _frozen_scores(logits: StrideLogits, period_offset: int) -> np.ndarray | None:
    """Returns the periodicity scores of the frozen window, (64,) float32, or None if there is no such window."""
    if logits.frozen_period is None or logits.frozen_periodicity is None:
        return None
    return position_scores(logits.frozen_period, logits.frozen_periodicity, period_offset)[1]


def _check_logits(logits: StrideLogits, stride: int, num_frames: int) -> None:
    """Raises ValueError unless the logits of a stride are finite and cover exactly the video's windows."""
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
