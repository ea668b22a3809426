"""Draws whole videos with true counts, to measure counting. Their seeds are apart from those of training."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.training import drawing
from model.training.edits import cut
from model.training.scenes import Scene, draw_shot
from model.training.timing import Timing, draw_set, draw_sets, no_set

KINDS = (
    "one set",
    "whole video",
    "several exercises",
    "sides in turns",
    "side to side",
    "after talking",
    "long holds",
    "moving camera",
    "group",
    "objects",
    "no repetition",
    "strokes",
)
"""Kinds of videos. Consecutive seeds take turns, so that a benchmark has equally many of each.

- one set: one person, mostly with idling before and after the set
- whole video: the set fills the video from the first to the last frame
- several exercises: two to five sets of different exercises and speeds, with short transitions
- sides in turns: every other repetition is mirrored, and each counts, as in alternating lunges
- side to side: left and right together are one repetition, as in Russian twists and running
- after talking: the set starts after somebody has talked and gestured
- long holds: slow repetitions with long holds
- moving camera: filmed by somebody who stands or walks
- group: several people do the same
- objects: things, close-ups or the picture as a whole move
- no repetition: people idle, talk, fidget, come and go, or move once
- strokes: make-up, typing, chewing; nothing to count
"""

_SCENES = {
    "sides in turns": (Scene(subject="people", sides="turns"),),
    "side to side": (Scene(subject="people", sides="swing"), Scene(subject="people", sides="stride")),
    "after talking": (Scene(subject="people", talks=True),),
    "long holds": (Scene(subject="people", holds=True),),
    "moving camera": (Scene(subject="people", camera="hand"), Scene(subject="people", camera="walk")),
    "group": tuple(Scene(subject="people", people=people) for people in (2, 3, 4)),
    "objects": (Scene(subject="patches"), Scene(subject="patches"), Scene(subject="picture")),
    "strokes": (Scene(subject="strokes"),),
}
"""Scenes of each kind, one of which is drawn; of other kinds, people. The rest is left to chance."""

_SEED = 20201
"""Keeps the seeds of videos apart from those of training."""

_FIRST_CALIBRATION_SEED = 90_000
"""Seed from which on videos calibrate: neither trained nor counted on. A multiple of the number of kinds."""

_CALIBRATION_STEP = 12
"""Every so many frames of a video calibrate."""


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """A drawn video.

    Attributes:
      frames: Frames, (num_frames, 112, 112, 3) uint8, RGB.
      timing: When repetitions happen.
      kind: One of `KINDS`.
    """

    frames: np.ndarray
    timing: Timing
    kind: str

    @property
    def count(self) -> float:
        """True number of repetitions."""
        return self.timing.count


def draw_video(seed: int) -> Video:
    """Returns the video of a seed, of 240 to 900 frames and of kind `KINDS[seed % len(KINDS)]`."""
    rng, kind = np.random.default_rng([_SEED, seed]), KINDS[seed % len(KINDS)]
    timing = _draw_timing(rng, kind)
    scenes = _SCENES.get(kind, (Scene(subject="people"),))
    scene = scenes[rng.integers(len(scenes))]
    frames = draw_shot(rng, timing, scene)
    if rng.random() < 0.1:
        cut(frames, draw_shot(rng, timing, scene), rng)
    return Video(drawing.degrade(rng, frames), timing, kind)


def calibration_frames() -> np.ndarray:
    """Returns frames of all kinds of videos for `model.calibration`, (n, 112, 112, 3) uint8, RGB. Takes 12 s."""
    seeds = range(_FIRST_CALIBRATION_SEED, _FIRST_CALIBRATION_SEED + 3 * len(KINDS))
    return np.concatenate([draw_video(seed).frames[::_CALIBRATION_STEP] for seed in seeds])


def _draw_timing(rng: np.random.Generator, kind: str) -> Timing:
    """Returns the timing of a video of a kind."""
    num_frames = int(rng.integers(240, 700))
    base = float(np.exp(rng.uniform(np.log(10), np.log(150))))
    before, after = (float(share) for share in rng.uniform(0.0, 0.35, 2) * (rng.random(2) < 0.8))
    rests = bool(rng.random() < 0.7)
    if kind in ("no repetition", "strokes"):
        return no_set(num_frames)
    if kind == "several exercises":
        number = int(rng.integers(2, 6))
        return draw_sets(rng, max(num_frames, 110 * number), number)
    if kind == "whole video":
        before = after = 0.0
    elif kind == "after talking":
        before = float(rng.uniform(0.25, 0.6))
    elif kind == "long holds":
        base = float(np.exp(rng.uniform(np.log(60), np.log(180))))
        num_frames = int(np.clip(base * rng.uniform(3.5, 7) / (1 - before - after), 240, 900))
    # Three repetitions or more.
    base = min(base, (1 - before - after) * num_frames / 3.4)
    return draw_set(rng, num_frames, base, before, after, rests=rests)
