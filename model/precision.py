"""Which number format suits the hardware. Knows the formats' names without loading TensorFlow."""

from __future__ import annotations

from pathlib import Path

PRECISIONS = ("float32", "bfloat16", "float16")
"""Values of `model.scoring.Precision`."""

_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
"""What Linux calls a processor's instructions that multiply bfloat16; without them it is emulated, and slower than float32."""

_CPU_INFO = Path("/proc/cpuinfo")


def best_precision(cpu_info: Path = _CPU_INFO) -> str:
    """Returns the fastest number format of this machine's processor that keeps the counts: "bfloat16" or "float32".

    Args:
      cpu_info: Linux' description of the processor; elsewhere it is missing and the answer float32.
    """
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return "float32"
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return "bfloat16" if flags & _BFLOAT16_FLAGS else "float32"
