"""The frame model of a RepNet: encoder and temporal taps as plain convolutions, with normalizations folded into their kernels.

At inference a batch norm is y = a·x + b per channel. After a convolution, a and b are folded into its kernel and bias. Before
one (ResNet's pre-activations) they stay, and on processors become a convolution themselves. The norm after the temporal
convolution commutes with the maximum over positions once its scale is in the kernel; only a bias is left to add to the maxima.
The division of frames by 127.5 is in the first kernel.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from model.network import Normalize, RepNet, StandardizedConv2D, Tensor


class ScaleShift(keras.layers.Layer):
    """Computes a·x + b per channel."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates a and b."""
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        """Returns a tensor of the same shape and dtype."""
        return x * self.scale + self.shift


class Centre(keras.layers.Layer):
    """Computes x − 127.5, which is exact for whole numbers in 0..255, even in bfloat16."""

    def call(self, frames: Tensor) -> Tensor:
        """Returns a tensor of the same shape and dtype."""
        return frames - Normalize.HALF


def _scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns a and b of a batch norm at inference, (C,) float64 each."""
    gamma, beta, mean, variance = (ops.convert_to_numpy(v).astype(np.float64) for v in norm.weights)
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale, beta - mean * scale


def _kernel_and_bias(conv: keras.layers.Conv2D) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel and the bias that a convolution effectively uses."""
    kernel = ops.convert_to_numpy(conv.standardized_kernel() if isinstance(conv, StandardizedConv2D) else conv.kernel)
    bias = ops.convert_to_numpy(conv.bias) if conv.use_bias else np.zeros(conv.filters)
    return kernel, bias


def _norms_after_convolutions(encoder: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Returns the norms that are the only reader of a convolution's output, by the convolution's name."""
    out = {}
    for layer in encoder.layers:
        readers = [node.operation for node in layer._outbound_nodes if node.operation in encoder.operations]
        if isinstance(layer, keras.layers.Conv2D) and len(readers) == 1:
            reader = readers[0]
            if isinstance(reader, keras.layers.BatchNormalization):
                out[layer.name] = reader
    return out


def fold(network: RepNet, policy: str, *, convolve_norms: bool = False) -> tuple[keras.Model, np.ndarray]:
    """Returns the frame model of `network`, with its normalizations folded.

    Args:
      network: Network with float32 weights, whatever its policy.
      policy: Keras dtype policy of the frame model's weights and arithmetic: "float32", "bfloat16" or "float16".
      convolve_norms: Whether norms that stay are depthwise convolutions of 1×1. oneDNN computes one and the ReLU after it in
        one pass, where a multiplication, an addition and a ReLU are three.

    Returns:
      A model from frames, (B, 112, 112, 3) in 0..255 of the policy's dtype, to taps, (B, 7, 7, 3E). And the bias, (E,) float32,
      to add to the maximum over positions of a sum of three taps, before the ReLU.
    """
    after = _norms_after_convolutions(network.encoder)
    absorbed = {norm.name for norm in after.values()}
    values: dict[str, list[np.ndarray]] = {}
    first = next(layer.name for layer in network.encoder.layers if isinstance(layer, keras.layers.Conv2D))

    def fold_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = _kernel_and_bias(layer)
            if layer.name in after:
                scale, shift = _scale_and_shift(after[layer.name])
                kernel, bias = kernel * scale, bias * scale + shift
            if layer.name == first:  # at most padding with zeros is between
                kernel = kernel / Normalize.HALF
            values[layer.name] = [kernel, bias]
            return _convolution(layer, policy)
        if isinstance(layer, Normalize):
            return Centre(name=layer.name, dtype=policy)
        if layer.name in absorbed:
            return keras.layers.Identity(name=layer.name, dtype=policy)
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, shift = _scale_and_shift(layer)
            if convolve_norms:
                values[layer.name] = [scale.reshape(1, 1, -1, 1), shift]
                return keras.layers.DepthwiseConv2D(1, data_format="channels_last", name=layer.name, dtype=policy)
            values[layer.name] = [scale, shift]
            return ScaleShift(name=layer.name, dtype=policy)
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    encoder = keras.models.clone_model(
        network.encoder,
        input_tensors=keras.Input(network.encoder.input_shape[1:], dtype=policy),  # or Keras would convert to float32 and back
        clone_function=fold_layer,
        call_function=lambda layer, *inputs, **_: layer(*inputs),  # replacements take no `mask`
    )
    kernel, bias = _fold_temporal(network)
    taps = keras.layers.Conv2D(
        kernel.shape[-1], 3, padding="same", data_format="channels_last", use_bias=False, name="taps", dtype=policy
    )
    model = keras.Model(encoder.input, taps(encoder.output), name="frame_model")
    values["taps"] = [kernel]
    for name, arrays in values.items():
        model.get_layer(name).set_weights(arrays)
    return model, bias


def _convolution(layer: keras.layers.Conv2D, policy: str) -> keras.layers.Conv2D:
    """Returns a plain convolution with a bias and the settings of `layer`."""
    settings: dict[str, Any] = {
        key: getattr(layer, key)
        for key in ("filters", "kernel_size", "strides", "padding", "data_format", "activation", "name")
    }
    return keras.layers.Conv2D(**settings, use_bias=True, dtype=policy)


def _fold_temporal(network: RepNet) -> tuple[np.ndarray, np.ndarray]:
    """Returns the taps' kernel, (3, 3, C, 3E), with the norm's scale folded in, and the remaining bias, (E,) float32."""
    scale, shift = _scale_and_shift(network.temporal.norm)
    kernel = ops.convert_to_numpy(network.temporal.kernel) * scale
    bias = ops.convert_to_numpy(network.temporal.bias) * scale + shift
    return kernel.transpose(1, 2, 3, 0, 4).reshape(3, 3, kernel.shape[3], -1), bias.astype(np.float32)
