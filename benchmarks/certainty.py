"""Fits the probability that a count is within one to drawn videos, and prints a reliability table.

    python -m benchmarks.certainty [--videos 300] [--first_seed 0] [--weights FILE]

The printed coefficients, fitted to all videos, belong into `CountingOptions.certainty` of the preset. In the table, each
video's probability comes from a fit to four fifths of the videos, without itself. Fit again after a change of
weights or options.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.drawn_videos import parse_options, score_videos
from benchmarks.report import print_result
from model import certainty
from model.voting import collect_votes, count_by_vote

STEPS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)
"""Edges of the reliability table's rows."""

FOLDS = 5
"""Parts of the videos, each of which is judged by a fit to the others."""


def main(argv: Sequence[str] | None = None) -> None:
    """Draws, scores and counts each video, fits the coefficients, and prints them with the table."""
    seeds, loaded = parse_options(__doc__, argv)
    offset = loaded.network.config.period_offset
    values, is_right = [], []
    for video, logits in score_videos(seeds, loaded):
        chosen, alternative_count = count_by_vote(collect_votes(logits, len(video.frames), offset), loaded.preset.counting)
        if chosen.is_periodic.any():
            values.append(certainty.features(chosen, alternative_count))
            is_right.append(abs(float(chosen.per_frame_count.sum()) - video.count) <= 1)
    features, right = np.array(values), np.array(is_right)
    if len(set(is_right)) < 2:
        raise SystemExit(f"a fit needs counts that are within one and others: more --videos. Received: {len(seeds)} videos")
    coefficients = certainty.fit(features, right)
    table = reliability(cross_validated(features, right), right)
    print("stated       counts   mean stated   within one")
    for row in table:
        print(f"{row['from']:.1f} to {row['to']:.1f}   {row['counts']:6d}   {row['stated']:11.2f}   {row['within_one']:10.2f}")
    rounded = [round(float(coefficient), 3) for coefficient in coefficients]
    print(f"coefficients of {', '.join(certainty.FEATURES)}: {rounded}")
    print_result("certainty", videos=len(seeds), coefficients=rounded, reliability=table)


def cross_validated(features: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Returns the probability of each count, (num_counts,), from a fit to the counts that are not in its fifth."""
    fold = np.arange(len(features)) % FOLDS
    stated = np.zeros(len(features))
    for number in range(FOLDS):
        fitted = certainty.fit(features[fold != number], is_right[fold != number]).tolist()
        stated[fold == number] = [certainty.probability(fitted, row) for row in features[fold == number]]
    return stated


def reliability(stated: np.ndarray, is_right: np.ndarray) -> list[dict[str, float]]:
    """Returns a reliability table: for each range of stated probabilities, how many counts were within one.

    Args:
      stated: Stated probabilities, (num_counts,) in 0..1.
      is_right: Whether each count is within one of the true number, (num_counts,) bool.

    Returns:
      A row for each range of `STEPS` that has counts: its ends `from` and `to`, the number of `counts`, their mean `stated`
      probability, and the share `within_one`.
    """
    table: list[dict[str, float]] = []
    for low, high in itertools.pairwise(STEPS):
        chosen = (stated >= low) & ((stated < high) | (high == STEPS[-1]))
        if chosen.any():
            table.append(
                {
                    "from": low,
                    "to": high,
                    "counts": int(chosen.sum()),
                    "stated": round(float(stated[chosen].mean()), 3),
                    "within_one": round(float(is_right[chosen].mean()), 3),
                }
            )
    return table


if __name__ == "__main__":
    main()
