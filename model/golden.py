"""Compares a model with golden files: the results of the authors' own code for the same weights and input.

There are three kinds of files, recognized by their arrays. The number i in front of a name is the case.

- model: `clips`, (num_clips, 3), has the seed, frames and period of each `golden_clip`. `embeddings`, `raw_scores` (period
  logits) and `within_period_logits` are the network's results, one window per clip.
- counts: `i_spec` has the seed, frames and period of a clip drawn at 224×224, as the authors' code takes it. `i_options` says
  how it was counted. The results are `i_chosen_stride`, `i_pred_score`, `i_pred_period`, `i_within_period` and
  `i_per_frame_counts`.
- postprocess: the same results for given logits, `i_raw_S` and `i_within_S` for each stride S, of a video of `i_seq_len`
  frames.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.counting import Counted, count_repetitions, notebook_score, position_scores
from model.counting_options import CountingOptions, StrideRule
from model.errors import one_line
from model.logits import StrideLogits, window_frames
from model.presets import LoadedModel
from model.scoring import Scorer

LOGITS_TOLERANCE = 1e-3
"""Largest absolute difference allowed in the network's embeddings and logits."""

SCORES_TOLERANCE = 1e-4
"""Largest absolute difference allowed in a whole run's scores, which are in 0..1."""

COUNT_TOLERANCE = 1e-3
"""Largest difference allowed in a whole run's count, in repetitions, and in its period, relative."""

POSTPROCESS_TOLERANCE = 1e-6
"""Largest difference allowed in results from given logits; relative for periods."""


class GoldenError(ValueError):
    """A golden file cannot be read, or was made with another network."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """Difference between a model and a golden file in one quantity.

    Attributes:
      case: Index of the clip or video in the file, from 0.
      quantity: Name of the quantity compared.
      largest: Largest absolute difference (relative for periods); inf if a number is missing on either side.
      tolerance: Largest difference that passes.
    """

    case: int
    quantity: str
    largest: float
    tolerance: float

    @property
    def passes(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest <= self.tolerance


def compare(model: LoadedModel, path: Path) -> list[Difference]:
    """Returns the differences between a model, in float32, and a golden file of any of the three kinds.

    Raises:
      GoldenError: The file cannot be read, is of no known kind, or was made with another number of period classes.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is no .npz file")
        with file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = one_line(error)
        raise GoldenError(f"cannot read the golden file: {reason}. Received: {str(path)!r}") from error
    if "clips" in arrays:
        compare_kind = _compare_network
    elif "0_spec" in arrays:
        compare_kind = _compare_counts
    elif "0_seq_len" in arrays:
        compare_kind = _compare_postprocess
    else:
        raise GoldenError(f"a golden file must be of kind model, counts or postprocess. Received: {str(path)!r}")
    try:
        return list(compare_kind(model, arrays))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise GoldenError(f"the golden file {str(path)!r} does not fit {model.preset.name}: {reason}") from error


def golden_clip(seed: int, num_frames: int, period_frames: float, size: int = FRAME_SIZE) -> np.ndarray:
    """Returns the input of the golden files: a soft disc that circles over a background of coloured blocks of 8×8 pixels.

    Args:
      seed: Seed of the background.
      num_frames: Number of frames.
      period_frames: Frames per turn.
      size: Height and width in pixels, a multiple of 8.

    Returns:
      Frames, (num_frames, size, size, 3) uint8, RGB.
    """
    blocks = np.random.default_rng(seed).integers(0, 120, (size // 8, size // 8, 3))
    background = blocks.repeat(8, axis=0).repeat(8, axis=1).astype(np.float32)
    color = np.array([230, 180, 60], np.float32)
    y, x = np.mgrid[:size, :size]
    clip = np.empty((num_frames, size, size, 3), np.uint8)
    for t, angle in enumerate(2 * np.pi * np.arange(num_frames) / period_frames):
        center_y = size / 2 + size / 4 * np.sin(angle)
        center_x = size / 2 + size / 8 * np.cos(angle)
        disc = np.exp(-((y - center_y) ** 2 + (x - center_x) ** 2) / (2 * (size / 10) ** 2))[..., None]
        clip[t] = np.clip(background * (1 - disc) + disc * color, 0, 255)
    return clip


def halve(clip: np.ndarray) -> np.ndarray:
    """Returns frames, (n, H, W, 3), at half their size, float32 in 0..255: the mean of each 2×2 block, not rounded.

    This equals the authors' bilinear resize from 224 to 112 pixels.
    """
    n, height, width, channels = clip.shape
    return clip.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4), dtype=np.float32)


