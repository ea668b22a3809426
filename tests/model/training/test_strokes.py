"""Fine strokes: small, rhythmic for a while, and uneven."""

import numpy as np
import pytest

from model.training import drawing, strokes


@pytest.mark.parametrize("seed", range(10))
def test_strokes_are_fast_and_come_in_bursts(seed):
    moves = strokes.draw_strokes(np.random.default_rng(seed), 600)
    turns = (np.diff(np.sign(np.diff(moves))) != 0).sum()
    assert 60 < turns < 450  # a stroke to and fro takes 2.7 to 20 frames
    sizes = np.abs(moves).reshape(-1, 20).max(axis=1)
    assert sizes.max() > 2 * sizes.min()


@pytest.mark.parametrize("seed", range(12))
def test_fine_work_changes_little_of_the_picture_from_frame_to_frame(seed):
    rng = np.random.default_rng(seed)
    frames = np.full((32, 112, 112, 3), 90, np.uint8)
    strokes.paint_strokes(rng, frames, drawing.fix_camera(32))
    changed = np.abs(np.diff(frames.astype(int), axis=0)).max(axis=-1) > 25
    assert changed.any()
    assert changed.mean() < 0.1
    assert (frames[0] != 90).any(axis=-1).mean() > 0.05
