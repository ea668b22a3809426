"""Annotates two drawn videos, a landscape and a portrait, and puts some of their frames side by side.

python -m demo.annotated_picture docs/images/annotated.png
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from demo.draw_videos import CLIPS, draw_clip
from pipeline.count_annotation import Annotator
from pipeline.counter import Counter, count_video, load_counter
from pipeline.options import add_model_options
from transforms.objects import find_object
from transforms.records import VideoCount

_HEIGHT = 320
_GAP = 8
_PICTURES = (("squats.mp4", (0.33, 0.97)), ("overhead_press_portrait.mp4", (0.7,)))
"""Clips, and at which shares of their frames to show them."""


def draw(counter: Counter, folder: Path, scale: float = 2.5) -> np.ndarray:
    """Returns the picture as (height, width, 3) uint8 RGB.

    Args:
      counter: Counts the videos.
      folder: Where to draw and annotate them.
      scale: Size of the videos as a multiple of that of the demo's.

    Raises:
      RuntimeError: A video cannot be counted or annotated.
    """
    shown: list[np.ndarray] = []
    for name, shares in _PICTURES:
        clip = next(clip for clip in CLIPS if clip.file == name)
        width, height = (round(scale * side / 2) * 2 for side in clip.size)
        draw_clip(dataclasses.replace(clip, size=(width, height)), folder / name)
        video = find_object(str(folder / name))
        result = count_video(video, counter) if video else None
        output = folder / f"counted_{name}"
        with contextlib.closing(Annotator({str(folder / name): output})) as annotator:
            if not isinstance(result, VideoCount) or not annotator.annotate(result, counter.decoding):
                raise RuntimeError(f"{name} must be counted and annotated")
        frames = _read(output)
        for share in shares:
            frame = frames[round(share * (len(frames) - 1))]
            size = round(frame.shape[1] * _HEIGHT / frame.shape[0]), _HEIGHT
            shown += [cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.full((_HEIGHT, _GAP, 3), 255, np.uint8)]
    return np.hstack(shown[:-1])


def _read(path: Path) -> list[np.ndarray]:
    """Returns all frames of a short video, each (height, width, 3) uint8 RGB."""
    reader, frames = cv2.VideoCapture(str(path)), []
    while (read := reader.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    reader.release()
    return frames


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.annotated_picture", description="Draws a picture of annotated videos."
    )
    parser.add_argument("picture", type=Path, help="file to write, .png")
    add_model_options(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        picture = draw(load_counter(args), Path(folder))
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.picture), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return 0


if __name__ == "__main__":
    sys.exit(main())
