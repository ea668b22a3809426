"""Memory of a whole run: one hour of 360p video against a tenth of it.

    python -m benchmarks.memory [--minutes 6 60]

Each video is drawn, then counted by `repcount run` in a process of its own, whose peak of resident memory the system tells.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import print_result

FPS = 30
WIDTH, HEIGHT = 640, 360
PERIOD_FRAMES = 40


def draw_video(path: Path, minutes: int) -> None:
    """Draws a disc that goes up and down in front of a still background."""
    background = cv2.resize(np.random.default_rng(0).integers(0, 200, (9, 16, 3), np.uint8), (WIDTH, HEIGHT))
    cycle = []
    for i in range(PERIOD_FRAMES):
        frame = background.copy()
        height = round(HEIGHT * (0.5 + 0.35 * np.sin(2 * np.pi * i / PERIOD_FRAMES)))
        cv2.circle(frame, (WIDTH // 2, height), 40, (40, 180, 230), -1)
        cycle.append(frame)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for i in range(minutes * 60 * FPS):
        writer.write(cycle[i % PERIOD_FRAMES])
    writer.release()


def count(path: Path, folder: Path) -> tuple[float, float]:
    """Counts a video with `repcount run`; returns the peak of resident memory in MiB and the seconds it took."""
    command = [sys.executable, "-m", "pipeline.main", "run", "--input", str(path), "--output", f"duckdb:{folder}/counts.duckdb"]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"repcount run failed on {path}")
    return usage.ru_maxrss / 1024, time.perf_counter() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs=2, default=[6, 60], help="lengths of the two videos. Default: 6 60")
    short, long = parser.parse_args().minutes
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (short, long):
            path = Path(folder, f"{minutes}.mp4")
            draw_video(path, minutes)
            peak_mib, seconds = count(path, Path(folder))
            print(f"{minutes} min: peak {peak_mib:,.0f} MiB, {seconds:.0f} s", flush=True)
            results |= {f"peak_mib_{minutes}min": round(peak_mib), f"sec_{minutes}min": round(seconds, 1)}
    ratio = results[f"peak_mib_{long}min"] / results[f"peak_mib_{short}min"]
    print_result("memory", **results, ratio=round(ratio, 2))


if __name__ == "__main__":
    main()
