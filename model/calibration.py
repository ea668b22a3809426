"""Measures the ranges of a network's activations, for 8-bit numbers; see `model.quantization`. Runs on any Keras backend."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from model.folding import fold
from model.network import RepNet
from model.precision import ActivationRanges

_KEPT_PERCENT = 99.999
"""Percentage of activations within the range. If 255 stood for a rare largest one, all others would be coarse. Of 99.9, 99.99,
99.999 and 100, this one changed the fewest counts of real clips and drawn videos."""

_BATCH_FRAMES = 64


def quantized_layers(network: RepNet) -> list[str]:
    """Returns the names of the encoder's layers whose outputs are 8-bit numbers, in their order.

    Raises:
      ValueError: The network has no small encoder.
    """
    if network.config.encoder != "small":
        raise ValueError(f"8-bit numbers are for the encoder 'small'. Received: {network.config.encoder!r}")
    stages = range(len(network.config.encoder_channels))
    return [f"stage{stage}_{part}" for stage in stages for part in ("down", "1", "out")]


def check_ranges(network: RepNet, ranges: ActivationRanges) -> None:
    """Raises ValueError unless the ranges are of the layers of this network."""
    names = quantized_layers(network)
    if list(ranges.layers) != names:
        raise ValueError(f"activation ranges must be of {', '.join(names)}. Received: {', '.join(ranges.layers)}")


def measure_ranges(network: RepNet, frames: np.ndarray) -> ActivationRanges:
    """Returns the ranges that nearly all activations of some frames are in.

    Args:
      network: Network with a small encoder.
      frames: Frames of many different videos, (n, 112, 112, 3), RGB in 0..255. A thousand take 1 GB of memory.

    Raises:
      ValueError: The network has no small encoder, or an activation is not finite.
    """
    names = quantized_layers(network)
    folded, _ = fold(network, "float32")
    model = keras.Model(folded.input, [folded.get_layer(name).output for name in names])
    parts: list[list[np.ndarray]] = [[] for _ in names]
    for first in range(0, len(frames), _BATCH_FRAMES):
        for kept, output in zip(parts, model(ops.cast(frames[first : first + _BATCH_FRAMES], "float32")), strict=True):
            kept.append(ops.convert_to_numpy(output))
    return ActivationRanges(
        # A layer whose output is always 0 may have any range.
        {
            name: float(np.percentile(np.concatenate(kept), _KEPT_PERCENT)) or 1.0
            for name, kept in zip(names, parts, strict=True)
        }
    )
