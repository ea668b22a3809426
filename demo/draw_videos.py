"""Draws the demo videos: six short clips of people exercising, and `truth.csv` with the true counts.

    python -m demo.draw_videos demo/videos

The same clips come out on every machine: all chance is seeded by the clip's name. Clips that are newer than these sources are
left alone.
"""

from __future__ import annotations

import argparse
import bisect
import csv
import dataclasses
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from demo import figure, scenes
from demo.figure import ANKLE_HEIGHT_M, ARM_M, STANDING_HIPS_M, Camera, Look, Stance, blend, mirrored, point

_SOURCES = (Path(__file__), Path(figure.__file__), Path(scenes.__file__))
_OVERSAMPLING = 2
_MARGIN_PIXELS = 10  # of the final picture; what a shaking camera may show
_NOISE_FRAMES = 16


@dataclasses.dataclass(frozen=True)
class Repetitions:
    """When each repetition of a movement starts and how far it has gone at any time.

    Attributes:
      borders_sec: (count + 1,) starts of all repetitions and the end of the last.
      shares: of a repetition's time spent going, holding, coming back and resting; their sum is 1.
    """

    borders_sec: tuple[float, ...]
    shares: tuple[float, float, float, float]

    def effort(self, time_sec: float) -> float:
        """Returns 0 at rest … 1 at the far end of the movement."""
        index = bisect.bisect_right(self.borders_sec, time_sec) - 1
        if index < 0 or index >= len(self.borders_sec) - 1:
            return 0.0
        start, end = self.borders_sec[index : index + 2]
        corners = np.cumsum((0.0, *self.shares))
        return _ease(float(np.interp((time_sec - start) / (end - start), corners, (0.0, 1.0, 1.0, 0.0, 0.0))))

    @property
    def end_sec(self) -> float:
        """When the last repetition ends."""
        return self.borders_sec[-1]


def repetitions(
    rng: np.random.Generator,
    count: int,
    period_sec: float,
    start_sec: float = 0.3,
    shares: tuple[float, float, float, float] = (0.42, 0.06, 0.38, 0.14),
) -> Repetitions:
    """Returns repetitions whose tempo drifts by up to ±10 % around the period, as people's does."""
    knots = rng.uniform(-0.1, 0.1, 4)
    drift = np.interp(np.linspace(0, 3, count), np.arange(4), knots)
    borders = start_sec + np.concatenate([[0.0], np.cumsum(period_sec * (1 + drift))])
    return Repetitions(tuple(borders.tolist()), shares)


