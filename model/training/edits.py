"""Edits clips, as people edit workout videos: cuts, title cards, burnt-in counters, bars and held frames."""

from __future__ import annotations

import cv2
import numpy as np

from model.config import FRAME_SIZE
from model.training import drawing
from model.training.timing import Timing


def cut(frames: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> None:
    """Changes to another shot, with a hard cut or a dissolve."""
    at = float(rng.uniform(0.15, 0.85)) * len(frames)
    length = 0.05 if rng.random() < 0.5 else float(rng.uniform(3, 14))
    weights = np.clip((np.arange(len(frames)) - at) / length, 0, 1)
    for t, weight in enumerate(weights):
        if weight > 0:
            cv2.addWeighted(frames[t], 1 - weight, other[t], weight, 0, dst=frames[t])


def insert_card(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inserts a title card at the start or the end; returns which frames it covers, (num_frames,) bool."""
    length = int(rng.integers(5, 30))
    covered = np.zeros(len(frames), bool)
    covered[slice(0, length) if rng.random() < 0.5 else slice(-length, None)] = True
    frames[covered] = drawing.draw_card(rng)
    return covered


def overlay(frames: np.ndarray, timing: Timing, rng: np.random.Generator) -> None:
    """Burns in a text, or a counter that rises with every repetition."""
    seed = int(rng.integers(1 << 31))
    counter = rng.random() < 0.5
    offset = int(rng.integers(0, 20))
    for t in range(len(frames)):
        text = str(int(timing.phase[t]) + offset) if counter else "WORKOUT"
        drawing.write(frames[t], np.random.default_rng(seed), text)


def add_bars(frames: np.ndarray, rng: np.random.Generator) -> None:
    """Adds black bars left and right or above and below; the picture is squeezed in between."""
    bar = int(rng.integers(6, 38))
    inner = FRAME_SIZE - 2 * bar
    upright = rng.random() < 0.5
    for t in range(len(frames)):
        squeezed = cv2.resize(frames[t], (inner, FRAME_SIZE) if upright else (FRAME_SIZE, inner), interpolation=cv2.INTER_AREA)
        frames[t] = 0
        if upright:
            frames[t, :, bar : bar + inner] = squeezed
        else:
            frames[t, bar : bar + inner] = squeezed


def hold_frames(frames: np.ndarray, timing: Timing, rng: np.random.Generator) -> None:
    """Repeats every frame a few times, like a source with a low frame rate sampled at a higher one."""
    longest = int(np.clip(timing.period_frames.min() / 3, 1, 6))
    if longest > 1:
        hold = int(rng.integers(2, longest + 1))
        frames[:] = frames[np.arange(len(frames)) // hold * hold]
