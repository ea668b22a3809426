"""The grid of windows: whole windows at a chunk's end, frames repeated where they have run out."""

import numpy as np
import pytest

from model.logits import MOST_REPEATS, chunk_frames, join_windows, middle_shown, slow_repeats, window_frames


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


def test_windows_of_a_stride_do_not_overlap_unless_asked_to():
    shown = window_frames(64 * 3 * 2, 3)
    assert shown.shape == (2, 64)
    assert shown.ravel().tolist() == list(range(0, 384, 3))


def test_windows_that_overlap_are_followed_by_those_halfway_between_them():
    shown = window_frames(64 * 3 * 2 + 1, 2, repeats=2, overlap=True)
    grid = window_frames(64 * 3 * 2 + 1, 2, repeats=2)
    assert len(grid) == 7
    assert shown.shape == (13, 64)
    np.testing.assert_array_equal(shown[:7], grid)
    for i, between in enumerate(shown[7:]):
        np.testing.assert_array_equal(between, np.concatenate([grid[i, 32:], grid[i + 1, :32]]))


def test_a_position_has_the_mean_of_its_two_windows_weighted_by_how_far_it_is_from_their_ends():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 64, 2)).astype(np.float32)
    joined = join_windows(values, overlap=True)
    assert joined.shape == (192, 2)
    assert joined.dtype == np.float32
    for position in range(192):
        window, place = divmod(position, 64)
        expected, between = values[window, place], (position - 32) // 64
        if 0 <= between < 2:
            other_place = position - 32 - 64 * between
            distances = [min(at, 63 - at) + 0.5 for at in (place, other_place)]
            expected = np.average([expected, values[3 + between, other_place]], axis=0, weights=distances)
        np.testing.assert_allclose(joined[position], expected, atol=1e-6)
    np.testing.assert_array_equal(join_windows(values[:, :, 0]), values[:, :, 0].ravel())


def test_a_single_window_overlaps_none():
    np.testing.assert_array_equal(window_frames(50, 1, overlap=True), window_frames(50, 1))
    values = np.arange(128.0).reshape(1, 64, 2)
    np.testing.assert_array_equal(join_windows(values, overlap=True), values[0])


def test_repeated_frames_are_shown_one_after_the_other_as_often_as_asked():
    np.testing.assert_array_equal(window_frames(50, 2, repeats=3), window_frames(150, 2) // 3)
    assert window_frames(chunk_frames((1, 2, 3)), 3, repeats=5)[-1, -1] == chunk_frames((1, 2, 3)) - 1
    assert middle_shown(3, 1).tolist() == [0, 1, 2]
    assert middle_shown(3, 3).tolist() == [1, 4, 7]
    assert middle_shown(2, 8).tolist() == [4, 12]


@pytest.mark.parametrize(
    ("fps", "expected"), [(60, 1), (25, 1), (20, 1), (19, 2), (15, 2), (10, 3), (7.5, 4), (5, 6), (1, MOST_REPEATS)]
)
def test_slow_videos_are_shown_at_about_30_frames_a_second(fps, expected):
    assert slow_repeats(np.arange(100) / fps, 20.0) == expected


def test_a_video_at_the_limit_is_not_slow():
    assert slow_repeats(np.arange(100) / 16, 16.0) == 1


def test_one_long_pause_makes_no_video_slow_and_a_single_frame_none():
    times_sec = np.arange(100) / 30
    assert slow_repeats(np.append(times_sec, 60.0), 20.0) == 1
    assert slow_repeats(times_sec[:1], 20.0) == 1
    assert slow_repeats(np.arange(100) / 5, 0.0) == 1