def _compare_network(model: LoadedModel, golden: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """Yields differences of embeddings and logits."""
    _check_periods(golden["raw_scores"], model)
    scorer = Scorer(model.network, strides=(1,))
    for case, (seed, num_frames, period_frames) in enumerate(golden["clips"]):
        if num_frames != WINDOW_FRAMES:
            raise ValueError(f"clips must have {WINDOW_FRAMES} frames, one window. Received: {num_frames}")
        frames = golden_clip(int(seed), WINDOW_FRAMES, period_frames)
        logits = scorer.score(frames)[1]
        for name, ours, theirs in (
            ("embeddings", scorer.embeddings(frames), golden["embeddings"][case]),
            ("period logits", logits.period, golden["raw_scores"][case]),
            ("periodicity logits", logits.periodicity, golden["within_period_logits"][case, :, 0]),
        ):
            yield Difference(case, name, _largest(ours, theirs), LOGITS_TOLERANCE)


def _compare_counts(model: LoadedModel, golden: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """Yields differences of whole runs, from frames to counts."""
    options = [_read_options(golden, case) for case in _cases(golden, "spec")]
    scorer = Scorer(model.network, strides=sorted({stride for strides, _ in options for stride in strides}))
    for case, (strides, counting) in enumerate(options):
        seed, num_frames, period_frames = golden[f"{case}_spec"]
        frames = halve(golden_clip(int(seed), int(num_frames), period_frames, size=2 * FRAME_SIZE))
        logits = scorer.score(frames)
        own = {stride: logits[stride] for stride in strides}
        counted = count_repetitions(own, len(frames), model.preset.config.period_offset, counting)
        yield from _compare_counted(counted, golden, case, SCORES_TOLERANCE, COUNT_TOLERANCE)


def _compare_postprocess(model: LoadedModel, golden: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """Yields differences of counts from given logits.

    In these files the windows that fill the last batch differ from each other; those of a real video never do. So the scores of
    all windows, padding included, choose the stride, and only its real windows are counted.
    """
    offset = model.preset.config.period_offset
    for case in _cases(golden, "seq_len"):
        num_frames = int(golden[f"{case}_seq_len"])
        strides, counting = _read_options(golden, case)
        scores, own = {}, {}
        for stride in strides:
            period, periodicity = golden[f"{case}_raw_{stride}"], golden[f"{case}_within_{stride}"][:, 0]
            _check_periods(period, model)
            scores[stride] = notebook_score(position_scores(period, periodicity, offset)[1], None, batch_windows=1)
            real = window_frames(num_frames, stride).size
            own[stride] = StrideLogits(period[:real], periodicity[:real])
        best = max(scores, key=scores.__getitem__)
        counted = count_repetitions({best: own[best]}, num_frames, offset, dataclasses.replace(counting, batch_windows=1))
        yield from _compare_counted(counted, golden, case, POSTPROCESS_TOLERANCE, POSTPROCESS_TOLERANCE)
        largest = _largest(counted.per_frame_count, golden[f"{case}_per_frame_counts"])
        yield Difference(case, "counts of frames", largest, POSTPROCESS_TOLERANCE)


def _compare_counted(
    counted: Counted, golden: Mapping[str, np.ndarray], case: int, scores_tolerance: float, count_tolerance: float
) -> Iterator[Difference]:
    """Yields differences of the results that both kinds of files have."""
    per_frame_counts = golden[f"{case}_per_frame_counts"]
    period_frames = float(golden[f"{case}_pred_period"])
    for name, largest, tolerance in (
        ("stride", _largest(counted.stride, golden[f"{case}_chosen_stride"]), 0.0),
        ("score", _largest(counted.confidence, golden[f"{case}_pred_score"]), scores_tolerance),
        ("scores of frames", _largest(counted.periodicity, golden[f"{case}_within_period"]), scores_tolerance),
        ("count", _largest(counted.count, per_frame_counts.sum()), count_tolerance),
        ("period", _relative(counted.notebook_period_frames, period_frames), count_tolerance),
    ):
        yield Difference(case, name, largest, tolerance)


def _largest(ours: np.ndarray | float, theirs: np.ndarray | float) -> float:
    """Returns the largest absolute difference, or inf if a number is missing on either side."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes must be equal. Received: {ours.shape}, and {theirs.shape} in the golden file")
    differences = np.where(ours == theirs, 0.0, np.abs(ours - theirs))
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0.0))


def _relative(ours: float, theirs: float) -> float:
    """Returns the relative difference of two numbers, which may be infinite; inf for NaN, or if only `theirs` is zero."""
    if ours == theirs:
        return 0.0
    return math.inf if theirs == 0 or math.isnan(ours) or math.isnan(theirs) else abs(ours / theirs - 1.0)


def _cases(golden: Mapping[str, np.ndarray], name: str) -> Iterator[int]:
    """Yields the case numbers in front of `name`."""
    case = 0
    while f"{case}_{name}" in golden:
        yield case
        case += 1


def _read_options(golden: Mapping[str, np.ndarray], case: int) -> tuple[tuple[int, ...], CountingOptions]:
    """Returns strides and options of a run; the file omits the defaults of the authors' code."""
    given: dict[str, Any] = json.loads(str(golden[f"{case}_options"]))
    return tuple(given["strides"]), CountingOptions(
        stride_rule=StrideRule.NOTEBOOK,
        video_threshold=given["threshold"],
        frame_threshold=given["within_period_threshold"],
        median_filter=given.get("median_filter", False),
        constant_speed=given.get("constant_speed", False),
        fully_periodic=given.get("fully_periodic", False),
        batch_windows=given["batch_size"],
    )


def _check_periods(period_logits: np.ndarray, model: LoadedModel) -> None:
    """Raises ValueError if the golden file was made with another number of period classes."""
    expected = model.preset.config.num_periods
    if period_logits.shape[-1] != expected:
        raise ValueError(f"the model has {expected} period classes. Received: {period_logits.shape[-1]} in the golden file")
