"""The probability that a count is within one of the true number, from what counting has found.

A logistic regression on a few figures of the count. `benchmarks.certainty` fits it on drawn videos, whose true counts are
known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.frame_counts import FrameCounts

FEATURES = ("1", "logit of the confidence", "log of the count", "spread of the period", "disagreement")
"""What the coefficients multiply, see `features`."""

_MOST_STEPS = 50

LEAST_CONFIDENCE = 1e-3
"""Confidences are taken to be at least this far from 0 and 1, where the logarithm of the odds is infinite."""

MOST_LOGIT = 30.0
"""Largest logarithm of the odds of a certainty, either way. Beyond it, a certainty is 0 or 1 to 13 digits."""

_RIDGE = 1.0
"""Penalty on squared coefficients: it keeps them finite where a feature separates right from wrong."""


def features(chosen: FrameCounts, alternative_count: float) -> np.ndarray:
    """Returns what the probability depends on, (5,) float64.

    Args:
      chosen: The counts of a video; at least one frame must be periodic.
      alternative_count: Repetitions if each time step had its own most likely period.

    Returns:
      1; the logarithm of the odds of the confidence; the logarithm of the count; the standard deviation of the period over the
      periodic frames in octaves; and the logarithm of 1 plus the difference between the two counts.
    """
    count = float(chosen.per_frame_count.sum())
    confidence = min(max(chosen.confidence, LEAST_CONFIDENCE), 1 - LEAST_CONFIDENCE)
    octaves = np.log2(chosen.period_frames_curve[chosen.is_periodic])
    return np.array(
        [
            1.0,
            math.log(confidence / (1 - confidence)),
            math.log(count),
            float(octaves.std()),
            math.log1p(abs(alternative_count - count)),
        ]
    )


def probability(coefficients: Sequence[float], values: np.ndarray) -> float:
    """Returns the probability, 0..1, that the count with these features is within one of the true number."""
    return float(1.0 / (1.0 + np.exp(-np.clip(np.dot(coefficients, values), -MOST_LOGIT, MOST_LOGIT))))


def fit(values: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Returns the coefficients, (num_features,) float64, of the likeliest logistic regression (Newton's method).

    Args:
      values: Features of counts, (num_counts, num_features) float64.
      is_right: Whether each count is within one of the true number, (num_counts,) bool.
    """
    coefficients = np.zeros(values.shape[1])
    penalty = _RIDGE * np.eye(values.shape[1])
    for _ in range(_MOST_STEPS):
        expected = 1.0 / (1.0 + np.exp(-np.clip(values @ coefficients, -MOST_LOGIT, MOST_LOGIT)))
        gradient = values.T @ (is_right - expected) - penalty @ coefficients
        curvature = (values * (expected * (1 - expected))[:, None]).T @ values + penalty
        step = np.linalg.solve(curvature, gradient)
        coefficients += step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients
