"""Memory of a process and the processes that it started, while it runs. Needs Linux."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class MemorySample:
    """Resident memory at one time.

    Attributes:
      unix_sec: The time, in seconds since 1970.
      own_bytes: Memory of the process.
      child_bytes: Memory of the largest of its descendants; 0 if there is none.
    """

    unix_sec: float
    own_bytes: int
    child_bytes: int


def family(pid: int) -> Iterator[Path]:
    """Yields the folders in /proc of a process and its descendants."""
    folder = Path(f"/proc/{pid}")
    yield folder
    for task in folder.glob("task/*/children"):
        for child in task.read_text().split():
            yield from family(int(child))


def sample_memory(pid: int) -> MemorySample:
    """Returns the memory of a process and its descendants now. Descendants that end meanwhile may be left out."""
    sizes: list[int] = []
    try:
        for folder in family(pid):
            sizes.append(int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return MemorySample(time.time(), sizes[0] if sizes else 0, max(sizes[1:], default=0))
