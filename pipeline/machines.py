"""Hardware that Dataflow rents out: types of GPU, machine types, and what processor cores and GPUs achieve.

Imports neither Beam nor TensorFlow, so that `repcount cost` starts at once.
"""

from __future__ import annotations

import dataclasses
import re

from model.presets import PRESETS

CORE_DECODE_FPS_BY_HEIGHT = {1080: 274.0, 720: 605.0, 360: 1_514.0}
"""Frames of H.264 that one core decodes a second, by height in pixels. See docs/performance.md."""

CORE_DECODE_FPS = CORE_DECODE_FPS_BY_HEIGHT[1080]
"""Frames that one core decodes a second, 1080p H.264."""

_OTHER_CORE_SCORE_FPS = 20.0
"""Frames that one core scores a second with a model that is not a preset: as with the published network."""

GPU_PEAK_SHARE = 0.2
"""Share of its peak that a GPU is taken to reach, the frames' upload included.

One H100 scored 80,000 frames a second with a published network: bfloat16, 256 frames a batch, the same Keras network under JAX.
That is 0.2 of 989 TFLOP/s. Other types are taken to reach the same share. `python -m benchmarks.devices` measures them.
"""

UPLOADED_FRAMES_PER_GBPS = 2_800.0
"""Frames a second that reach a GPU for each gigabyte a second of its PCI Express link. The H100 got 179,000 over 64 GB/s."""


@dataclasses.dataclass(frozen=True)
class GpuKind:
    """A type of GPU.

    Attributes:
      machine_type: Default machine type of a worker with one such GPU.
      machine_types: Regular expression of all machine types that have, or can be given, exactly one such GPU.
      precision: Number format that the GPU is fast in; a value of `model.precision.PRECISIONS`.
      peak_tflops: Peak rate for dense 16-bit matrices, by the maker's data sheet, in 10¹² operations a second.
      link_gbps: Rate of its PCI Express link in one direction, by the data sheet, in gigabytes a second.
      dollars_per_hour: Example price of one GPU on Dataflow, without its machine; None: no example price.
    """

    machine_type: str
    machine_types: str
    precision: str
    peak_tflops: float
    link_gbps: float
    dollars_per_hour: float | None = None

    def score_fps(self, gflop_per_frame: float) -> float:
        """Returns the frames that one GPU is taken to score a second, by a network of that cost."""
        return min(GPU_PEAK_SHARE * self.peak_tflops * 1000 / gflop_per_frame, UPLOADED_FRAMES_PER_GBPS * self.link_gbps)


GPU_KINDS = {
    "nvidia-l4": GpuKind("g2-standard-8", r"g2-(standard-(4|8|12|16|32)|custom-.*)", "bfloat16", 121.0, 32.0, 0.67),
    "nvidia-tesla-t4": GpuKind("n1-standard-8", "(n1|custom)-.*", "float16", 65.0, 16.0),
    "nvidia-tesla-a100": GpuKind("a2-highgpu-1g", "a2-highgpu-1g", "bfloat16", 312.0, 32.0),
    "nvidia-a100-80gb": GpuKind("a2-ultragpu-1g", "a2-ultragpu-1g", "bfloat16", 312.0, 32.0),
    "nvidia-h100-80gb": GpuKind("a3-highgpu-1g", "a3-highgpu-1g", "bfloat16", 989.0, 64.0),
}
"""Types of GPU that Dataflow attaches to workers and that the image supports: the T4 and newer ones. The cuDNN in
locks/gpu.lock has no code for the P100 and the V100. bfloat16 came with the generation of the A100."""

_CORES = {"a2-highgpu-1g": 12, "a2-ultragpu-1g": 12, "a3-highgpu-1g": 26}
"""Virtual processors of machine types whose names do not tell them."""

_CORES_IN_NAME = re.compile(
    r"(?:[a-z][a-z0-9]*-)?custom-(?P<custom>\d+)-\d+(?:-ext)?"  # such as n2-custom-8-32768-ext: 8 cores, 32,768 MB
    r"|[a-z][a-z0-9]*-(?!custom)[a-z]+-(?P<predefined>\d+)(?:-[a-z]*lssd|-metal)?"  # such as c3-standard-8-lssd
)


def core_score_fps(model: str) -> float:
    """Returns the frames that one core scores a second.

    Args:
      model: Name of a preset. Anything else, such as a path, is taken to be as slow as the published network.
    """
    preset = PRESETS.get(model)
    return preset.core_score_fps if preset and preset.core_score_fps else _OTHER_CORE_SCORE_FPS


def core_count_fps(model: str, *, has_gpu: bool = False) -> float:
    """Returns the frames that one core decodes (1080p) and, unless a GPU does that, scores a second."""
    if has_gpu:
        return CORE_DECODE_FPS
    return 1 / (1 / CORE_DECODE_FPS + 1 / core_score_fps(model))


def cores_of(machine_type: str) -> int | None:
    """Returns the virtual processors of a machine type, such as 8 of "g2-standard-8" or "n1-custom-8-32768".

    Returns None if the name does not say.
    """
    found = _CORES_IN_NAME.fullmatch(machine_type)
    return _CORES.get(machine_type) or (int(found["custom"] or found["predefined"]) if found else None)
