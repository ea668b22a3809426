"""Movements: timings that hold at least two cycles, waves, figures that keep their limbs."""

import numpy as np
import pytest

from model.training import motion


@pytest.mark.parametrize("seed", range(20))
def test_repetitions_are_marked_only_where_nearly_two_cycles_are_seen(seed):
    timing = motion.draw_timing(np.random.default_rng(seed), 64)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], timing.active.astype(int), [0]])))
    for start, end in edges.reshape(-1, 2):
        assert timing.phase[end - 1] - timing.phase[start] >= 1.75
    assert (np.diff(timing.phase) > 0).all()
    assert timing.period_frames.min() >= 2.2


def test_the_period_is_the_frames_of_a_cycle():
    timing = motion.draw_timing(np.random.default_rng(3), 640)
    np.testing.assert_allclose(np.diff(timing.phase), 1 / timing.period_frames[1:], rtol=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_a_wave_is_there_and_back(seed):
    wave = motion.draw_wave(np.random.default_rng(seed))
    assert np.ptp(wave) > 0.5
    assert abs(wave[0] - wave[-1]) < 0.2


@pytest.mark.parametrize("seed", range(10))
def test_a_figure_does_what_it_does_again_a_period_later(seed):
    rng = np.random.default_rng(seed)
    period = 16
    phase = np.arange(64) / period
    timing = motion.Timing(phase, np.full(64, period), np.ones(64, bool))
    joints = motion.move_figure(rng, motion.draw_exercise(rng), timing)
    assert joints.shape == (64, 11, 3)
    assert np.isfinite(joints).all()
    after_a_period = np.abs(joints[period:] - joints[:-period]).mean()
    after_half = np.abs(joints[period // 2 :] - joints[: -period // 2]).mean()
    assert after_a_period < after_half


@pytest.mark.parametrize("seed", range(10))
def test_who_comes_and_goes_is_there_for_the_whole_set_and_keeps_the_limbs_on_the_way(seed):
    rng = np.random.default_rng(seed)
    active = np.zeros(64, bool)
    active[20:45] = True
    timing = motion.Timing(np.arange(64) / 8, np.full(64, 8.0), active)
    joints = motion.move_figure(rng, motion.draw_exercise(rng), timing)
    before, after = motion.draw_absences(rng, active)
    for absence, away in ((before, slice(0, 20)), (after, slice(45, None))):
        assert not np.delete(absence, np.arange(64)[away]).any()
        assert 0 < absence[away].max() <= 1
        turned = motion.change_posture(rng, joints, absence)
        np.testing.assert_array_equal(turned[absence == 0], joints[absence == 0])
        np.testing.assert_allclose(_distances(turned), _distances(joints), atol=1e-5)
    assert (np.diff(before) <= 0).all()
    assert (np.diff(after) >= 0).all()


def _distances(joints):
    """Returns those between all joints of a figure."""
    return np.linalg.norm(joints[:, :, None] - joints[:, None, :], axis=-1)


def test_without_a_set_an_actor_passes_through():
    before, after = motion.draw_absences(np.random.default_rng(0), np.zeros(64, bool))
    assert ((before == 0) | (after == 0)).all()
    assert before.any() or after.any()
