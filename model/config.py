"""Sizes of a RepNet: one network, two published configurations and our own small one."""

from __future__ import annotations

import dataclasses
from typing import Literal

WINDOW_FRAMES = 64
"""Frames that RepNet compares with each other at a time (section 3 of the paper)."""

FRAME_SIZE = 112
"""Height and width in pixels of the frames that travel and that the network takes."""

TAP_REACH = 3
"""Positions between the three taps of the temporal convolution: its dilation in time."""


@dataclasses.dataclass(frozen=True)
class RepNetConfig:
    """Everything that decides the network's variables and its arithmetic.

    Attributes:
      encoder: "resnet50v2" is Keras' ResNet50V2 cut at `conv4_block3_out` (the published models); "small" is a plain residual
        network of three stages with `encoder_channels`, fed with the frames halved to 56×56.
      encoder_channels: channels of the three stages of the small encoder; empty for "resnet50v2".
      embedding_channels: channels of the temporal convolution, that is, of a frame's embedding.
      similarity: how squared distances of two frames become similarities. "fixed": a softmax over a row, of the distances
        divided by `temperature` (the published models). "relative": the same, but divided by their mean over the window and
        multiplied by a learned sharpness, so that the matrix does not depend on the embeddings' scale. "kernels":
        exp(−k · d / mean), a channel for each of three learned sharpnesses k, so that a match is 1 however many there are, and
        a cut, which makes all other distances small, leaves at least the sharpest channel legible.
      temperature: divisor of the squared distances with "fixed". Unitless.
      layout_channels: with "kernels", channels to which each of the 7×7 positions is projected to be compared place by place,
        in a similarity matrix of its own beside that of the embeddings; those, being maxima over positions, do not tell where
        something is, and see a still background. 0: none.
      similarity_rows: "absolute" hands the heads rows of the similarity matrix as they are (the published models); "lags"
        shifts each row so that the frame itself is in the middle. A period then looks the same at every frame.
      similarity_channels: channels of the 3×3 convolution over the similarity matrix.
      head_channels: width of the transformer layer and the dense layers of both heads.
      num_heads: attention heads; divides `head_channels`.
      position_channels: channels of the learned positions: 1 (one scalar a frame) or `head_channels`.
      num_periods: period classes.
      period_offset: frames that class 0 stands for: a period is argmax + `period_offset` (1 for 2020, 0 for 2025).
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
        """Raises ValueError if the sizes do not fit together."""
        if self.head_channels % self.num_heads:
            raise ValueError(f"num_heads must divide head_channels. Received: {self.num_heads} and {self.head_channels}")
        if self.position_channels not in (1, self.head_channels):
            raise ValueError(f"position_channels must be 1 or head_channels. Received: {self.position_channels}")
        if (self.encoder == "small") != (len(self.encoder_channels) == 3):
            raise ValueError(f"the small encoder, and no other, has three channels. Received: {self.encoder_channels}")
        if self.layout_channels and self.similarity != "kernels":
            raise ValueError(f"layout_channels go with similarity 'kernels'. Received: {self.similarity!r}")

    @property
    def row_length(self) -> int:
        """Places in a row that the heads see: the window's frames, or all lags between two of them."""
        return 2 * WINDOW_FRAMES - 1 if self.similarity_rows == "lags" else WINDOW_FRAMES


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
    encoder_channels=(32, 48, 96),
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
"""Our own small RepNet, trained from drawn clips by `model.training`."""
