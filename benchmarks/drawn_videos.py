"""Compares counting options on drawn videos, whose true counts are known.

    python -m benchmarks.drawn_videos [--videos 300] [--first_seed 0] [--weights FILE]

The generator of the training clips draws the videos, with other seeds and as long as real ones. Options chosen here are
therefore not fitted to anybody's real videos; `repcount evaluate` tells whether they suit those. Each video has a kind, such as
"several exercises", see `model.training.videos.KINDS`. For the default options, the accuracy is also printed by kind, and each
count that is off by more than one is listed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.report import print_result
from model.counting import count_repetitions
from model.counting_options import CountingOptions
from model.logits import StrideLogits
from model.presets import PRESETS, LoadedModel, load_model, load_weights
from model.scoring import Scorer
from model.training.videos import KINDS, Video, draw_video
from pipeline.command_line import natural_number

OTHERS: tuple[dict[str, Any], ...] = (
    {},
    {"frame_threshold": 0.10},
    {"frame_threshold": 0.18},
    {"peak_share": 0.3},
    {"peak_share": 0.5},
)
"""Changes to the default counting options to compare, the defaults first."""


def main(argv: Sequence[str] | None = None) -> None:
    """Draws each video, scores it once, counts it with each set of options, and prints the measures."""
    seeds, loaded = parse_options(__doc__, argv)
    offset = loaded.network.config.period_offset
    variants: list[CountingOptions] = [dataclasses.replace(PRESETS["lite"].counting, **change) for change in OTHERS]
    true, counted = np.zeros(len(seeds)), np.zeros((len(variants), len(seeds)))
    kinds = []
    for i, (video, logits) in enumerate(score_videos(seeds, loaded)):
        true[i] = video.count
        kinds.append(video.kind)
        counted[:, i] = [count_repetitions(logits, len(video.frames), offset, options).count for options in variants]
    results: list[dict[str, object]] = []
    for change, counts in zip(OTHERS, counted, strict=True):
        measures = measure(true, counts)
        named = ", ".join(f"{name} {value}" for name, value in change.items()) or "defaults"
        print(f"{named}: {describe(measures)}")
        results.append({"change": change, **measures})
    print("\nWith the defaults, by kind:")
    by_kind = {}
    for kind in KINDS:
        chosen = np.array([other == kind for other in kinds])
        if chosen.any():
            by_kind[kind] = measure(true[chosen], counted[0, chosen])
            print(f"  {kind}: {describe(by_kind[kind])}")
    errors = [
        {"seed": seeds[i], "kind": kinds[i], "true": round(true[i], 2), "count": round(counted[0, i], 2)}
        for i in np.flatnonzero(np.abs(counted[0] - true) > 1).tolist()
    ]
    print("\nOff by more than one (seed, kind, true count, count):")
    for error in errors:
        print(f"  {error['seed']:4} {error['kind']:17} {error['true']:7} {error['count']:7}")
    print_result("drawn_videos", videos=len(seeds), first_seed=seeds.start, results=results, by_kind=by_kind, errors=errors)


def parse_options(description: str | None, argv: Sequence[str] | None) -> tuple[range, LoadedModel]:
    """Returns the seeds of the videos to draw, and the model to score them with."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=natural_number, default=300, metavar="N", help="videos to draw. Default: 300")
    parser.add_argument("--first_seed", type=natural_number, default=0, metavar="N", help="seed of the first video. Default: 0")
    parser.add_argument("--weights", type=Path, help="weights file in our own format. Default: that of lite")
    args = parser.parse_args(argv)
    if not args.videos:
        parser.error("--videos must be at least 1. Received: 0")
    seeds = range(args.first_seed, args.first_seed + args.videos)
    return seeds, load_weights(args.weights) if args.weights else load_model("lite")


def score_videos(seeds: range, loaded: LoadedModel) -> Iterator[tuple[Video, dict[int, StrideLogits]]]:
    """Yields each drawn video with its logits."""
    scorer = Scorer(loaded.network, loaded.preset.strides, overlap_from=loaded.preset.overlap_from)
    for seed in seeds:
        video = draw_video(seed)
        yield video, scorer.score(video.frames)


def measure(true: np.ndarray, counts: np.ndarray) -> dict[str, float | int | None]:
    """Returns the accuracy of counts.

    Args:
      true: True counts, (num_videos,).
      counts: Counts of the same videos, (num_videos,).

    Returns:
      `videos`: how many there are. `obo`: share off by at most one. `mae`: mean of |count − true| / true where something
      repeats, None if nothing does. `zeros`: videos without repetitions counted below 1, of `without_repetitions`.
    """
    repeats = true > 1
    errors = np.abs(counts - true)
    return {
        "videos": len(true),
        "obo": round(float(np.mean(errors <= 1)), 3),
        "mae": round(float(np.mean(errors[repeats] / true[repeats])), 3) if repeats.any() else None,
        "zeros": int((counts[~repeats] < 1).sum()),
        "without_repetitions": int((~repeats).sum()),
    }


def describe(measures: dict[str, float | int | None]) -> str:
    """Returns a line for people with what `measure` returned."""
    parts = [f"{measures['videos']} videos", f"OBO {measures['obo']:.3f}"]
    if measures["mae"] is not None:
        parts.append(f"MAE {measures['mae']:.3f}")
    if measures["without_repetitions"]:
        parts.append(f"{measures['zeros']} of {measures['without_repetitions']} without repetitions count below 1")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
