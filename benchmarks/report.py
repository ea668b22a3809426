"""Shared by all benchmarks: median timing, a description of the machine, and the final line of JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def median_sec(work: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Calls `work` `repeats` times; returns the median wall time in seconds and the result of the last call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def describe_machine() -> dict[str, Any]:
    """Returns the processor's name, its instruction sets for matrix work, usable cores, system and Python version."""
    name, flags = platform.processor() or platform.machine(), set()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "matrix_flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8"}),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def print_result(name: str, **results: object) -> None:
    """Prints the benchmark's final line of JSON: its name, results and the machine."""
    print(json.dumps({"benchmark": name, **results, "machine": describe_machine()}))
