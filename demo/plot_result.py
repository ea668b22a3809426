"""Counts one video and plots the result: frames, the rising count, and the periodicity over time.

python -m demo.plot_result demo/videos/push_ups.mp4 docs/images/push_ups.png
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from model.errors import UserError
from model.frame_counts import rounded_count
from pipeline.counter import count_video, load_counter
from pipeline.options import add_model_options
from transforms.objects import find_object
from transforms.records import Failure, VideoCount

_STRIP_WIDTH_SHARE = 13.5  # width of the strip of frames, as a share of its height
_PICTURE_WIDTH_SHARE = 1.15  # of the height; many narrow frames show a movement better than a few wide ones
_GAP_SHARE = 0.03  # white gap between two frames, as a share of a frame's width
_MAX_LABELS = 30  # labels of more repetitions than this would overlap
_COUNT_COLOUR, _PERIODICITY_COLOUR, _GRID_COLOUR = "#1f6feb", "#f0883e", "#57606a"


def plot(result: VideoCount, pictures: Sequence[np.ndarray], title: str) -> Figure:
    """Returns a figure whose three panels share one time axis: frames, count so far, periodicity.

    Args:
      result: The counted video.
      pictures: Frames from the middles of equal parts of the video, each (height, width, 3) uint8, RGB.
      title: Name of the video, shown in the heading.
    """
    counted, times_sec, duration_sec = result.counted, result.times_sec, float(result.times_sec[-1])
    with matplotlib.rc_context({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 4.8), dpi=120, layout="constrained")
        strip, curve, periodicity = figure.subplots(3, 1, sharex=True, height_ratios=(0.65, 1.6, 0.8))

        borders_sec = np.linspace(0, duration_sec, len(pictures) + 1)
        for picture, start_sec, end_sec in zip(pictures, borders_sec[:-1], borders_sec[1:], strict=True):
            gap_sec = _GAP_SHARE * (end_sec - start_sec)
            strip.imshow(picture, extent=(start_sec + gap_sec, end_sec - gap_sec, 0, 1), aspect="auto")
        height, width = pictures[0].shape[:2]
        strip.set_ylim(0, 1)
        strip.set_box_aspect(height * (1 - 2 * _GAP_SHARE) / (len(pictures) * width))  # keeps the frames' proportions
        strip.set_axis_off()
        count = f"{rounded_count(counted.count)} repetitions ({counted.count:.1f})"
        strip.set_title(f"{title}: {count}, confidence {counted.confidence:.2f}", loc="left", fontweight="bold")

        curve.plot(times_sec, np.cumsum(counted.per_frame_count), color=_COUNT_COLOUR, linewidth=2)
        completed_sec = np.interp(counted.repetition_frames, np.arange(len(times_sec)), times_sec)
        completed = np.arange(1, len(completed_sec) + 1)
        curve.plot(completed_sec, completed, "o", color=_COUNT_COLOUR, markersize=6)
        for time_sec, number in zip(completed_sec, completed, strict=True):
            if len(completed) <= _MAX_LABELS:
                curve.annotate(f"{number}", (time_sec, number), (0, 7), textcoords="offset points", ha="center", fontsize=11)
        curve.set_ylabel("count so far")
        curve.set_ylim(0, 1.15 * max(1.0, counted.count))
        curve.yaxis.set_major_locator(MaxNLocator(5, integer=True))

        periodicity.fill_between(times_sec, counted.periodicity, color=_PERIODICITY_COLOUR, alpha=0.5, linewidth=0)
        periodicity.set_ylabel("periodicity")
        periodicity.set_ylim(0, 1)
        periodicity.set_xlabel("seconds")
        periodicity.set_xlim(0, duration_sec)
        for axes in (curve, periodicity):
            axes.grid(axis="x", color=_GRID_COLOUR, alpha=0.2)
        figure.align_ylabels((curve, periodicity))
    return figure


def read_pictures(path: Path, num_pictures: int | None = None) -> list[np.ndarray]:
    """Returns frames from the middles of equal parts of a video, cropped at the sides: each (height, width, 3) uint8, RGB.

    Args:
      path: Video file.
      num_pictures: Number of frames to return. Default: as many as fill the strip.

    Raises:
      ValueError: No frame decodes.
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
        raise ValueError(f"no frame of the video decodes. Received: {str(path)!r}")
    height, width = frames[0].shape[:2]
    num_pictures = num_pictures or math.ceil(_STRIP_WIDTH_SHARE * height / width)
    return [frames[int((part + 0.5) * len(frames) / num_pictures)] for part in range(num_pictures)]


def main(argv: Sequence[str] | None = None) -> int:
    """Counts the video, writes the picture and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.plot_result", description="Counts a short video and plots the result."
    )
    parser.add_argument("video", type=Path, help="video file to count")
    parser.add_argument("picture", type=Path, help="file to write; its suffix sets the format: .png, .svg or .pdf")
    add_model_options(parser)
    args = parser.parse_args(argv)
    video = find_object(str(args.video))
    if video is None:
        print(f"plot_result: the video must be a file. Received: {str(args.video)!r}", file=sys.stderr)
        return 2
    try:
        result = count_video(video, load_counter(args))
    except UserError as error:
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
