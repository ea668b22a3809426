"""Peak memory of a whole run: a long 360p video against a short one.

    python -m benchmarks.memory [--minutes 6 60]

Draws each video, counts it with `repcount run` in a separate process, and reads that process's peak resident memory. The
decoder is a process of its own and not included. The peak must not grow with the length of the video.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import print_result

FPS = 30
WIDTH, HEIGHT = 640, 360
PERIOD_FRAMES = 40


def draw_video(path: Path, minutes: float) -> None:
    """Draws a disc that moves up and down in front of a still background."""
    background = cv2.resize(np.random.default_rng(0).integers(0, 200, (9, 16, 3), np.uint8), (WIDTH, HEIGHT))
    cycle = []
    for i in range(PERIOD_FRAMES):
        frame = background.copy()
        height = round(HEIGHT * (0.5 + 0.35 * np.sin(2 * np.pi * i / PERIOD_FRAMES)))
        cv2.circle(frame, (WIDTH // 2, height), 40, (40, 180, 230), -1)
        cycle.append(frame)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for i in range(round(minutes * 60 * FPS)):
        writer.write(cycle[i % PERIOD_FRAMES])
    writer.release()


def count(path: Path, folder: Path) -> tuple[float, float]:
    """Counts a video with `repcount run`; returns its peak resident memory in MiB and its wall time in seconds."""
    command = [sys.executable, "-m", "pipeline", "run", "--input", str(path), "--output", f"duckdb:{folder}/counts.duckdb"]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"repcount run failed on {path}")
    return usage.ru_maxrss / 1024, time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> None:
    """Prints peak memory and wall time of each run, and the ratio of the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, nargs=2, default=[6, 60], help="lengths of the two videos in minutes. Default: 6 60"
    )
    short, long = parser.parse_args(argv).minutes
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (short, long):
            path = Path(folder, f"{minutes:g}.mp4")
            draw_video(path, minutes)
            peak_mib, seconds = count(path, Path(folder))
            print(f"{minutes:g} min: peak {peak_mib:,.0f} MiB, {seconds:.0f} s", flush=True)
            results |= {f"peak_mib_{minutes:g}min": round(peak_mib), f"sec_{minutes:g}min": round(seconds, 1)}
    ratio = results[f"peak_mib_{long:g}min"] / results[f"peak_mib_{short:g}min"]
    print_result("memory", **results, ratio=round(ratio, 2))


if __name__ == "__main__":
    main()
