"""Draws the demo videos: six short clips of people exercising, and `truth.csv` with the true counts.

    python -m demo.draw_videos demo/videos

The clips are the same on every machine, because the name of a clip seeds its random numbers. Clips that are newer than this
code are not drawn again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from demo import figure, movements, scenes
from demo.figure import Camera, Look, Stance, mirrored
from demo.movements import (
    Movement,
    jumping_jacks,
    no_repetition,
    overhead_press,
    push_ups,
    squats,
    toe_touches_then_rest,
    wander,
)

_SOURCES = tuple(Path(source) for source in (__file__, figure.__file__, movements.__file__, scenes.__file__))
_OVERSAMPLING = 2  # the canvas is this many times larger than a frame
_MARGIN_PIXELS = 10  # of a frame; around the picture, for a shaking camera
_NOISE_FRAMES = 16  # different noise pictures, used in random order


@dataclasses.dataclass(frozen=True)
class Clip:
    """A demo video.

    Attributes:
      file: File name.
      count: True number of repetitions.
      size: (width, height) in pixels.
      fps: Frames per second.
      length_sec: Duration in seconds.
      scene: Function that paints the background.
      floor_share: Row of the person's feet as a share of the height. The wall ends a little above it.
      metre_share: Size of a metre as a share of the height.
      look: Colours of the person.
      faces: 1 if the person is seen from the side and faces right, -1 if left, 0 if seen from the front.
      movement: Function that returns the movement, given the clip's random numbers.
    """

    file: str
    count: int
    size: tuple[int, int]
    fps: int
    length_sec: float
    scene: scenes.Scene
    floor_share: float
    metre_share: float
    look: Look
    faces: int
    movement: Callable[[np.random.Generator], Movement]


_SKINS = ((132, 168, 214), (98, 132, 186), (62, 90, 138))
CLIPS = (
    Clip(
        file="push_ups.mp4",
        count=8,
        size=(256, 192),
        fps=30,
        length_sec=10.7,
        scene=scenes.paint_gym,
        floor_share=0.84,
        metre_share=0.60,
        look=Look(skin=_SKINS[0], hair=(40, 60, 86), shirt=(60, 60, 205), trousers=(60, 48, 44), shoes=(235, 235, 235)),
        faces=1,
        movement=push_ups,
    ),
    Clip(
        file="squats.mp4",
        count=6,
        size=(256, 192),
        fps=25,
        length_sec=11.2,
        scene=scenes.paint_living_room,
        floor_share=0.90,
        metre_share=0.44,
        look=Look(skin=_SKINS[1], hair=(30, 30, 34), shirt=(190, 120, 40), trousers=(58, 52, 50), shoes=(70, 70, 220)),
        faces=-1,
        movement=squats,
    ),
    Clip(
        file="jumping_jacks.mp4",
        count=9,
        size=(256, 192),
        fps=25,
        length_sec=8.7,
        scene=scenes.paint_yard,
        floor_share=0.92,
        metre_share=0.41,
        look=Look(skin=_SKINS[2], hair=(24, 24, 28), shirt=(70, 200, 235), trousers=(120, 70, 40), shoes=(240, 240, 240)),
        faces=0,
        movement=jumping_jacks,
    ),
    Clip(
        file="overhead_press_portrait.mp4",
        count=7,
        size=(192, 256),
        fps=30,
        length_sec=10.5,
        scene=scenes.paint_gym,
        floor_share=0.91,
        metre_share=0.345,
        look=Look(skin=_SKINS[1], hair=(28, 36, 48), shirt=(190, 190, 60), trousers=(70, 60, 56), shoes=(230, 230, 230)),
        faces=0,
        movement=overhead_press,
    ),
    Clip(
        file="toe_touches_then_rest.mp4",
        count=5,
        size=(256, 192),
        fps=25,
        length_sec=11.9,
        scene=scenes.paint_yard,
        floor_share=0.91,
        metre_share=0.385,
        look=Look(skin=_SKINS[0], hair=(50, 76, 110), shirt=(214, 214, 214), trousers=(96, 64, 40), shoes=(50, 50, 54)),
        faces=1,
        movement=toe_touches_then_rest,
    ),
    Clip(
        file="no_repetition.mp4",
        count=0,
        size=(256, 192),
        fps=30,
        length_sec=9.6,
        scene=scenes.paint_living_room,
        floor_share=0.90,
        metre_share=0.44,
        look=Look(skin=_SKINS[2], hair=(22, 22, 24), shirt=(90, 150, 70), trousers=(110, 84, 62), shoes=(225, 225, 225)),
        faces=1,
        movement=no_repetition,
    ),
)
"""Clips that `make demo` draws, in the order of `truth.csv`."""


def draw_clip(clip: Clip, path: Path) -> None:
    """Draws one clip and writes it whole or not at all, as H.264, which every browser plays.

    Raises:
      OSError: the file cannot be written completely.
    """
    frames = _frames(clip)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".drawing-") as folder:
        unfinished = Path(folder) / path.name
        try:
            _encode(clip, frames, unfinished)
        except av.FFmpegError as error:
            raise OSError(f"could not write {path}: {error.strerror}") from error
        os.replace(unfinished, path)


def _encode(clip: Clip, frames: Sequence[np.ndarray], path: Path) -> None:
    """Encodes (height, width, 3) uint8 BGR frames in one thread, so that the file is the same on every machine."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=clip.fps, options={"crf": "20", "preset": "fast"})
        stream.width, stream.height = clip.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))


