"""The frame model in 8-bit whole numbers, for processors: faster than in any other format, and the counts stay.

Frames are whole numbers of 0 to 255 already. Activations, none of which is negative, become such numbers too; 255 stands for
the range of their layer (`ActivationRanges`). Weights become whole numbers of −63 to 63; 63 stands for the largest of the
output channel. oneDNN multiplies them and adds up in 32 bits.

Weights could reach 127. But processors without VNNI add up pairs of products in 16 bits first, where 2 · 255 · 127 is too much
and 2 · 255 · 63 is not (oneDNN's documentation, "Nuances of int8 computations"). So all processors compute the same but for
roundings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from model.calibration import check_ranges
from model.config import SMALL_ENCODER_STEPS
from model.folding import fold
from model.network import Normalize, RepNet
from model.precision import ActivationRanges

_LARGEST_PIXEL = 255.0
_LARGEST_ACTIVATION = 255
_LARGEST_WEIGHT = 63
_LARGEST_INT8 = 127
"""TensorFlow takes the range of a kernel as what this number stands for."""

_PADDING = 128
"""Value around frames, the nearest to 127.5, which normalization makes 0."""


def quantize(network: RepNet, ranges: ActivationRanges) -> tuple[Callable[[tf.Tensor], tf.Tensor], np.ndarray]:
    """Returns the frame model of a network in 8-bit numbers, but for its output.

    Args:
      network: Network with a small encoder and float32 weights.
      ranges: Ranges of its activations.

    Returns:
      A function from frames, (B, 112, 112, 3) uint8 RGB, to taps, (B, 7, 7, 3E) float32. It must be part of a graph. And the
      bias, (E,) float32, see `model.folding.fold`.

    Raises:
      ValueError: The network has no small encoder, or the ranges are of other layers.
    """
    check_ranges(network, ranges)
    folded, bias = fold(network, "float32")
    weights = {layer.name: _kernel_and_bias(layer) for layer in folded.layers if layer.weights}

    def compute(frames: tf.Tensor) -> tf.Tensor:
        x = _Activations(tf.bitcast(frames, tf.quint8), _LARGEST_PIXEL)
        for stage, (kernel_size, stride) in enumerate(SMALL_ENCODER_STEPS):
            down, middle, out = (f"stage{stage}_{part}" for part in ("down", "1", "out"))
            kernel, bias_down = weights[down]
            if stage == 0:
                x, bias_down = _pad(x, kernel_size - stride), bias_down - Normalize.HALF * _rounded_sum(kernel)
            padding = "VALID" if stage == 0 else "SAME"
            x = _convolve(x, kernel, bias_down, ranges.layers[down], stride=stride, padding=padding)
            branch = _convolve(x, *weights[middle], ranges.layers[middle])
            x = _convolve(branch, *weights[f"stage{stage}_2"], ranges.layers[out], added=x)
        return _convolve_to_float(x, weights["taps"][0])

    return compute, bias


def _kernel_and_bias(layer: keras.layers.Conv2D) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel of a convolution, (height, width, in, out) float32, and its bias, (out,), which may be zeros."""
    kernel = ops.convert_to_numpy(layer.kernel)
    return kernel, ops.convert_to_numpy(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class _Activations:
    """Activations in 8 bits.

    Attributes:
      values: (B, height, width, C) quint8.
      range: What 255 stands for.
    """

    values: tf.Tensor
    range: float


def _pad(frames: _Activations, rows: int) -> _Activations:
    """Adds so many rows and columns in all, half of them on either side, that normalization makes 0."""
    ends = (rows // 2, rows - rows // 2)
    # TensorFlow pads no quint8.
    padded = tf.pad(tf.bitcast(frames.values, tf.uint8), [(0, 0), ends, ends, (0, 0)], constant_values=_PADDING)
    return _Activations(tf.bitcast(padded, tf.quint8), frames.range)


def _quantize_kernel(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a kernel, (height, width, in, out), as int8, and what 1 stands for in each output channel, (out,) float32."""
    scale = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), np.finfo(np.float32).tiny) / _LARGEST_WEIGHT
    return np.rint(kernel / scale).astype(np.int8), scale.astype(np.float32)


def _rounded_sum(kernel: np.ndarray) -> np.ndarray:
    """Returns the sum over all but the output channels of a kernel's weights as they are once quantized, (out,) float32."""
    values, scale = _quantize_kernel(kernel)
    return values.sum(axis=(0, 1, 2)) * scale


def _arguments(x: _Activations, kernel: np.ndarray, stride: int, padding: str) -> dict[str, Any]:
    """Returns what all quantized convolutions take."""
    values, scale = _quantize_kernel(kernel)
    largest = scale * _LARGEST_INT8
    return {
        "input": x.values,
        "filter": tf.constant(values.view(tf.qint8.as_numpy_dtype), tf.qint8),
        "min_input": 0.0,
        "max_input": x.range,
        "min_filter": tf.constant(-largest, tf.float32),
        "max_filter": tf.constant(largest, tf.float32),
        "strides": [1, stride, stride, 1],
        "padding": padding,
    }


def _convolve(
    x: _Activations,
    kernel: np.ndarray,
    bias: np.ndarray,
    out_range: float,
    *,
    stride: int = 1,
    padding: str = "SAME",
    added: _Activations | None = None,
) -> _Activations:
    """Returns relu(convolution + bias + `added`) in 8 bits, of which 255 stands for `out_range`."""
    settings = {
        **_arguments(x, kernel, stride, padding),
        "bias": tf.constant(bias, tf.float32),
        "min_freezed_output": 0.0,
        "max_freezed_output": out_range,
        "out_type": tf.quint8,
    }
    if added is None:
        values, *_ = tf.raw_ops.QuantizedConv2DWithBiasAndReluAndRequantize(**settings)
    else:
        values, *_ = tf.raw_ops.QuantizedConv2DWithBiasSumAndReluAndRequantize(
            **settings, summand=added.values, min_summand=0.0, max_summand=added.range
        )
    return _Activations(values, out_range)


def _convolve_to_float(x: _Activations, kernel: np.ndarray) -> tf.Tensor:
    """Returns the convolution in float32. Rounding it to 8 bits would double the error of the logits, for 6 % less time."""
    _, scale = _quantize_kernel(kernel)
    same = tf.ones_like(scale)  # or TensorFlow would bring all channels to the scale of one of them
    arguments = _arguments(x, kernel, 1, "SAME") | {"min_filter": -same, "max_filter": same}
    summed, *_ = tf.raw_ops.QuantizedConv2DPerChannel(**arguments, out_type=tf.qint32)
    return tf.cast(tf.bitcast(summed, tf.int32), tf.float32) * tf.constant(scale * (x.range / _LARGEST_ACTIVATION))
