"""The grid of windows: whole windows at a chunk's end, frames repeated where they have run out."""

import numpy as np
import pytest

from model.logits import MOST_REPEATS, chunk_frames, middle_shown, slow_repeats, window_frames


@pytest.mark.parametrize(("strides", "expected"), [((1,), 64), ((1, 2, 3, 4), 768), ((1, 2, 3, 4, 6, 8, 12), 1536)])
def test_a_chunk_ends_with_a_whole_window_of_every_stride(strides, expected):
    assert chunk_frames(strides) == expected
    for stride in strides:
        assert window_frames(expected, stride)[-1, -1] == expected - stride


def test_the_last_frame_is_repeated_where_frames_have_run_out():
    shown = window_frames(70, 2)
    assert shown.shape == (1, 64)
    assert shown[0, :35].tolist() == list(range(0, 70, 2))
    assert set(shown[0, 35:].tolist()) == {69}


def test_windows_of_a_stride_do_not_overlap():
    shown = window_frames(64 * 3 * 2, 3)
    assert shown.shape == (2, 64)
    assert shown.ravel().tolist() == list(range(0, 384, 3))


def test_repeated_frames_are_shown_one_after_the_other_as_often_as_asked():
    np.testing.assert_array_equal(window_frames(50, 2, repeats=3), window_frames(150, 2) // 3)
    assert window_frames(chunk_frames((1, 2, 3)), 3, repeats=5)[-1, -1] == chunk_frames((1, 2, 3)) - 1
    assert middle_shown(3, 1).tolist() == [0, 1, 2]
    assert middle_shown(3, 3).tolist() == [1, 4, 7]


@pytest.mark.parametrize(
    ("fps", "expected"), [(60, 1), (25, 1), (20, 1), (19, 2), (15, 2), (10, 3), (7.5, 4), (5, 6), (1, MOST_REPEATS)]
)
def test_slow_videos_are_shown_at_about_30_frames_a_second(fps, expected):
    assert slow_repeats(np.arange(100) / fps, 20.0) == expected


def test_one_long_pause_makes_no_video_slow_and_a_single_frame_none():
    times_sec = np.arange(100) / 30
    assert slow_repeats(np.append(times_sec, 60.0), 20.0) == 1
    assert slow_repeats(times_sec[:1], 20.0) == 1
    assert slow_repeats(np.arange(100) / 5, 0.0) == 1