def draw_videos(folder: Path) -> list[Path]:
    """Draws the clips that are missing or older than this code, and writes `truth.csv`. Returns the paths of the drawn clips.

    Raises:
      OSError: a clip cannot be written; see `draw_clip`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed_ns = max(source.stat().st_mtime_ns for source in _SOURCES)
    drawn = []
    for clip in CLIPS:
        path = folder / clip.file
        if not path.exists() or path.stat().st_mtime_ns < changed_ns:
            draw_clip(clip, path)
            drawn.append(path)
    unfinished = folder / ".truth.csv.part"
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "count"))
        writer.writerows((clip.file, clip.count) for clip in CLIPS)
    os.replace(unfinished, folder / "truth.csv")
    return drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the videos into the folder named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.draw_videos", description="Draws the demo videos and truth.csv.")
    parser.add_argument("folder", type=Path, help="folder to write to; created if missing")
    folder = parser.parse_args(argv).folder
    try:
        drawn = draw_videos(folder)
    except OSError as error:
        print(f"draw_videos: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {len(drawn)} videos drawn, {len(CLIPS) - len(drawn)} up to date")
    return 0


def _frames(clip: Clip) -> list[np.ndarray]:
    """Returns the frames of a clip, each (height, width, 3) uint8, BGR."""
    rng = np.random.default_rng(zlib.crc32(clip.file.encode()))
    movement = clip.movement(rng)
    width, height = clip.size
    canvas_size = [(side + 2 * _MARGIN_PIXELS) * _OVERSAMPLING for side in (height, width)]
    floor_row = (clip.floor_share * height + _MARGIN_PIXELS) * _OVERSAMPLING
    camera = Camera(clip.metre_share * height * _OVERSAMPLING, floor_row, canvas_size[1] / 2)
    empty: np.ndarray = np.zeros((*canvas_size, 3), np.uint8)
    clip.scene(empty, int(floor_row - 0.13 * canvas_size[0]), rng)
    empty = cv2.GaussianBlur(empty, (0, 0), 2.6)  # out of focus

    num_frames = round(clip.length_sec * clip.fps)
    times = np.arange(num_frames) / clip.fps
    shake = np.stack([wander(rng, times, 0.8), wander(rng, times, 0.6)], axis=1)
    roll_deg = wander(rng, times, 0.12)
    light = 1.0 + wander(rng, times, 0.025)
    noise = rng.normal(0.0, 1.1, (_NOISE_FRAMES, height, width, 1)).astype(np.float32)

    frames = []
    for number, time_sec in enumerate(times):
        canvas = empty.copy()
        stance = movement(float(time_sec))
        if clip.faces < 0:
            stance = mirrored(stance)
        _draw_shadow(canvas, camera, stance)
        if clip.faces:
            figure.draw_from_side(canvas, camera, clip.look, stance, clip.faces)
        else:
            figure.draw_from_front(canvas, camera, clip.look, stance, pressing=stance.bar is not None)
        seen = cv2.warpAffine(
            canvas, _view(clip.size, shake[number], roll_deg[number]), clip.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        grain = np.roll(noise[rng.integers(_NOISE_FRAMES)], rng.integers(0, 64, 2), axis=(0, 1))
        frames.append(np.clip(seen * light[number] + grain, 0, 255).astype(np.uint8))
    return frames


def _view(size: tuple[int, int], shake: np.ndarray, roll_deg: float) -> np.ndarray:
    """Returns the (2, 3) affine transform from pixels of a frame to pixels of the canvas: scaled, rolled and shaken."""
    width, height = size
    angle = np.radians(roll_deg)
    turn = _OVERSAMPLING * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame_middle = np.array([(width - 1) / 2, (height - 1) / 2])
    canvas_middle = _OVERSAMPLING * (np.array([width, height]) / 2 + _MARGIN_PIXELS) - 0.5
    return np.concatenate([turn, (canvas_middle + _OVERSAMPLING * shake - turn @ frame_middle)[:, None]], axis=1)


def _draw_shadow(canvas: np.ndarray, camera: Camera, stance: Stance) -> None:
    """Darkens the floor under feet, hips and hands; more so the lower they are."""
    reach_rows = int(0.12 * camera.pixels_per_m)
    top, bottom = int(camera.floor_row) - reach_rows, min(int(camera.floor_row) + reach_rows, canvas.shape[0])
    mask = np.zeros((bottom - top, canvas.shape[1]), np.float32)
    for position, half_width_m in ((stance.hips, 0.34), *((end, 0.16) for end in (*stance.feet, *stance.hands))):
        strength = 0.42 * max(0.0, 1.0 - 0.75 * float(position[1]))
        column, _ = camera.pixel(position)
        blob = np.zeros_like(mask)
        axes = (int(half_width_m * camera.pixels_per_m), int(0.32 * reach_rows))
        cv2.ellipse(blob, (int(column), reach_rows), axes, 0, 0, 360, strength, -1)
        mask = np.maximum(mask, blob)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.14 * reach_rows)
    canvas[top:bottom] = (canvas[top:bottom] * (1.0 - mask[..., None])).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
