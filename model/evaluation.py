"""Measures of accuracy: how close counts are to the truth.

OBO and MAE are the measures of the RepNet paper ("Counting Out Time", CVPR 2020), except that the paper's OBO is the share that
is off by more than one. Many sets have about five repetitions, so a counter that always answers 5 scores well. Compare each
measure with that of `BASELINE_COUNT`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

BASELINE_COUNT = 5.0
"""The answer of a counter that ignores the video."""

_FAILED_ERROR = -1.0
"""Relative error of a failed clip: the same as if nothing had been counted."""

_SUM_TOLERANCE = 1e-9  # a count is a sum over frames: 30 times 1/6 is slightly more than 5


@dataclasses.dataclass(frozen=True)
class Measures:
    """Accuracy over a set of clips; a measure over no clips is None.

    Attributes:
      num_clips: Number of clips, failed ones included.
      obo: Share of all clips that are off by at most one, 0..1.
      num_mae_clips: Number of clips with a true count above 1.
      mae: Mean absolute relative error over clips with a true count above 1; 0.1 is 10 %.
      bias: Mean signed relative error over clips with a true count above 1; positive if counts are too high.
      num_zero_clips: Number of clips with a true count of 0.
      zero_share: Share of the clips with a true count of 0 that are counted below 1, 0..1.
    """

    num_clips: int
    obo: float | None
    num_mae_clips: int
    mae: float | None
    bias: float | None
    num_zero_clips: int
    zero_share: float | None


def measure(counts: Sequence[float | None], true_counts: Sequence[float]) -> Measures:
    """Returns how close counts are to the truth.

    Args:
      counts: One count per clip, fractions included. None for a failed clip, which every measure counts as wrong.
      true_counts: One true count per clip, finite and at least 0.

    Raises:
      ValueError: The lengths differ, or a true count is negative or not finite.
    """
    counted = np.array(counts, np.float64)  # None becomes NaN, for which every comparison is false
    true = np.array(true_counts, np.float64)
    if counted.shape != true.shape:
        raise ValueError(f"each count needs a true count. Received: {counted.size} counts and {true.size} true counts")
    if not (np.isfinite(true) & (true >= 0)).all():
        raise ValueError(f"true counts must be finite and at least 0. Received: {true.tolist()}")
    errors = relative_errors(counted, true)
    zero_clips = counted[true == 0]
    return Measures(
        num_clips=counted.size,
        obo=_mean(is_within_one(counted, true)),
        num_mae_clips=errors.size,
        mae=_mean(np.abs(errors)),
        bias=_mean(errors),
        num_zero_clips=zero_clips.size,
        zero_share=_mean(zero_clips < 1),
    )


def is_within_one(counts: np.ndarray, true_counts: np.ndarray) -> np.ndarray:
    """Returns where |count − true| ≤ 1, (n,) bool; its mean is OBO, "off by one".

    Args:
      counts: Counts, (n,) float64, not rounded. NaN for a failed clip, which is never within one.
      true_counts: True counts, (n,) float64, at least 0.
    """
    return np.abs(counts - true_counts) <= 1 + _SUM_TOLERANCE


def relative_errors(counts: np.ndarray, true_counts: np.ndarray) -> np.ndarray:
    """Returns (count − true) / true of the m clips with a true count above 1, (m,) float64.

    Their mean is the bias; the mean of their absolute values is MAE. Clips with a true count of at most 1 are left out: being
    off by one would be an error of 100 % or more and outweigh all others. A failed clip has −1, as if nothing was counted.

    Args:
      counts: Counts, (n,) float64. NaN for a failed clip.
      true_counts: True counts, (n,) float64, at least 0.
    """
    repeats = true_counts > 1
    errors = (counts[repeats] - true_counts[repeats]) / true_counts[repeats]
    return np.where(np.isnan(errors), _FAILED_ERROR, errors)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None
