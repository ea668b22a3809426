"""Plots one counted video: frames of it, how its count rises, and how periodic and how fast it is at every moment.

python -m demo.plot_result demo/videos/squats.mp4 docs/images/squats.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from model.presets import WeightsError
from pipeline.commands.count import count_video, load_counter
from pipeline.options import UsageError, add_model_options
from transforms.listing import find_object
from transforms.records import Failure, VideoCount

_NUM_PICTURES = 16
_PICTURE_WIDTH_SHARE = 0.8  # of its height; many narrow pictures show a movement better than few wide ones
_COUNT_COLOUR, _PERIODICITY_COLOUR, _QUIET = "#1f6feb", "#f0883e", "#57606a"


def plot(result: VideoCount, pictures: Sequence[np.ndarray], title: str) -> Figure:
    """Returns the figure.

    Args:
      result: the counted video.
      pictures: frames from the middles of equal parts of the video, each (height, width, 3) uint8, RGB.
      title: what to call the video.
    """
    counted, times_sec = result.counted, result.times_sec
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 4.6), dpi=120, layout="constrained")
        strip, curve, periodicity = figure.subplots(3, 1, height_ratios=(0.9, 1.5, 0.8))

        strip.imshow(np.concatenate(pictures, axis=1), aspect="equal")
        strip.set_axis_off()
        heading = f"{title}: {counted.count:.1f} repetitions, confidence {counted.confidence:.2f}"
        strip.set_title(heading, loc="left", fontweight="bold")

        curve.plot(times_sec, np.cumsum(counted.per_frame_count), color=_COUNT_COLOUR, linewidth=2)
        completed_sec = np.interp(counted.repetition_frames, np.arange(len(times_sec)), times_sec)
        curve.plot(completed_sec, np.arange(1, len(completed_sec) + 1), "o", color=_COUNT_COLOUR, markersize=5)
        curve.set_ylabel("count so far")
        curve.set_ylim(bottom=0)
        curve.tick_params(labelbottom=False)

        periodicity.fill_between(times_sec, counted.periodicity, color=_PERIODICITY_COLOUR, alpha=0.5, linewidth=0)
        periodicity.set_ylabel("periodicity")
        periodicity.set_ylim(0, 1)
        periodicity.set_xlabel("seconds")
        for axes in (curve, periodicity):
            axes.set_xlim(0, result.facts.duration_sec)
            axes.grid(axis="x", color=_QUIET, alpha=0.2)
    return figure


def read_pictures(path: Path, num_pictures: int = _NUM_PICTURES) -> list[np.ndarray]:
    """Returns the frames in the middles of equal parts of a video, their sides cut off, each (height, width, 3) uint8, RGB.

    Raises:
      ValueError: no frame decodes.
    """
    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        arrived, frame = reader.read()
        if not arrived:
            break
        height, width = frame.shape[:2]
        left = max(0, int(width - _PICTURE_WIDTH_SHARE * height) // 2)
        frames.append(cv2.cvtColor(frame[:, left : width - left], cv2.COLOR_BGR2RGB))
    reader.release()
    if not frames:
        raise ValueError(f"a picture needs a video that decodes. Received: {str(path)!r}")
    return [frames[int((part + 0.5) * len(frames) / num_pictures)] for part in range(num_pictures)]


def main(argv: Sequence[str] | None = None) -> int:
    """Counts the video named on the command line and writes the picture; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.plot_result", description="Counts a short video and plots the result."
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("picture", type=Path, help="where to; the suffix decides the format: .png, .svg, .pdf")
    add_model_options(parser)
    args = parser.parse_args(argv)
    video = find_object(str(args.video))
    if video is None:
        print(f"plot_result: the video must be a file. Received: {str(args.video)!r}", file=sys.stderr)
        return 2
    try:
        result = count_video(video, load_counter(args))
    except (UsageError, WeightsError) as error:
        print(f"plot_result: {error}", file=sys.stderr)
        return 2
    if isinstance(result, Failure):
        print(f"plot_result: {result.code.value}: {result.message}", file=sys.stderr)
        return 1
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    plot(result, read_pictures(args.video), args.video.name).savefig(args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