Movement = Callable[[float], Stance]
"""Where the person is at a time in seconds."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A demo video.

    Attributes:
      file: its name.
      count: true number of repetitions.
      size: (width, height) in pixels.
      fps: frames a second.
      length_sec: its duration.
      scene: paints the background.
      floor_share: row of the person's feet as a share of the height; the wall ends a little above.
      metre_share: size of a metre as a share of the height.
      look: what the person wears.
      faces: 1 or −1 where the person is seen from the side and faces right or left, 0 from the front.
      movement: makes the movement from the clip's source of chance.
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


def push_ups(rng: np.random.Generator) -> Movement:
    """Eight push-ups, seen from the side; the body turns about the toes as one straight line."""
    beat = repetitions(rng, 8, 1.25)
    toes, body_m = point(-0.78, 0.13), 1.35
    hand = point(-0.78 + body_m * np.cos(np.radians(20.5)) + 0.03, 0.04)

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        angle = np.radians(20.5 - 16.5 * effort)
        along = point(np.cos(angle), np.sin(angle))
        hips = toes + 0.865 * along + point(0.0, 0.02)
        lean_deg = 90.0 - float(np.degrees(angle))
        return Stance(
            hips, lean_deg, (hand + point(0.05, 0.015), hand), (toes + point(0.03, 0.01), toes), 82.0, 0.9, -14.0 + 8.0 * effort
        )

    return stance


def squats(rng: np.random.Generator) -> Movement:
    """Six deep squats, seen from the side; the arms come up in front for balance."""
    beat = repetitions(rng, 6, 1.75, shares=(0.40, 0.10, 0.36, 0.14))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hips = point(-0.31 * effort, STANDING_HIPS_M - 0.50 * effort)
        lean_deg = 2.0 + 38.0 * effort
        shoulders = figure.shoulders_of(hips, lean_deg)
        raised = np.radians(12.0 + 80.0 * effort)
        hand = shoulders + 0.97 * ARM_M * point(np.sin(raised), -np.cos(raised))
        feet = (point(0.05, ANKLE_HEIGHT_M + 0.015), point(0.0, ANKLE_HEIGHT_M))
        return Stance(hips, lean_deg, (hand + point(0.02, 0.02), hand), feet, 0.0, 0.95, -16.0 * effort)

    return stance


def jumping_jacks(rng: np.random.Generator) -> Movement:
    """Nine jumping jacks, seen from the front, with a hop each time that the legs open or close."""
    beat = repetitions(rng, 9, 0.92, shares=(0.40, 0.10, 0.40, 0.10))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hop = 0.09 * 4 * effort * (1 - effort)
        spread = 0.09 + 0.36 * effort
        leg_m = STANDING_HIPS_M - ANKLE_HEIGHT_M
        hips = point(0.0, ANKLE_HEIGHT_M + float(np.sqrt(leg_m**2 - (spread - 0.085) ** 2)) + hop)
        angle = np.radians(12.0 + 153.0 * effort)
        shoulders = figure.shoulders_of(hips, 0.0)
        hands = [
            shoulders + point(side * (0.185 + 0.98 * ARM_M * np.sin(angle)), -0.98 * ARM_M * np.cos(angle)) for side in (-1, 1)
        ]
        feet = [point(side * spread, ANKLE_HEIGHT_M + hop) for side in (-1, 1)]
        return Stance(hips, 0.0, (hands[0], hands[1]), (feet[0], feet[1]), 35.0 * min(1.0, hop / 0.05), 0.0)

    return stance


def overhead_press(rng: np.random.Generator) -> Movement:
    """Seven presses of a barbell from the shoulders to overhead, seen from the front."""
    beat = repetitions(rng, 7, 1.4, shares=(0.36, 0.12, 0.38, 0.14))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hips = point(0.0, STANDING_HIPS_M - 0.015 - 0.02 * np.sin(np.pi * effort))
        shoulders = figure.shoulders_of(hips, 0.0)
        bar = shoulders + point(0.0, 0.03 + 0.54 * effort)
        feet = (point(-0.17, ANKLE_HEIGHT_M), point(0.17, ANKLE_HEIGHT_M))
        return Stance(hips, 0.0, (bar - point(0.27, 0.0), bar + point(0.27, 0.0)), feet, 0.0, 0.0, bar=bar)

    return stance


def toe_touches_then_rest(rng: np.random.Generator) -> Movement:
    """Five toe touches from overhead, seen from the side; then the person steps back, wipes the forehead and looks around."""
    beat = repetitions(rng, 5, 1.25, shares=(0.42, 0.08, 0.40, 0.10))
    standing = _standing(0.0)

    def touch(effort: float) -> Stance:
        hips = standing.hips + point(-0.20 * effort, -0.05 * effort)
        lean_deg = 1.0 + 106.0 * effort
        raised = np.radians(172.0 - 190.0 * effort)
        hand = figure.shoulders_of(hips, lean_deg) + 0.97 * ARM_M * point(np.sin(raised), -np.cos(raised))
        return dataclasses.replace(standing, hips=hips, lean_deg=lean_deg, hands=(hand + point(0.03, 0.0), hand))

    back = _standing(-0.34)
    forehead = _holding(back, hand=point(0.20, 0.27), nod_deg=14.0)
    rest = _Script(
        (
            (0.0, touch(0.0)),
            (0.7, standing),
            (0.9, standing),
            (1.3, _stepping(standing, back)),
            (1.7, back),
            (2.2, back),
            (2.9, forehead),
            (3.35, dataclasses.replace(forehead, hands=(forehead.hands[0], forehead.hands[1] - point(0.05, 0.015)))),
            (4.1, _holding(back, hand=point(0.06, -0.50), nod_deg=18.0)),
            (4.9, _holding(back, hand=point(0.02, -0.52), nod_deg=-4.0, gaze=0.25)),
            (5.6, _holding(back, hand=point(0.0, -0.54), nod_deg=4.0, gaze=0.8)),
        )
    )
    sway = _Sway(rng)

    def stance(time_sec: float) -> Stance:
        if time_sec < beat.end_sec:
            return touch(beat.effort(time_sec))
        since_sec = time_sec - beat.end_sec
        return sway.applied(rest.at(since_sec), time_sec, min(1.0, since_sec / 0.5))

    return stance


def no_repetition(rng: np.random.Generator) -> Movement:
    """Somebody walks in, stands, scratches the head, looks around, reaches for something on the floor once and stands again."""
    here = _standing(0.12)
    steps = ((0.0, -1.15), (0.62, -0.72), (1.18, -0.27), (1.83, 0.12))
    script: list[tuple[float, Stance]] = []
    for number, (time_sec, x_m) in enumerate(steps):
        stride_m = 0.0 if number == len(steps) - 1 else 0.24
        ahead = stride_m if number % 2 else -stride_m
        base = _standing(x_m)
        walking = dataclasses.replace(
            base,
            hips=base.hips - point(0.0, 0.03 if stride_m else 0.0),
            feet=(base.feet[0] + point(ahead, 0.0), base.feet[1] - point(ahead, 0.0)),
            hands=(base.hands[0] - point(ahead * 0.9, -0.03), base.hands[1] + point(ahead * 0.9, 0.03)),
        )
        if script:
            script.append((time_sec - 0.28, _stepping(script[-1][1], walking, lifted=number % 2)))
        script.append((time_sec, walking))
    floor = dataclasses.replace(
        here,
        hips=here.hips + point(-0.20, -0.34),
        lean_deg=62.0,
        hands=(here.feet[0] + point(0.10, 0.36), here.feet[1] + point(0.34, 0.12)),
        nod_deg=-10.0,
    )
    script += [
        (2.5, here),
        (3.2, _holding(here, hand=point(0.10, 0.36), nod_deg=8.0)),
        (3.75, _holding(here, hand=point(0.07, 0.37), nod_deg=12.0, gaze=0.6)),
        (4.6, _holding(here, hand=point(0.08, -0.55), gaze=-0.2)),
        (5.5, _holding(here, hand=point(0.07, -0.56), nod_deg=-6.0, gaze=-0.5)),
        (6.3, _holding(here, hand=point(0.08, -0.55), gaze=0.9)),
        (7.2, floor),
        (7.6, floor),
        (8.5, _holding(here, hand=point(0.30, -0.20), nod_deg=20.0)),
        (10.0, _holding(here, hand=point(0.27, -0.18), nod_deg=24.0, gaze=0.8)),
    ]
    walk, sway = _Script(tuple(script)), _Sway(rng)
    return lambda time_sec: sway.applied(walk.at(time_sec), time_sec, min(1.0, time_sec / 2.0))


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
"""Everything that `make demo` draws, in the order of `truth.csv`."""


def draw_clip(clip: Clip, path: Path) -> None:
    """Writes one clip. The file appears whole or not at all.

    Raises:
      OSError: if this build of OpenCV cannot write MPEG-4, or the file cannot be written in full.
    """
    frames = _frames(clip)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".drawing-") as folder:
        unfinished = Path(folder) / path.name
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), clip.fps, clip.size)
        for frame in frames:
            writer.write(frame)
        writer.release()
        # VideoWriter reports neither a missing encoder nor a full disk.
        reader = cv2.VideoCapture(str(unfinished))
        written = sum(1 for _ in iter(reader.grab, False))
        reader.release()
        if written != len(frames):
            raise OSError(f"could not write {path}: {written} of {len(frames)} frames arrived")
        os.replace(unfinished, path)


def draw_videos(folder: Path) -> list[Path]:
    """Draws every clip that is missing or older than these sources, and `truth.csv`; returns what it drew.

    Raises:
      OSError: as `draw_clip`.
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
    parser.add_argument("folder", type=Path, help="where to; made if missing")
    folder = parser.parse_args(argv).folder
    try:
        drawn = draw_videos(folder)
    except OSError as error:
        print(f"draw_videos: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {len(drawn)} videos drawn, {len(CLIPS) - len(drawn)} up to date")
    return 0


