"""The options that fit a model: how its videos are decoded, scored and counted by default. Does not import Beam."""

from __future__ import annotations

import os
from collections.abc import Sequence

from model import storage
from model.counting_options import CountingOptions
from model.logits import chunk_frames
from model.precision import best_precision
from model.presets import PRESETS, ModelFacts
from transforms.decoding.gpus import has_nvidia_gpu
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig


def default_options(
    name: str, facts: ModelFacts, strides: Sequence[int] = ()
) -> tuple[ModelConfig, DecodingOptions, CountingOptions]:
    """Returns the options of the steps that score, decode and count with a model, as the commands use them by default.

    They fit each other: chunks of frames end with a whole window of every stride. With `dataclasses.replace`, change any but
    strides and `chunk_frames`.

    Args:
      name: Name of a preset, or path of the model's file, as `model.presets.read_facts` got it.
      facts: What the model is.
      strides: Strides to score, in frames. Default: those of the model.

    Returns:
      - The model, with its path made absolute, and with the best number format for this machine.
      - How videos become frames, with the model's own `repeat_below_fps`.
      - How logits become counts.
    """
    preset = facts.preset
    ordered = tuple(sorted(strides or preset.strides))  # in whatever order, the counts are the same, and so is a row's key
    model = ModelConfig(
        name=name if name in PRESETS or storage.is_remote(name) else os.path.abspath(name),
        sha256=facts.sha256,
        strides=ordered,
        # Where a GPU scores, int8 would bring the work back to the processor.
        precision=best_precision(is_calibrated=facts.activation_ranges is not None and not has_nvidia_gpu()),
        period_offset=preset.config.period_offset,
        overlap_from=preset.overlap_from,
    )
    decoding = DecodingOptions(repeat_below_fps=preset.repeat_below_fps, chunk_frames=chunk_frames(ordered))
    return model, decoding, preset.counting
