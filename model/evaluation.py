"""Measures of accuracy: how close counts are to the truth.

OBO and MAE are the measures of the RepNet paper ("Counting Out Time", CVPR 2020), except that the paper's OBO is the share that
is off by more than one. Many sets have about five repetitions, so a counter that always answers 5 scores well. Compare each
measure with that of `BASELINE_COUNT`.

A measure over few clips depends on which clips they are. Each interval says how far. That of OBO is Wilson's for a share. Every
other one is the middle 95 % of the measure over `NUM_RESAMPLES` sets of as many clips, drawn with replacement (percentile
bootstrap), which would be too narrow for a share near 1. All take clips to be independent.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from model.frame_counts import SUM_TOLERANCE

BASELINE_COUNT = 5.0
"""The answer of a counter that ignores the video."""

NUM_RESAMPLES = 10_000
"""Sets of clips drawn for an interval."""

SEED = 0
"""Seed of those draws, so that the same counts have the same intervals."""

SAME_REPETITIONS = 0.05
"""Largest difference between two errors that are the same, in repetitions: what one decimal place shows."""

Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""

_QUANTILES = (0.025, 0.975)

_BLOCK_DRAWS = 1_000_000  # draws held in memory at once

_FAILED_ERROR = -1.0
"""Relative error of a failed clip: the same as if nothing had been counted."""


@dataclasses.dataclass(frozen=True)
class Measures:
    """Accuracy over a set of clips; a measure over no clips is None.

    Attributes:
      num_clips: Number of clips, failed ones included.
      obo: Share of all clips that are off by at most one, 0..1.
      obo_interval: 95 % interval of `obo`.
      num_mae_clips: Number of clips with a true count above 1.
      mae: Mean absolute relative error over clips with a true count above 1; 0.1 is 10 %.
      mae_interval: 95 % interval of `mae`.
      bias: Mean signed relative error over clips with a true count above 1; positive if counts are too high.
      num_whole_clips: Number of clips with a whole true count.
      exact_share: Share of those clips whose rounded count is the true count, 0..1.
      num_zero_clips: Number of clips with a true count of 0.
      zero_share: Share of the clips with a true count of 0 that are counted below 1, 0..1.
    """

    num_clips: int
    obo: float | None
    obo_interval: Interval | None
    num_mae_clips: int
    mae: float | None
    mae_interval: Interval | None
    bias: float | None
    num_whole_clips: int
    exact_share: float | None
    num_zero_clips: int
    zero_share: float | None


@dataclasses.dataclass(frozen=True)
class PublishedMeasures:
    """Accuracy as papers state it: of counts rounded to whole numbers; a measure over no clips is None.

    Attributes:
      num_clips: Number of clips, failed ones included.
      obo: Share of all clips whose rounded count is off by at most one, 0..1.
      num_mae_clips: Number of clips with a true count above 0.
      mae: Mean absolute relative error of the rounded counts over clips with a true count above 0.
    """

    num_clips: int
    obo: float | None
    num_mae_clips: int
    mae: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A second counter against a first one on the same clips; a measure over no clips is None.

    Attributes:
      num_better: Number of clips on which the second one has the smaller error.
      num_worse: Number of clips on which it has the larger error.
      num_same: Number of clips on which the errors differ by at most `SAME_REPETITIONS`, or both failed.
      obo_difference: OBO of the second one minus that of the first; positive if the second is better.
      obo_interval: 95 % interval of `obo_difference`, over the differences of single clips.
      mae_difference: MAE of the second one minus that of the first; negative if the second is better.
      mae_interval: 95 % interval of `mae_difference`, over the differences of single clips.
    """

    num_better: int
    num_worse: int
    num_same: int
    obo_difference: float | None
    obo_interval: Interval | None
    mae_difference: float | None
    mae_interval: Interval | None


def measure(counts: Sequence[float | None], true_counts: Sequence[float]) -> Measures:
    """Returns how close counts are to the truth.

    Args:
      counts: One count per clip, fractions included. None for a failed clip, which every measure counts as wrong.
      true_counts: One true count per clip, finite and at least 0.

    Raises:
      ValueError: The lengths differ, or a true count is negative or not finite.
    """
    counted, true = _to_arrays(counts, true_counts)
    hits, errors = is_within_one(counted, true), relative_errors(counted, true)
    zero_clips, whole = counted[true == 0], true == np.floor(true)
    return Measures(
        num_clips=counted.size,
        obo=_mean(hits),
        obo_interval=wilson_interval(hits),
        num_mae_clips=errors.size,
        mae=_mean(np.abs(errors)),
        mae_interval=bootstrap_interval(np.abs(errors)),
        bias=_mean(errors),
        num_whole_clips=int(whole.sum()),
        exact_share=_mean(_round(counted[whole]) == true[whole]),
        num_zero_clips=zero_clips.size,
        zero_share=_mean(zero_clips < 1),
    )


