"""Drawn clips: the same for the same seed, labelled where something repeats, of every period."""

import numpy as np
import pytest

from model.config import WINDOW_FRAMES
from model.training.clips import NUM_PERIODS, draw_batch, draw_clip


@pytest.fixture(scope="module")
def clips():
    return [draw_clip(seed) for seed in range(40)]


def test_a_clip_has_frames_and_a_label_for_each(clips):
    for clip in clips:
        assert clip.frames.shape == (WINDOW_FRAMES, 112, 112, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.period_class.shape == clip.periodic.shape == (WINDOW_FRAMES,)
        assert clip.period_class.min() >= 0
        assert clip.period_class.max() < NUM_PERIODS
        assert set(np.unique(clip.periodic)) <= {0.0, 1.0}


def test_a_seed_draws_the_same_clip_again(clips):
    again = draw_clip(7)
    np.testing.assert_array_equal(again.frames, clips[7].frames)
    np.testing.assert_array_equal(again.period_class, clips[7].period_class)


def test_clips_differ(clips):
    assert len({clip.frames.tobytes() for clip in clips}) == len(clips)


def test_some_clips_repeat_and_some_do_not(clips):
    shares = [float(clip.periodic.mean()) for clip in clips]
    assert any(share == 0 for share in shares)
    assert any(share == 1 for share in shares)
    assert any(0 < share < 1 for share in shares)


def test_where_something_repeats_the_picture_moves(clips):
    for clip in clips:
        if clip.periodic.all():
            assert np.ptp(clip.frames.astype(int), axis=0).max() > 30


def test_batches_mark_what_does_not_repeat():
    frames, (period_class, periodic) = draw_batch(first_seed=100, size=6)
    assert frames.shape == (6, WINDOW_FRAMES, 112, 112, 3)
    assert ((period_class == -1) == (periodic == 0)).all()