def _frames(clip: Clip) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(clip.file.encode()))
    movement = clip.movement(rng)
    width, height = clip.size
    canvas_size = [(side + 2 * _MARGIN_PIXELS) * _OVERSAMPLING for side in (height, width)]
    floor_row = (clip.floor_share * height + _MARGIN_PIXELS) * _OVERSAMPLING
    camera = Camera(clip.metre_share * height * _OVERSAMPLING, floor_row, canvas_size[1] / 2)
    empty = np.zeros((*canvas_size, 3), np.uint8)
    clip.scene(empty, int(floor_row - 0.13 * canvas_size[0]), rng)
    empty = cv2.GaussianBlur(empty, (0, 0), 2.6)  # the background lies behind the plane of focus

    num_frames = round(clip.length_sec * clip.fps)
    times = np.arange(num_frames) / clip.fps
    shake = np.stack([_wander(rng, times, 0.8), _wander(rng, times, 0.6)], axis=1)
    roll_deg = _wander(rng, times, 0.12)
    light = 1.0 + _wander(rng, times, 0.025)
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
    """Returns the (2, 3) transform from a frame's pixels to the canvas': scaled, rolled about the middle, shaken."""
    width, height = size
    angle = np.radians(roll_deg)
    turn = _OVERSAMPLING * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame_middle = np.array([(width - 1) / 2, (height - 1) / 2])
    canvas_middle = _OVERSAMPLING * (np.array([width, height]) / 2 + _MARGIN_PIXELS) - 0.5
    return np.concatenate([turn, (canvas_middle + _OVERSAMPLING * shake - turn @ frame_middle)[:, None]], axis=1)


