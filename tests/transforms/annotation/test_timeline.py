"""At each time, an annotated video shows the repetitions so far, the progress of the next one, rate and periodicity."""

import numpy as np
import pytest

from transforms.annotation.timeline import Timeline

FPS = 10


@pytest.fixture
def two_sets():
    """Five repetitions of 2 s, a rest of 10 s, and five of 1 s."""
    per_frame = np.concatenate([np.full(100, 1 / 20), np.zeros(100), np.full(50, 1 / 10)])
    return Timeline(
        times_sec=np.arange(250) / FPS,
        curve=np.cumsum(per_frame),
        periodicity=np.where(per_frame > 0, 0.9, 0.1),
        repetition_times_sec=np.array([2.0, 4, 6, 8, 10, 21, 22, 23, 24, 25]),
        segments_sec=np.array([[0.0, 10.0], [20.0, 25.0]]),
    )


@pytest.mark.parametrize(
    ("time_sec", "count"), [(0, 0), (1.999, 0), (2.0, 1), (9.99, 4), (10, 5), (20.9, 5), (21, 6), (99, 10)]
)
def test_the_count_grows_when_a_repetition_is_complete(two_sets, time_sec, count):
    assert two_sets.at(time_sec).count == count


@pytest.mark.parametrize(("time_sec", "progress"), [(0, 0), (0.5, 0.25), (1.95, 0.975), (2, 0), (3, 0.5), (20.5, 0.5)])
def test_the_ring_fills_with_each_repetition(two_sets, time_sec, progress):
    assert two_sets.at(time_sec).progress == pytest.approx(progress, abs=1e-6)


def test_the_ring_stays_while_nobody_moves(two_sets):
    assert {round(two_sets.at(time_sec).progress, 6) for time_sec in (10.1, 12, 15, 19.9)} == {0.0}


def test_the_rate_is_that_of_the_set_and_missing_in_a_rest(two_sets):
    assert [two_sets.at(time_sec).per_minute for time_sec in (0, 5, 9.9)] == [30, 30, 30]
    assert [two_sets.at(time_sec).per_minute for time_sec in (10, 15, 19.9)] == [None] * 3
    assert [two_sets.at(time_sec).per_minute for time_sec in (20, 22, 24.9)] == [60, 60, 60]


def test_periodicity_is_that_of_the_frame(two_sets):
    assert [two_sets.at(time_sec).periodicity for time_sec in (-1, 9.95, 10, 99)] == [0.9, 0.9, 0.1, 0.9]


def test_a_last_repetition_that_was_rounded_up_ends_full():
    timeline = Timeline(np.arange(10.0), np.arange(1, 11) * 0.17, np.ones(10), np.array([5.9, 10.0]), np.array([[0.0, 10.0]]))
    assert timeline.at(9.99).count == 1
    assert timeline.at(9.99).progress == pytest.approx(1.0, abs=0.01)


def test_a_video_without_repetitions_and_one_of_a_single_frame_show_zero():
    none = np.zeros(1)
    shown = Timeline(none, none, none, np.array([]), np.empty((0, 2))).at(0.5)
    assert (shown.count, shown.progress, shown.per_minute, shown.periodicity) == (0, 0, None, 0)


def test_a_timeline_survives_being_sent(two_sets):
    sent = Timeline.from_bytes(two_sets.to_bytes())
    assert sent.segments_sec.tolist() == two_sets.segments_sec.tolist()
    assert [sent.at(time) for time in (0, 3.3, 12, 24)] == [two_sets.at(time) for time in (0, 3.3, 12, 24)]
