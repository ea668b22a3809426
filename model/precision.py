"""Number formats of the network, and the one that suits the processor. Does not import TensorFlow."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Precision(enum.StrEnum):
    """Number format of the encoder and the temporal taps. Everything computed per window is always float32.

    INT8 are whole numbers of 8 bits, for processors only, and for models with `ActivationRanges`; see `model.quantization`.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


PRECISIONS = tuple(precision.value for precision in Precision)
"""The formats' names, for the command line."""

_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""Linux' names of the instructions that multiply bfloat16. Without them bfloat16 is emulated, and slower than float32."""

_INT8_FLAG = "avx2"
"""Linux' name of the instructions with which oneDNN is faster in 8-bit numbers than in float32. Newer ones are faster still."""

_CPU_INFO = Path("/proc/cpuinfo")


@dataclasses.dataclass(frozen=True)
class ActivationRanges:
    """Values that a network's activations hardly exceed. Larger ones are cut off at them where numbers have 8 bits.

    Attributes:
      layers: Range of each layer's output, which is 0 or more, by the name of the layer in the small encoder.
    """

    layers: Mapping[str, float]

    def __post_init__(self) -> None:
        """Raises ValueError unless all ranges are positive, finite numbers."""
        for value in self.layers.values():
            if not 0 < value < float("inf"):
                raise ValueError(f"an activation range must be a positive number. Received: {value}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ActivationRanges:
        """Returns the ranges of layers that were written as JSON; raises TypeError or ValueError if they are none."""
        return cls({name: float(value) for name, value in dict(values).items()})


def best_precision(cpu_info: Path = _CPU_INFO, *, is_calibrated: bool = False) -> str:
    """Returns the fastest number format on this processor that keeps the counts: "int8", "bfloat16" or "float32".

    Args:
      cpu_info: Linux' description of the processor. Where it is missing, the answer is "float32".
      is_calibrated: Whether the network has `ActivationRanges`. If not, the answer is not "int8".
    """
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return "float32"
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    has_onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() not in ("0", "false")
    if is_calibrated and has_onednn and _INT8_FLAG in flags:
        return "int8"
    return "bfloat16" if flags & _BFLOAT16_FLAGS else "float32"
