"""Videos to measure counting with: of every kind in turns, with a known count, and the same again for the same seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from model.training import videos
from model.training.clips import draw_clip
from model.training.videos import KINDS, draw_video


@pytest.fixture(scope="module")
def drawn():
    """A video of each kind."""
    return {video.kind: video for video in map(draw_video, range(len(KINDS)))}


def timings_of(kind, number=20):
    return [videos._draw_timing(np.random.default_rng(seed), kind) for seed in range(number)]


def test_frames_of_all_kinds_calibrate(monkeypatch):
    drawn = []
    monkeypatch.setattr(videos, "draw_video", lambda seed: drawn.append(seed) or SimpleNamespace(frames=np.full((25, 1), seed)))
    frames = videos.calibration_frames()
    assert len(drawn) == 3 * len(KINDS)
    assert {seed % len(KINDS) for seed in drawn} == set(range(len(KINDS)))
    np.testing.assert_array_equal(frames[:, 0], np.repeat(drawn, 3))


def test_kinds_take_turns(drawn):
    assert tuple(drawn) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_has_a_timing_for_each_frame_and_a_count(drawn, kind):
    video = drawn[kind]
    num_frames = len(video.frames)
    assert 240 <= num_frames <= 900
    assert (video.frames.shape, video.frames.dtype) == ((num_frames, 112, 112, 3), np.uint8)
    assert len(video.timing.active) == num_frames
    assert video.count == pytest.approx((video.timing.active / video.timing.period_frames).sum())
    if kind in ("no repetition", "strokes"):
        assert video.count == 0
    else:
        assert video.count > 1.5


@pytest.mark.parametrize("seed", [0, 9])
def test_a_seed_draws_the_same_video_again_and_no_clip_of_the_training(drawn, seed):
    again = draw_video(seed)
    np.testing.assert_array_equal(again.frames, drawn[KINDS[seed]].frames)
    np.testing.assert_array_equal(again.timing.phase, drawn[KINDS[seed]].timing.phase)
    assert (again.frames[:64] != draw_clip(seed).frames).any()


def test_a_whole_video_is_a_set_from_the_first_to_the_last_frame():
    assert all(timing.active.all() for timing in timings_of("whole video"))


def test_several_exercises_are_several_sets():
    assert all(len(timing.sets()) >= 2 for timing in timings_of("several exercises"))


def test_after_talking_a_set_starts_late():
    for timing in timings_of("after talking"):
        assert not timing.active[: len(timing.active) // 4 - 1].any()
        assert timing.count > 1.5


def test_long_holds_are_slow_repetitions():
    assert min(timing.period_frames.mean() for timing in timings_of("long holds")) > 50


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("no repetition", "strokes")])
def test_nearly_every_video_of_a_kind_with_repetitions_has_some(kind):
    assert sum(timing.count > 1.5 for timing in timings_of(kind, 40)) >= 37