def measure_as_published(counts: Sequence[float | None], true_counts: Sequence[float]) -> PublishedMeasures:
    """Returns the measures that papers state; arguments and errors are those of `measure`."""
    counted, true = _to_arrays(counts, true_counts)
    rounded, repeats = _round(counted), true > 0
    errors = np.abs(rounded[repeats] - true[repeats]) / true[repeats]
    errors = np.where(np.isnan(errors), abs(_FAILED_ERROR), errors)
    return PublishedMeasures(counted.size, _mean(is_within_one(rounded, true)), errors.size, _mean(errors))


def compare(counts: Sequence[float | None], other_counts: Sequence[float | None], true_counts: Sequence[float]) -> Comparison:
    """Returns how a second counter does against a first one, clip by clip.

    Args:
      counts: Counts of the first one, as for `measure`.
      other_counts: Counts of the second one for the same clips in the same order.
      true_counts: True counts, as for `measure`.

    Raises:
      ValueError: As for `measure`.
    """
    (first, true), (second, _) = _to_arrays(counts, true_counts), _to_arrays(other_counts, true_counts)
    first_errors, second_errors = (np.nan_to_num(np.abs(counted - true), nan=np.inf) for counted in (first, second))
    better = second_errors < first_errors - SAME_REPETITIONS
    worse = first_errors < second_errors - SAME_REPETITIONS
    hits = is_within_one(second, true).astype(np.float64) - is_within_one(first, true)
    errors = np.abs(relative_errors(second, true)) - np.abs(relative_errors(first, true))
    return Comparison(
        num_better=int(better.sum()),
        num_worse=int(worse.sum()),
        num_same=int((~better & ~worse).sum()),
        obo_difference=_mean(hits),
        obo_interval=bootstrap_interval(hits),
        mae_difference=_mean(errors),
        mae_interval=bootstrap_interval(errors),
    )


def wilson_interval(hits: np.ndarray) -> Interval | None:
    """Returns a 95 % interval of the share of clips that are hits, (n,) bool; None if there are no clips.

    Source: the score interval of E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal
    of the American Statistical Association 22, 1927.
    """
    if not hits.size:
        return None
    clips, right, z = hits.size, int(hits.sum()), statistics.NormalDist().inv_cdf(_QUANTILES[1])
    centre, reach = right + z**2 / 2, z * (right * (clips - right) / clips + z**2 / 4) ** 0.5
    return (centre - reach) / (clips + z**2), min((centre + reach) / (clips + z**2), 1.0)  # rounding may pass 1


def bootstrap_interval(values: np.ndarray) -> Interval | None:
    """Returns the 95 % interval of the mean of values, one per clip, (n,) bool or float; None without clips.

    If all values are equal, so are the ends: few clips without an error do not prove that there are none elsewhere.
    """
    if not values.size:
        return None
    random = np.random.default_rng(SEED)
    block = max(1, _BLOCK_DRAWS // values.size)
    sizes = [min(block, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, block)]
    means = [values[random.integers(values.size, size=(size, values.size))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), _QUANTILES)
    return float(low), float(high)


def is_within_one(counts: np.ndarray, true_counts: np.ndarray) -> np.ndarray:
    """Returns where |count − true| ≤ 1, (n,) bool; its mean is OBO, "off by one".

    Args:
      counts: Counts, (n,) float64, not rounded. NaN for a failed clip, which is never within one.
      true_counts: True counts, (n,) float64, at least 0.
    """
    return np.abs(counts - true_counts) <= 1 + SUM_TOLERANCE


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


def _to_arrays(counts: Sequence[float | None], true_counts: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns counts and true counts as float64 arrays, NaN for a failed clip; raises ValueError as `measure` does."""
    counted = np.array(counts, np.float64)  # None becomes NaN, for which every comparison is false
    true = np.array(true_counts, np.float64)
    if counted.shape != true.shape:
        raise ValueError(f"each count needs a true count. Received: {counted.size} counts and {true.size} true counts")
    if not (np.isfinite(true) & (true >= 0)).all():
        raise ValueError(f"true counts must be finite and at least 0. Received: {true.tolist()}")
    return counted, true


def _round(counts: np.ndarray) -> np.ndarray:
    """Returns counts rounded to the nearest whole number, halves up, as the tables have them."""
    return np.floor(counts + 0.5)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None
