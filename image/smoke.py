"""Checks an installation by counting a drawn clip.

    python image/smoke.py [--require_gpu]

Exits with code 0 if the count is right. With --require_gpu it fails if TensorFlow finds no GPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

REPETITIONS = 8

_PERIOD_FRAMES = 30


def draw_clip(path: Path) -> None:
    """Draws a bright square that moves up and down eight times in eight seconds."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (320, 240))
    for index in range(REPETITIONS * _PERIOD_FRAMES):
        frame = np.full((240, 320, 3), 40, np.uint8)
        top = round(20 + 70 * (1 - np.cos(2 * np.pi * index / _PERIOD_FRAMES)))
        cv2.rectangle(frame, (130, top), (190, top + 60), (60, 200, 230), -1)
        writer.write(frame)
    writer.release()


def main() -> int:
    """Counts the clip, prints the result and returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        draw_clip(clip)
        command = [sys.executable, "-m", "pipeline", "count", *sys.argv[1:], "--json", str(clip)]
        counted = subprocess.run(command, check=False, capture_output=True, text=True)
    print(counted.stdout, end="")
    if counted.returncode:
        print(f"the clip was not counted: {counted.stderr.strip()}", file=sys.stderr)
        return counted.returncode
    if round(count := float(json.loads(counted.stdout)["count"])) != REPETITIONS:
        print(f"the count must be {REPETITIONS}. Received: {count:.1f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
