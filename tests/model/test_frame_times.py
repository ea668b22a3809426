"""A pause in which a recorder dropped all frames is a pause: it ends a set, and belongs to no repetition."""

import dataclasses

import numpy as np
import pytest

from model.frame_counts import Segment, find_repetitions, find_segments
from model.frame_times import frame_lengths, split_at_pauses
from tests.support.samples import make_video_count

PERIOD, FPS = 10, 20.0


def paused(pause_sec, pause_frame=35, num_frames=80, still=()):
    """Returns the count of a video of 20 frames/s that repeats every 10 frames, with a pause before one frame.

    Args:
      pause_sec: Seconds between that frame and the one before.
      pause_frame: The frame.
      num_frames: Number of frames.
      still: Frames in which nothing repeats.
    """
    times_sec = np.arange(num_frames) / FPS
    times_sec[pause_frame:] += pause_sec - 1 / FPS
    is_periodic = ~np.isin(np.arange(num_frames), still)
    per_frame_count = is_periodic / PERIOD
    periods = np.where(is_periodic, float(PERIOD), np.inf)
    result = make_video_count(
        num_frames=num_frames,
        fps=FPS,
        count=float(per_frame_count.sum()),
        is_periodic=is_periodic,
        per_frame_count=per_frame_count,
        period_frames_curve=periods,
        segments=find_segments(is_periodic, per_frame_count, periods),
        repetition_frames=find_repetitions(per_frame_count),
    )
    facts = dataclasses.replace(result.facts, duration_sec=times_sec[-1] + 1 / FPS)
    return dataclasses.replace(result, times_sec=times_sec, facts=facts)


def test_a_pause_longer_than_a_repetition_ends_a_set_and_is_part_of_none():
    result = paused(6.0)
    first, second = result.segments
    assert (first.start_sec, first.end_sec, first.count) == (0.0, pytest.approx(1.75), pytest.approx(3.5))
    assert (second.start_sec, second.end_sec, second.count) == (pytest.approx(7.7), pytest.approx(9.95), pytest.approx(4.5))
    assert result.mean_rate_hz == pytest.approx(FPS / PERIOD)
    np.testing.assert_allclose(result.period_sec, PERIOD / FPS)


def test_a_repetition_that_is_complete_before_a_pause_is_complete_there():
    np.testing.assert_allclose(paused(6.0, pause_frame=30).repetition_times_sec[:4], [0.5, 1.0, 1.5, 7.95])
    np.testing.assert_allclose(paused(6.0).repetition_times_sec[:4], [0.5, 1.0, 1.5, 7.95])


def test_a_video_that_goes_on_at_another_frame_rate_has_no_pauses():
    edges_sec = np.append(np.arange(300) / 30, 10 + np.arange(121) / 2)
    is_periodic = np.arange(420) >= 300
    periods = np.where(is_periodic, 8.0, np.inf)
    np.testing.assert_array_equal(frame_lengths(edges_sec, is_periodic, periods), np.diff(edges_sec))


@pytest.mark.parametrize(("pause_frame", "pause_sec"), [(50, 3.0), (150, 15.0)])
def test_the_usual_step_is_the_one_around_a_pause_and_not_that_of_the_rest_of_the_video(pause_frame, pause_sec):
    steps_sec = np.where(np.arange(200) < 60, 0.125, 1.0)
    usual_sec = steps_sec[pause_frame]
    steps_sec[pause_frame] = pause_sec
    lengths_sec = frame_lengths(np.append(0.0, np.cumsum(steps_sec)), np.ones(200, bool), np.full(200, float(PERIOD)))
    assert lengths_sec[pause_frame] == usual_sec
    np.testing.assert_array_equal(np.delete(lengths_sec, pause_frame), np.delete(steps_sec, pause_frame))


def test_a_step_as_long_as_a_repetition_is_no_pause():
    steps_sec = np.full(40, 0.125)
    steps_sec[20] = 8 * 0.125
    edges_sec = np.append(0.0, np.cumsum(steps_sec))
    np.testing.assert_array_equal(frame_lengths(edges_sec, np.ones(40, bool), np.full(40, 8.0)), steps_sec)


