"""How much memory a decoder process may use, if no option says so. Imports nothing but the standard library."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from model.cores import num_cores

MEMORY_SHARE = 0.5
"""Share of the machine's memory that the limits of one decoder per core add up to; the model and the frames that wait for it
need the rest. A thread has two decoders, the second for the next video: if all reach their limits, they take all memory."""

MIN_BYTES = 1 << 30
"""Least limit, so that large frames do not fail on machines with many cores and little memory, which rarely all decode them."""

MAX_BYTES = 4 << 30
"""Greatest limit, since a decoder that takes more is out of hand."""

_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with the memory of a container, in version 2 and version 1 of control groups."""


def default_memory_bytes() -> int:
    """Returns the memory limit of one decoder in bytes: an equal share for each core, since each core works on one video."""
    share = int(MEMORY_SHARE * machine_memory_bytes()) // num_cores()
    return max(MIN_BYTES, min(share, MAX_BYTES))


def machine_memory_bytes() -> int:
    """Returns the memory of this machine in bytes, or of the container that this process runs in if that has less."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            memory_bytes = min(memory_bytes, int(Path(path).read_text(encoding="ascii")))
    return memory_bytes
