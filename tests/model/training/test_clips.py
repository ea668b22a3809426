"""Drawn clips: the same for the same seed, with the timing of what repeats in them; batches label views of them."""

import dataclasses
import itertools

import numpy as np
import pytest

from model.config import WINDOW_FRAMES
from model.training import clips as clips_module
from model.training.clips import PARTS, STROKES_WEIGHT, draw_batch, draw_clip


@pytest.fixture(scope="module")
def clips():
    return [draw_clip(seed) for seed in range(40)]


def test_a_clip_has_frames_and_a_timing_for_each(clips):
    for clip in clips:
        assert clip.frames.shape == (WINDOW_FRAMES, 112, 112, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.timing.phase.shape == clip.timing.period_frames.shape == clip.timing.active.shape == (WINDOW_FRAMES,)


def test_a_seed_draws_the_same_clip_again(clips):
    again = draw_clip(7)
    np.testing.assert_array_equal(again.frames, clips[7].frames)
    np.testing.assert_array_equal(again.timing.phase, clips[7].timing.phase)


def test_clips_differ(clips):
    assert len({clip.frames.tobytes() for clip in clips}) == len(clips)


def test_some_clips_repeat_and_some_do_not(clips):
    shares = [float(clip.timing.active.mean()) for clip in clips]
    assert any(share == 0 for share in shares)
    assert any(share == 1 for share in shares)
    assert any(0 < share < 1 for share in shares)


def test_where_something_repeats_the_picture_moves(clips):
    for clip in clips:
        if clip.timing.active.all():
            assert np.ptp(clip.frames.astype(int), axis=0).max() > 30


def test_batches_mark_what_does_not_repeat():
    batch = draw_batch(first_seed=100, size=6, views_per_clip=2)
    assert batch.frames.shape == (6, WINDOW_FRAMES, 112, 112, 3)
    assert batch.views.shape == batch.period.shape == batch.periodic.shape == (6, 2, WINDOW_FRAMES)
    assert ((batch.period == 0) == (batch.periodic == 0)).all()
    assert batch.period.max() <= 32.5


def test_a_batch_is_told_by_its_seeds():
    batch, again = (draw_batch(first_seed=100, size=2, views_per_clip=3) for _ in range(2))
    np.testing.assert_array_equal(batch.frames, again.frames)
    np.testing.assert_array_equal(batch.views, again.views)
    np.testing.assert_array_equal(batch.period, again.period)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_can_be_left_out(clips, part):
    assert any((clip.frames != draw_clip(seed, frozenset([part])).frames).any() for seed, clip in enumerate(clips))


def test_without_a_moving_camera_what_stands_still_is_the_same_in_every_frame():
    nothing_else = frozenset(PARTS)
    clips = [draw_clip(seed, nothing_else) for seed in range(20)]
    still = [(np.ptp(clip.frames.astype(int), axis=0).max(axis=-1) == 0).mean() for clip in clips]
    assert np.median(still) > 0.3


def test_labels_of_fine_strokes_have_a_low_weight_and_all_others_full_weight():
    strokes = list(itertools.islice((clip for clip in map(draw_clip, range(200)) if clip.weight.max() < 1), 2))
    assert len(strokes) == 2
    for clip in strokes:
        assert (clip.weight == np.float32(STROKES_WEIGHT)).all()
        assert not clip.timing.active.any()
    plain = [draw_clip(seed, frozenset(["strokes"])) for seed in range(10)]
    assert all((clip.weight == 1).all() for clip in plain)


def test_a_batch_weighs_each_position_by_the_frame_it_shows(monkeypatch):
    def draw(seed, *args):
        return dataclasses.replace(draw_clip(seed), weight=np.full(WINDOW_FRAMES, (seed + 1) / 10, np.float32))

    monkeypatch.setattr(clips_module, "draw_clip", draw)
    batch = draw_batch(first_seed=0, size=4, views_per_clip=6)
    assert batch.weight.shape == batch.views.shape
    np.testing.assert_allclose(batch.weight, (batch.views // WINDOW_FRAMES + 1) / 10)
    assert any(len(set(row)) == 2 for row in batch.weight.reshape(-1, WINDOW_FRAMES).tolist())  # one clip after another
