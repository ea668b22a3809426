"""Frame times start at 0 and always increase; sampling keeps the frame rate below its limit."""

import numpy as np
import pytest

from transforms.decoding.clock import FrameSampler, PresentationClock


@pytest.mark.parametrize("fps", [10, 23.976, 25, 29.97, 30, 31])
def test_every_frame_is_kept_up_to_the_limit(fps):
    sampler = FrameSampler(30)
    assert all(sampler.keeps(index / fps) for index in range(10_000))


def test_jitter_of_a_phone_does_not_lose_frames():
    jitter_sec = np.random.default_rng(1).uniform(-0.003, 0.003, 3000)
    sampler = FrameSampler(30)
    assert all(sampler.keeps(time_sec) for time_sec in np.arange(3000) / 30 + 1 + jitter_sec)


@pytest.mark.parametrize("fps", [60, 59.94])
def test_every_second_frame_is_kept_at_60_fps(fps):
    sampler = FrameSampler(30)
    assert [sampler.keeps(index / fps) for index in range(1000)] == [True, False] * 500


@pytest.mark.parametrize("fps", [32, 36, 40, 48, 50, 72, 90, 100, 120, 144, 240, 1000])
def test_rate_stays_near_the_limit(fps):
    sampler = FrameSampler(30)
    kept_sec = np.array([index / fps for index in range(20 * fps) if sampler.keeps(index / fps)])
    assert len(kept_sec) / 20 <= 30 * 1.05 + 0.1
    assert np.diff(kept_sec).max() <= 2 / 30


def present_all(container_sec, nominal_fps=25.0, restart_sec=300.0):
    clock = PresentationClock(nominal_fps, restart_sec)
    return clock, [clock.present(time_sec) for time_sec in container_sec]


def test_times_start_at_zero_and_keep_their_steps():
    clock, times_sec = present_all([0.152, 0.177, 0.210, 0.243])
    np.testing.assert_allclose(times_sec, [0, 0.025, 0.058, 0.091])
    assert clock.mean_step_sec == pytest.approx(0.091 / 3)
    assert not clock.is_variable


@pytest.mark.parametrize(
    "container_sec",
    [
        [0.04, 0.08, 0.12, 0.16, 0.20, 0.0],  # B-frames in AVI: the last time is missing
        [0.0] * 6,  # no times at all
        [None] * 6,
        [0.0, 0.04, 0.08, 0.0, 0.04, 0.08],  # two recordings joined
    ],
)
@pytest.mark.parametrize("nominal_fps", [25, 1000])
def test_a_time_that_does_not_increase_is_one_step_after_the_previous(container_sec, nominal_fps):
    _, times_sec = present_all(container_sec, nominal_fps)
    step_sec = 1 / 30 if nominal_fps == 1000 and not any(container_sec) else 1 / 25
    np.testing.assert_allclose(times_sec, np.arange(6) * step_sec)


def test_a_frame_without_a_time_is_not_a_restart():
    clock = PresentationClock(60.0, restart_sec=10.0)
    times_sec = [clock.present(None if index % 3 == 1 else 5 + index / 30) for index in range(1800)]
    np.testing.assert_allclose(times_sec, np.arange(1800) / 30, atol=1 / 30)
    assert not clock.has_restarted


def test_times_in_coding_order_increase_without_drift():
    in_order_sec = np.arange(0, 40, 0.04)
    coded_sec = in_order_sec.reshape(-1, 4)[:, [0, 3, 1, 2]].ravel()
    _, times_sec = present_all(coded_sec)
    assert (np.diff(times_sec) > 0).all()
    np.testing.assert_allclose(times_sec, in_order_sec, atol=0.12)


def test_the_last_frame_lasts_the_usual_step_although_a_pause_makes_the_mean_one_longer():
    clock, _ = present_all([0.0, 0.04, 20.04, 20.08, 20.12], nominal_fps=50.0)
    assert clock.last_step_sec == pytest.approx(0.04)
    assert clock.mean_step_sec == pytest.approx(20.12 / 4)


@pytest.mark.parametrize(
    ("nominal_fps", "step_sec"),
    [(25, 1 / 25), (1, 1), (500, 1 / 500), (1000, 1 / 30), (0.1, 1 / 30), (0, 1 / 30), (float("nan"), 1 / 30)],
)
def test_an_implausible_rate_in_the_header_is_ignored(nominal_fps, step_sec):
    clock, times_sec = present_all([0.0, 0.0], nominal_fps)
    assert times_sec == [0.0, step_sec]
    assert (clock.mean_step_sec, clock.last_step_sec) == pytest.approx((step_sec, step_sec))


@pytest.mark.parametrize("jump_sec", [301.0, 20_000.0, -20_000.0, 1.7e9])
@pytest.mark.parametrize("frame", [1, 2, 30, 59])
def test_a_clock_that_jumps_goes_on_one_step_later(jump_sec, frame):
    container_sec = np.arange(60) / 25
    container_sec[frame:] += jump_sec
    clock, times_sec = present_all(container_sec)
    np.testing.assert_allclose(times_sec, np.arange(60) / 25, atol=1e-5)
    assert (clock.has_restarted, clock.is_variable) == (True, False)


def test_one_frame_with_a_wild_time_moves_no_other_frame():
    container_sec = np.arange(60) / 25
    container_sec[20] = 90_000.0
    _, times_sec = present_all(container_sec)
    np.testing.assert_allclose(times_sec, np.arange(60) / 25, atol=1e-5)


def test_a_pause_of_a_screen_recording_stays():
    container_sec = np.concatenate([np.arange(30) / 25, np.arange(30) / 25 + 120])
    clock, times_sec = present_all(container_sec)
    np.testing.assert_allclose(times_sec, container_sec)
    assert (clock.has_restarted, clock.is_variable) == (False, True)


@pytest.mark.parametrize(("longest_sec", "is_variable"), [(0.05, False), (0.07, True)])
def test_steps_that_differ_by_more_than_half_of_one_are_variable(longest_sec, is_variable):
    clock, _ = present_all(np.append(np.arange(60) / 25, 59 / 25 + longest_sec))
    assert clock.is_variable == is_variable


@pytest.mark.parametrize("step_sec", [2.0, 30.0, 900.0])
def test_a_time_lapse_keeps_its_times(step_sec):
    container_sec = np.arange(60) * step_sec
    clock, times_sec = present_all(container_sec, 1 / step_sec)
    np.testing.assert_allclose(times_sec, container_sec)
    assert not clock.has_restarted


def test_a_long_pause_in_a_slow_recording_stays():
    container_sec = np.concatenate([np.arange(20) * 10.0, np.arange(20) * 10.0 + 1000])
    clock, times_sec = present_all(container_sec, 0.1)
    np.testing.assert_allclose(times_sec, container_sec)
    assert not clock.has_restarted
