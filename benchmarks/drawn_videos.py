"""Compares counting options on drawn videos, whose true counts are known.

    python -m benchmarks.drawn_videos [--videos 120] [--weights FILE]

The generator of the training clips draws the videos, with other seeds and as long as real ones. Options chosen here are
therefore not fitted to anybody's real videos; `repcount evaluate` tells whether they suit those.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.report import print_result
from model.counting import count_repetitions
from model.counting_options import CountingOptions
from model.presets import PRESETS, load_model, load_weights
from model.scoring import Scorer
from model.training.clips import draw_video

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=120, help="number of videos to draw. Default: 120")
    parser.add_argument("--weights", type=Path, help="weights file in our own format. Default: that of lite")
    args = parser.parse_args(argv)
    loaded = load_weights(args.weights) if args.weights else load_model("lite")
    scorer, offset = Scorer(loaded.network, loaded.preset.strides), loaded.network.config.period_offset
    variants: list[CountingOptions] = [dataclasses.replace(PRESETS["lite"].counting, **change) for change in OTHERS]
    true, counted = np.zeros(args.videos), np.zeros((len(variants), args.videos))
    for seed in range(args.videos):
        video = draw_video(seed)
        true[seed] = (video.timing.active / video.timing.period_frames).sum()
        logits = scorer.score(video.frames)
        counted[:, seed] = [count_repetitions(logits, len(video.frames), offset, options).count for options in variants]
    repeats = true > 1
    results: list[dict[str, object]] = []
    for change, counts in zip(OTHERS, counted, strict=True):
        obo = float(np.mean(np.abs(counts - true) <= 1))
        mae = float(np.mean(np.abs(counts - true)[repeats] / true[repeats]))
        zeros = int((counts[~repeats] < 1).sum())
        named = ", ".join(f"{name} {value}" for name, value in change.items()) or "defaults"
        print(f"{named}: OBO {obo:.3f}, MAE {mae:.3f}, {zeros} of {int((~repeats).sum())} without repetitions count below 1")
        results.append({"change": change, "obo": round(obo, 3), "mae": round(mae, 3), "zeros": zeros})
    print_result("drawn_videos", videos=args.videos, results=results)


if __name__ == "__main__":
    main()
