"""Measures how much counts depend on how a video looks: real clips are counted as they are, then changed.

    python -m benchmarks.changed_clips --labels labels.csv --videos FOLDER [OPTION…]

The labels are those of `repcount evaluate`, and OPTION is any option of `repcount count`. A change is made to the frames of
112×112 that the model gets, so it blurs a little where it resizes. What repeats does not change, so the true counts hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np

from benchmarks.drawn_videos import describe, measure
from benchmarks.report import print_result
from model.config import FRAME_SIZE
from model.logits import StrideLogits
from pipeline.counter import Counter, load_counter
from pipeline.evaluated_clips import count_labelled, find_labelled
from pipeline.labels import read_labels
from pipeline.options import add_model_options
from transforms.scoring import FrameComparer

Change = Callable[[np.ndarray], np.ndarray]
"""Changes frames, (n, 112, 112, 3) uint8 RGB, to as many others."""

_NOISE_LEVELS = 25.0
"""Standard deviation of noise in grey levels."""

_SHAKE_PIXELS = 3.0
"""Standard deviation by which a hand moves the picture."""


@dataclasses.dataclass(frozen=True)
class ChangedScorer:
    """Scores changed frames.

    Attributes:
      scorer: Scores them.
      change: How to change them.
    """

    scorer: FrameComparer
    change: Change

    def score(self, frames: np.ndarray, *, is_last: bool = True, repeats: int = 1) -> Mapping[int, StrideLogits]:
        """Returns the logits of the changed frames, see `ChunkScorer`."""
        return self.scorer.score(np.ascontiguousarray(self.change(frames)), is_last=is_last, repeats=repeats)

    def similarity(self, frames: np.ndarray) -> np.ndarray:
        """Returns how similar each two changed frames look, see `FrameComparer`."""
        return self.scorer.similarity(np.ascontiguousarray(self.change(frames)))


def zoom(width: float, height: float, degrees: float = 0.0) -> Change:
    """Returns the change that resizes the picture about its middle by two factors, and turns it; what is beyond it is black."""
    middle = (FRAME_SIZE - 1) / 2
    turned = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    resized = np.array([[width, 0, middle * (1 - width)], [0, height, middle * (1 - height)]])
    matrix = resized @ np.vstack([turned, [0, 0, 1]])
    return lambda frames: np.stack([_warp(frame, matrix) for frame in frames])


def shake(frames: np.ndarray) -> np.ndarray:
    """Moves each frame as an unsteady hand does, by a few pixels, smoothly."""
    window = np.hanning(13)
    steps = np.random.default_rng(0).normal(size=(2, len(frames) + len(window) - 1))
    path = np.stack([np.convolve(axis, window, mode="valid") for axis in steps], axis=1) / np.linalg.norm(window)
    middle = (FRAME_SIZE - 1) / 2
    zoomed = np.array([[1.1, 0, -0.1 * middle], [0, 1.1, -0.1 * middle]])
    moved = np.tile(zoomed, (len(frames), 1, 1))
    moved[:, :, 2] += _SHAKE_PIXELS * path
    return np.stack([_warp(frame, matrix, cv2.BORDER_REPLICATE) for frame, matrix in zip(frames, moved, strict=True)])


def add_noise(frames: np.ndarray) -> np.ndarray:
    """Adds noise that differs from frame to frame."""
    noise = np.random.default_rng(0).normal(0.0, _NOISE_LEVELS, frames.shape).astype(np.float32)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


CHANGES: Mapping[str, Change] = {
    "as they are": lambda frames: frames,
    "mirrored": lambda frames: frames[:, :, ::-1],
    "turned by 90°": lambda frames: np.rot90(frames, axes=(1, 2)),
    "turned by 10°": zoom(1.0, 1.0, degrees=10.0),
    "cropped to 80 %": zoom(1.25, 1.25),
    "half as large": zoom(0.5, 0.5),
    "half as wide": zoom(0.5, 1.0),
    "half as high": zoom(1.0, 0.5),
    "shaking": shake,
    "brighter": lambda frames: (255 * (np.arange(256) / 255) ** 0.5).astype(np.uint8)[frames],
    "darker": lambda frames: (255 * (np.arange(256) / 255) ** 2).astype(np.uint8)[frames],
    "with little contrast": lambda frames: (0.4 * frames + 70).astype(np.uint8),
    "grey": lambda frames: np.repeat(frames.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3),
    "negative": lambda frames: 255 - frames,
    "noisy": add_noise,
    "blurred": lambda frames: np.stack([cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in frames]),
}
"""Changes by name, none first."""


def main(argv: Sequence[str] | None = None) -> None:
    """Counts all clips with each change, and prints the measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", required=True, metavar="FILE", help="labels, as for repcount evaluate")
    parser.add_argument("--videos", required=True, metavar="FOLDER", help="folder of the labelled videos")
    add_model_options(parser)
    args = parser.parse_args(argv)
    labelled = find_labelled(read_labels(args.labels), args.videos)
    counter = load_counter(args)
    results = []
    for name, change in CHANGES.items():
        changed: Counter = dataclasses.replace(counter, scorer=ChangedScorer(counter.scorer, change))
        clips, _ = count_labelled(labelled, changed, num_worst=0)
        true = np.array([clip.label.true_count for clip in clips])
        counts = np.array([clip.result.count or 0.0 for clip in clips])
        measures = measure(true, counts)
        print(f"{name}: {describe(measures)}")
        results.append({"change": name, **measures})
    print_result("changed_clips", labels=args.labels, results=results)


def _warp(frame: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    return cv2.warpAffine(frame, matrix, (FRAME_SIZE, FRAME_SIZE), flags=cv2.INTER_LINEAR, borderMode=border)


if __name__ == "__main__":
    main()
