"""Timings: sets of whole repetitions, the period is the frames of a cycle, and the count is the cycles of all sets."""

import numpy as np
import pytest

from model.training import timing as timings


@pytest.mark.parametrize("seed", range(40))
def test_repetitions_are_marked_only_where_nearly_two_cycles_are_seen(seed):
    timing = timings.draw_timing(np.random.default_rng(seed), 64)
    for start, end in timing.sets():
        assert timing.phase[end - 1] - timing.phase[start] >= 1.75
    assert (np.diff(timing.phase) > 0).all()
    assert timing.period_frames.min() >= 2.2


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("draw", [timings.draw_timing, lambda rng, frames: timings.draw_sets(rng, frames, 4)])
def test_the_count_is_the_cycles_of_all_sets(draw, seed):
    timing = draw(np.random.default_rng(seed), 600)
    # A frame belongs to the cycle that it ends, so each set begins one frame before its first frame's phase.
    cycles = sum(timing.phase[end - 1] - timing.phase[start] + 1 / timing.period_frames[start] for start, end in timing.sets())
    assert timing.count == pytest.approx(cycles, abs=1e-6)


def test_the_period_is_the_frames_of_a_cycle():
    timing = timings.draw_set(np.random.default_rng(3), 640, base=20.0)
    np.testing.assert_allclose(np.diff(timing.phase), 1 / timing.period_frames[1:], rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_a_set_that_rests_at_both_ends_has_whole_repetitions_and_starts_at_phase_0(seed):
    timing = timings.draw_set(np.random.default_rng(seed), 500, base=20.0, before=0.2, after=0.2)
    ((start, end),) = timing.sets()
    assert start == 100
    began = timing.phase[start] - 1 / timing.period_frames[start]
    assert began == pytest.approx(round(began), abs=1e-6)
    step = 1 / timing.period_frames[end - 1]  # the last frame may reach into the next repetition by less than a frame
    assert 0 <= timing.count - round(timing.count) <= step + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_a_set_without_anything_before_and_after_fills_the_whole_video(seed):
    timing = timings.draw_set(np.random.default_rng(seed), 300, base=30.0)
    assert timing.active.all()
    assert timing.count == pytest.approx(10, rel=0.35)


@pytest.mark.parametrize("seed", range(20))
def test_several_sets_have_their_own_speeds_and_short_transitions(seed):
    timing = timings.draw_sets(np.random.default_rng(seed), 700, 4)
    sets = timing.sets()
    assert 2 <= len(sets) <= 4
    assert len({round(float(timing.period_frames[start:end].mean()), 3) for start, end in sets}) == len(sets)
    assert (np.diff(timing.phase) > 0).all()
    assert (~timing.active).mean() < 0.6


def test_some_clips_have_two_sets_after_one_another_at_other_speeds():
    drawn = [timings.draw_timing(np.random.default_rng(seed), 64) for seed in range(300)]
    pairs = [timing for timing in drawn if len(timing.sets()) == 2]
    ratios = [np.divide(*(timing.period_frames[start:end].mean() for start, end in timing.sets())) for timing in pairs]
    assert sum(abs(np.log(ratio)) > 0.3 for ratio in ratios) >= 5


def test_without_a_set_the_count_is_0():
    assert timings.no_set(100).count == 0
    assert timings.no_set(100).sets() == []


def test_noise_with_close_knots_changes_as_fast_in_long_videos_as_in_short_ones():
    rng = np.random.default_rng(0)
    short, long = (
        np.abs(np.diff(timings.smooth_noise(rng, frames, 1.0, 8, knot_frames=5), axis=0)).mean() for frames in (64, 900)
    )
    assert long == pytest.approx(short, rel=0.4)


@pytest.mark.parametrize("times", [2, 6])
def test_a_slowed_timing_has_the_same_repetitions_in_more_frames(times):
    timing = timings.draw_set(np.random.default_rng(3), 120, base=12.0, before=0.2, after=0.1)
    slowed = timing.slowed(times)
    np.testing.assert_allclose(slowed.phase[::times], timing.phase)
    np.testing.assert_array_equal(slowed.active[::times], timing.active)
    assert slowed.count == pytest.approx(timing.count)
    assert len(slowed.phase) == times * 120
