"""Sizes of a RepNet: the two published configurations and our own small one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

WINDOW_FRAMES = 64
"""Frames in a window, which RepNet compares with each other (section 3 of the paper)."""

FRAME_SIZE = 112
"""Height and width in pixels of the frames that the network takes."""

TAP_REACH = 3
"""Positions between the three taps of the temporal convolution: its dilation in time."""

SMALL_ENCODER_STEPS = ((8, 4), (3, 2), (3, 2))
"""Kernel size and stride in pixels with which each stage of the small encoder begins: 112 → 28 → 14 → 7 pixels a side."""

_FEATURE_POSITIONS = 7 * 7

_RESNET_FEATURES = 1024
_RESNET_MULTIPLY_ADDS = 554_545_152
"""Of the cut ResNet50V2, per frame of 112×112 pixels; a test derives it from the Keras layers."""


_CHOICES = {
    "encoder": ("resnet50v2", "small"),
    "similarity": ("fixed", "relative", "kernels"),
    "similarity_rows": ("absolute", "lags"),
}
"""Values of the fields of `RepNetConfig` that are words."""


@dataclasses.dataclass(frozen=True)
class RepNetConfig:
    """Everything that determines the network's variables and arithmetic.

    Attributes:
      encoder: Network that turns a frame into 7×7 features. "resnet50v2": Keras' ResNet50V2 cut at `conv4_block3_out` (the
        published models). "small": a residual network of three stages.
      encoder_channels: Channels of the small encoder's three stages; empty for "resnet50v2".
      embedding_channels: Channels of the temporal convolution, and so of a frame's embedding.
      similarity: How the squared distance d of two frames becomes a similarity. "fixed": softmax of −d / `temperature` over a
        row (the published models). "relative": softmax of −k · d / mean(d), k learned, so that the scale of the embeddings does
        not matter. "kernels": exp(−k · d / mean(d)), one channel for each of three learned k. A match is then 1 however many
        there are, and after a cut, which shrinks all other relative distances, at least the sharpest channel stays legible.
      temperature: Divisor of the squared distances, used by "fixed" only. Unitless.
      layout_channels: Channels to which "kernels" projects each of the 7×7 positions, to compare frames place by place in a
        second similarity matrix. Embeddings are maxima over positions: they lose where things are, and see a still background.
        0: no second matrix.
      similarity_rows: What the heads see of the similarity matrix. "absolute": its rows (the published models). "lags": rows
        shifted so that the frame itself is in the middle; a period then looks the same at every frame.
      similarity_channels: Channels of the 3×3 convolution over the similarity matrix.
      head_channels: Width of the transformer layer and of the dense layers in both heads.
      num_heads: Attention heads; must divide `head_channels`.
      position_channels: Channels of the learned positions: 1 (a scalar per frame) or `head_channels`.
      num_periods: Number of period classes.
      period_offset: Period in frames of class 0: period = argmax + `period_offset` (1 for 2020, 0 for 2025).
    """

    encoder: Literal["resnet50v2", "small"]
    embedding_channels: int
    head_channels: int
    num_heads: int
    position_channels: int
    num_periods: int
    period_offset: int
    encoder_channels: tuple[int, ...] = ()
    similarity: Literal["fixed", "relative", "kernels"] = "fixed"
    temperature: float = 13.544
    layout_channels: int = 0
    similarity_rows: Literal["absolute", "lags"] = "absolute"
    similarity_channels: int = 32

    def __post_init__(self) -> None:
        """Raises ValueError if a field has a value of another kind, or the sizes do not fit together."""
        for field, names in _CHOICES.items():
            if getattr(self, field) not in names:
                raise ValueError(f"{field} must be one of {', '.join(names)}. Received: {getattr(self, field)!r}")
        for field in ("layout_channels", "period_offset"):
            if type(getattr(self, field)) is not int or getattr(self, field) < 0:
                raise ValueError(f"{field} must be a whole number of at least 0. Received: {getattr(self, field)!r}")
        sizes = ("embedding_channels", "head_channels", "num_heads", "num_periods", "position_channels", "similarity_channels")
        for field, size in [(name, getattr(self, name)) for name in sizes] + [
            ("encoder_channels", size) for size in self.encoder_channels
        ]:
            if type(size) is not int or size < 1:
                raise ValueError(f"{field} must be whole numbers of at least 1. Received: {size!r}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a positive number. Received: {self.temperature!r}")
        if self.head_channels % self.num_heads:
            raise ValueError(f"num_heads must divide head_channels. Received: {self.num_heads} and {self.head_channels}")
        if self.position_channels not in (1, self.head_channels):
            raise ValueError(f"position_channels must be 1 or head_channels. Received: {self.position_channels}")
        if (self.encoder == "small") != (len(self.encoder_channels) == 3):
            raise ValueError(
                f"encoder_channels has three values, for the small encoder only. Received: {self.encoder_channels}"
            )
        if self.layout_channels and self.similarity != "kernels":
            raise ValueError(f"layout_channels needs similarity 'kernels'. Received: {self.similarity!r}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RepNetConfig:
        """Returns the configuration whose fields were written as JSON; raises TypeError or ValueError if they do not fit."""
        return cls(**{**values, "encoder_channels": tuple(values["encoder_channels"])})

    @property
    def row_length(self) -> int:
        """Length of the rows that the heads see: the window's frames, or all lags between two of them."""
        return 2 * WINDOW_FRAMES - 1 if self.similarity_rows == "lags" else WINDOW_FRAMES

    @property
    def gflop_per_frame(self) -> float:
        """Floating-point operations per sampled frame, in billions: the convolutions of the encoder and of the temporal taps.

        A multiply-add counts as two. What is computed per window adds 1 % (published models) to 9 % (`lite`) at their strides.
        """
        if self.encoder == "resnet50v2":
            features, multiply_adds = _RESNET_FEATURES, _RESNET_MULTIPLY_ADDS
        else:
            features, multiply_adds = 3, 0
            side = FRAME_SIZE
            for (kernel_size, stride), width in zip(SMALL_ENCODER_STEPS, self.encoder_channels, strict=True):
                side //= stride
                multiply_adds += side * side * (kernel_size**2 * features + 2 * 3 * 3 * width) * width
                features = width
        taps = _FEATURE_POSITIONS * 3 * 3 * features * 3 * self.embedding_channels
        return 2e-9 * (multiply_adds + taps)


REPNET_2020 = RepNetConfig(
    encoder="resnet50v2",
    embedding_channels=512,
    head_channels=512,
    num_heads=4,
    position_channels=1,
    num_periods=32,
    period_offset=1,
)
"""The network of `ckpt-88`, published with the paper: 25,690,081 parameters."""

REPNET_2025 = dataclasses.replace(REPNET_2020, position_channels=512, num_periods=64, period_offset=0)
"""The network of `ckpt-70`, published in 2025: 25,771,905 parameters."""

LITE = RepNetConfig(
    encoder="small",
    encoder_channels=(48, 64, 128),
    embedding_channels=128,
    head_channels=192,
    num_heads=4,
    position_channels=192,
    num_periods=32,
    period_offset=1,
    similarity="kernels",
    layout_channels=8,
    similarity_rows="lags",
    similarity_channels=24,
)
"""Our own small RepNet, trained on drawn clips by `model.training`."""
