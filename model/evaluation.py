"""How near counts come to the truth.

OBO and MAE are the measures that RepNet was published with ("Counting Out Time", CVPR 2020); there OBO is the share that is
off by more. Where many sets are of about five repetitions, a counter that always answers 5 does not look bad, so a measure says
something only beside that of `BASELINE_COUNT`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

BASELINE_COUNT = 5.0
"""The answer of a counter that does not look."""

_FAILED_ERROR = -1.0
"""Relative error of a clip that failed: that of a counter that found nothing."""

_SUM_TOLERANCE = 1e-9  # a count is a sum over frames: 30 times 1/6 is a little more than 5


@dataclasses.dataclass(frozen=True)
class Measures:
    """What `measure` finds; a measure over no clips is None.

    Attributes:
      num_clips: clips, those that failed included.
      obo: share of all clips that are off by one at most, 0..1.
      num_mae_clips: clips with a true count above 1.
      mae: mean relative error over those, without its sign; 0.1 is 10 %.
      bias: mean relative error over those, with its sign; above 0 where too much is counted.
      num_zero_clips: clips with a true count of 0.
      zero_share: share of those with a count below 1, 0..1.
    """

    num_clips: int
    obo: float | None
    num_mae_clips: int
    mae: float | None
    bias: float | None
    num_zero_clips: int
    zero_share: float | None


def measure(counts: Sequence[float | None], true_counts: Sequence[float]) -> Measures:
    """Holds counts against the truth.

    Args:
      counts: one for each clip, fractions included; None for a clip that failed, which is wrong by every measure.
      true_counts: as many, finite, at least 0.

    Raises:
      ValueError: they are not as many, or a true count is negative or not finite.
    """
    counted = np.array(counts, np.float64)  # None becomes NaN, which no comparison holds for
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
      counts: (n,) float64, not rounded; NaN where a clip failed, which is never within one.
      true_counts: (n,) float64, at least 0.
    """
    return np.abs(counts - true_counts) <= 1 + _SUM_TOLERANCE


def relative_errors(counts: np.ndarray, true_counts: np.ndarray) -> np.ndarray:
    """Returns (count − true) / true of the m clips with a true count above 1, (m,) float64.

    Their mean is the bias, that of their absolute values MAE. Where the truth is at most 1, being off by one would be an error
    of 100 % or more and outweigh all else. A clip that failed has −1, as if nothing had been counted.

    Args:
      counts: (n,) float64; NaN where a clip failed.
      true_counts: (n,) float64, at least 0.
    """
    repeats = true_counts > 1
    errors = (counts[repeats] - true_counts[repeats]) / true_counts[repeats]
    return np.where(np.isnan(errors), _FAILED_ERROR, errors)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None