def _draw_shadow(canvas: np.ndarray, camera: Camera, stance: Stance) -> None:
    """Darkens the floor under the feet and, the lower they are, under hips and hands."""
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


def _ease(share: float) -> float:
    """Returns minimum-jerk progress, 0..1, for a share of the time, 0..1."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def _wander(rng: np.random.Generator, times_sec: np.ndarray, size: float) -> np.ndarray:
    """Returns a slow random curve of about ±`size`, with a knot every 0.7 s and no period of its own."""
    knots = np.arange(-1.4, times_sec[-1] + 2.1, 0.7)
    values = rng.normal(0.0, size * 0.6, len(knots))
    fine = np.interp(np.arange(knots[0], knots[-1], 0.02), knots, values)
    smooth = np.convolve(fine, np.hanning(71) / np.hanning(71).sum(), "same")
    return np.interp(times_sec, np.arange(knots[0], knots[-1], 0.02), smooth)


@dataclasses.dataclass(frozen=True)
class _Script:
    """Stances at times since its start; the person moves smoothly from one to the next and stays in the last."""

    lines: tuple[tuple[float, Stance], ...]

    def at(self, since_sec: float) -> Stance:
        index = bisect.bisect_right([line[0] for line in self.lines], since_sec) - 1
        if index + 1 >= len(self.lines):
            return self.lines[-1][1]
        (start, first), (end, second) = self.lines[max(index, 0) : max(index, 0) + 2]
        return blend(first, second, _ease((max(since_sec, start) - start) / (end - start)))


class _Sway:
    """Small movements of somebody who stands: breath and balance, by chance and without a period."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._times_sec = np.arange(0.0, 16.0, 0.05)
        self._curves = [_wander(rng, self._times_sec, size) for size in (0.012, 0.004, 1.2, 0.02)]

    def applied(self, stance: Stance, time_sec: float, strength: float) -> Stance:
        across, up, lean_deg, hand = (strength * float(np.interp(time_sec, self._times_sec, curve)) for curve in self._curves)
        near = stance.hands[1] + point(across + hand, up - 0.5 * hand)
        return dataclasses.replace(
            stance,
            hips=stance.hips + point(across, min(up, 0.0)),
            lean_deg=stance.lean_deg + lean_deg,
            hands=(stance.hands[0] + point(across, up), near),
        )


def _standing(x_m: float) -> Stance:
    """Returns somebody who stands at ease, seen from the side, facing right."""
    hips = point(x_m, STANDING_HIPS_M - 0.005)
    shoulders = figure.shoulders_of(hips, 1.0)
    hands = (shoulders + point(0.10, -0.585), shoulders + point(0.05, -0.59))
    feet = (point(x_m + 0.07, ANKLE_HEIGHT_M + 0.015), point(x_m - 0.03, ANKLE_HEIGHT_M))
    return Stance(hips, 1.0, hands, feet, 0.0, 0.9)


def _holding(stance: Stance, hand: np.ndarray, nod_deg: float = 0.0, gaze: float = 0.9) -> Stance:
    """Returns the stance with the near hand somewhere else, given from the shoulder, and the head turned."""
    return dataclasses.replace(stance, hands=(stance.hands[0], stance.shoulders + hand), nod_deg=nod_deg, gaze=gaze)


def _stepping(start: Stance, end: Stance, lifted: int = 1) -> Stance:
    """Returns the middle of a step: half-way between two stances, with one foot (0 far, 1 near) off the floor."""
    middle = blend(start, end, 0.5)
    feet = list(middle.feet)
    feet[lifted] = feet[lifted] + point(0.0, 0.09)
    return dataclasses.replace(middle, feet=(feet[0], feet[1]))


if __name__ == "__main__":
    sys.exit(main())
