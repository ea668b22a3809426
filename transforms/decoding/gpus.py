"""Whether this machine has an NVIDIA GPU. Imports nothing but the standard library, and does not wake the GPU."""

from __future__ import annotations

from pathlib import Path

CONTROL_DEVICE = Path("/dev/nvidiactl")
"""File through which programs reach NVIDIA's driver. Each machine or container with such a GPU has it."""


def has_nvidia_gpu() -> bool:
    """Returns whether this machine has an NVIDIA GPU and its driver."""
    return CONTROL_DEVICE.exists()