@pytest.mark.parametrize("num_frames", [2, 3, 12, 40, 100])
def test_a_pause_near_an_end_of_the_video_is_a_pause_too(num_frames):
    for pause_frame in range(num_frames):
        steps_sec = np.full(num_frames, 1 / FPS)
        steps_sec[pause_frame] = 6.0
        edges_sec = np.append(0.0, np.cumsum(steps_sec))
        lengths_sec = frame_lengths(edges_sec, np.ones(num_frames, bool), np.full(num_frames, float(PERIOD)))
        np.testing.assert_allclose(lengths_sec, 1 / FPS)


def test_no_frame_lasts_longer_than_until_the_next_one():
    rng = np.random.default_rng(0)
    edges_sec = np.append(0.0, np.cumsum(rng.uniform(0.15, 0.35, 100)))
    lengths_sec = frame_lengths(
        edges_sec, np.ones(100, bool), np.full(100, 0.45)
    )  # as a slow video has whose frames are repeated
    assert np.all(lengths_sec <= np.diff(edges_sec))


def test_a_frame_now_and_then_during_a_rest_is_no_set():
    per_frame_count = np.full(30, 0.2)
    is_pause = np.zeros(30, bool)
    is_pause[9:14] = True
    parts = split_at_pauses(Segment(0, 30, 6.0), is_pause, per_frame_count)
    assert [(part.start_frame, part.end_frame) for part in parts] == [(0, 10), (10, 30)]
    assert [part.count for part in parts] == pytest.approx([2.0, 4.0])


def test_a_shorter_step_is_part_of_its_repetition():
    result = paused(0.45)
    assert len(result.segments) == 1
    assert result.repetition_times_sec[3] == pytest.approx(2.0 + 0.4)
    assert result.mean_period_sec == pytest.approx((80 / FPS + 0.4) / 8)


def test_frames_beside_a_pause_that_add_nothing_belong_to_no_set():
    first, second = paused(6.0, still=range(32, 38)).segments
    assert first.end_sec == pytest.approx(32 / FPS)
    assert second.start_sec == pytest.approx(38 / FPS + 5.95)
    assert first.count + second.count == pytest.approx(7.4)


def test_where_nothing_repeats_steps_are_as_long_as_they_are():
    edges_sec = np.array([0.0, 0.1, 5.0, 5.1])
    np.testing.assert_array_equal(frame_lengths(edges_sec, np.zeros(3, bool), np.full(3, np.inf)), np.diff(edges_sec))
    np.testing.assert_array_equal(frame_lengths(edges_sec[:2], np.ones(1, bool), np.ones(1)), [0.1])


@pytest.mark.parametrize("slow_frame", [29, 30])
def test_a_step_that_is_shorter_than_either_repetition_beside_it_is_no_pause(slow_frame):
    edges_sec = np.arange(61) / FPS
    edges_sec[30:] += 1.0
    periods = np.where(np.arange(60) == slow_frame, 40.0, 10.0)  # frames: two seconds and half a second
    np.testing.assert_array_equal(frame_lengths(edges_sec, np.ones(60, bool), periods), np.diff(edges_sec))
    assert frame_lengths(edges_sec, np.ones(60, bool), np.full(60, 10.0))[29] == pytest.approx(1 / FPS)


def test_parts_of_one_repetition_are_sets_and_what_follows_their_segment_is_not_in_them():
    per_frame_count = np.full(12, 0.25)
    is_pause = np.isin(np.arange(12), [3])
    parts = split_at_pauses(Segment(0, 8, 2.0), is_pause, per_frame_count)
    assert parts == [Segment(0, 4, 1.0), Segment(4, 8, 1.0)]
    segment = Segment(0, 7, 1.75)
    assert split_at_pauses(segment, is_pause, per_frame_count) == [segment]


def test_a_segment_without_a_pause_stays_as_it_is():
    segment = Segment(2, 9, 1.25)
    assert split_at_pauses(segment, np.zeros(12, bool), np.full(12, 0.1)) == [segment]
    ends = np.zeros(12, bool)
    ends[[1, 8]] = True  # before its first frame, and after its last
    assert split_at_pauses(segment, ends, np.full(12, 0.1)) == [segment]
