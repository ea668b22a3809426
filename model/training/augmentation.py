"""Mirrors and recolours clips on the device, so that a clip shown again looks different. Labels stay as they are."""

from __future__ import annotations

import keras
from keras import ops

from model.network import Tensor

_MIRRORED_SHARE = 0.5
_SWAPPED_SHARE = 0.3
"""Share of clips whose red and blue are swapped."""

_GAIN_DEVIATION = 0.15
"""Standard deviation of the logarithm of each colour's gain."""

_LIFT_DEVIATION = 12.0
"""Standard deviation of what is added to all colours, on a scale of 0..255."""


def augment(frames: Tensor, seed: keras.random.SeedGenerator) -> Tensor:
    """Returns clips mirrored and recoloured, each in its own way and all its frames alike.

    Args:
      frames: Frames, (clips, num_frames, height, width, 3) uint8, RGB.
      seed: Source of randomness.

    Returns:
      Whole numbers in 0..255, float32, in the same shape.
    """
    one_each = (frames.shape[0], 1, 1, 1, 1)
    mirrored = keras.random.uniform(one_each, seed=seed) < _MIRRORED_SHARE
    swapped = keras.random.uniform(one_each, seed=seed) < _SWAPPED_SHARE
    gain = ops.exp(_GAIN_DEVIATION * keras.random.normal((*one_each[:-1], 3), seed=seed))
    lift = _LIFT_DEVIATION * keras.random.normal(one_each, seed=seed)
    frames = ops.where(mirrored, ops.flip(frames, axis=3), frames)
    frames = ops.where(swapped, ops.flip(frames, axis=4), frames)
    return ops.clip(ops.round(ops.cast(frames, "float32") * gain + lift), 0.0, 255.0)
