"""Number formats of the network, and the one that suits the processor. Does not import TensorFlow."""

from __future__ import annotations

import enum
from pathlib import Path


class Precision(enum.StrEnum):
    """Number format of the encoder and the temporal taps. Everything computed per window is always float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


PRECISIONS = tuple(precision.value for precision in Precision)
"""The formats' names, for the command line."""

_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""Linux' names of the instructions that multiply bfloat16. Without them bfloat16 is emulated, and slower than float32."""

_CPU_INFO = Path("/proc/cpuinfo")


def best_precision(cpu_info: Path = _CPU_INFO) -> str:
    """Returns the fastest number format on this processor that keeps the counts: "bfloat16" or "float32".

    Args:
      cpu_info: Linux' description of the processor. Where it is missing, the answer is "float32".
    """
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return "float32"
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return "bfloat16" if flags & _BFLOAT16_FLAGS else "float32"
