"""Movements: waves, figures that keep their limbs, and what one repetition is when left and right alternate."""

import dataclasses

import numpy as np
import pytest

from model.training import motion
from model.training.timing import Timing


@pytest.mark.parametrize("seed", range(10))
def test_a_wave_is_there_and_back(seed):
    wave = motion.draw_wave(np.random.default_rng(seed))
    assert np.ptp(wave) > 0.5
    assert abs(wave[0] - wave[-1]) < 0.2


@pytest.mark.parametrize("seed", range(10))
def test_a_wave_with_holds_stays_longer_at_its_ends_than_it_moves(seed):
    resting = [np.abs(np.diff(motion.draw_wave(np.random.default_rng(seed + 100 * i), holds=True))) < 1e-3 for i in range(9)]
    assert np.median([share.mean() for share in resting]) > 0.4


PERIOD = 16
STEADY = Timing(np.arange(96) / PERIOD, np.full(96, float(PERIOD)), np.ones(96, bool))


def exercise_of(sides, seed):
    """An exercise and its joints over six cycles of 16 frames, without swaying."""
    rng = np.random.default_rng(seed)
    exercise = dataclasses.replace(motion.draw_exercise(rng, sides), anchor=-1)
    many = [motion.move_figure(np.random.default_rng([seed, i]), [exercise], STEADY) for i in range(50)]
    return exercise, np.mean(many, axis=0)


def distance(joints, other):
    return float(np.linalg.norm(joints - other, axis=-1).mean())


LEFT_AND_RIGHT = [0, 1, 2, 5, 6, 3, 4, 9, 10, 7, 8, 12, 11, 14, 13]
"""The joints of the mirrored figure."""


@pytest.mark.parametrize("sides", ["", "swing", "stride"])
@pytest.mark.parametrize("seed", range(10))
def test_a_figure_does_what_it_does_again_a_repetition_later_and_not_earlier(sides, seed):
    _, joints = exercise_of(sides, seed)
    assert joints.shape == (96, 15, 3)
    assert np.isfinite(joints).all()
    after_one = distance(joints[PERIOD:], joints[:-PERIOD])
    assert after_one < distance(joints[PERIOD // 2 :], joints[: -PERIOD // 2])


@pytest.mark.parametrize("seed", range(10))
def test_where_sides_take_turns_each_side_is_a_repetition_mirrored_in_the_next(seed):
    exercise, joints = exercise_of("turns", seed)
    rests = joints[::PERIOD]  # each repetition starts and ends at the same rest
    moved = distance(joints, rests[0])
    assert distance(rests[1:], rests[0]) < 0.4 * moved
    mirrored = joints[PERIOD:][:, LEFT_AND_RIGHT] * np.array([-1, 1, 1])
    assert distance(mirrored, joints[:-PERIOD]) < 0.4 * moved
    assert distance(joints[2 * PERIOD :], joints[: -2 * PERIOD]) < 0.4 * moved
    assert exercise.wave[0] == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_swing_from_side_to_side_is_one_repetition_and_its_halves_mirror_each_other(seed):
    _, joints = exercise_of("swing", seed)
    joints = joints - joints[:, :1]  # as seen from the hip
    half = PERIOD // 2
    mirrored = joints[half:][:, LEFT_AND_RIGHT] * np.array([-1, 1, 1])
    assert distance(mirrored, joints[:-half]) < 0.45 * distance(joints[half:], joints[:-half])
    # It does not rest in the middle between the sides.
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean(axis=1)[: 3 * PERIOD].reshape(3, PERIOD).mean(axis=0)
    assert speed[PERIOD // 4 - 1] > 0.5 * speed.max()


@pytest.mark.parametrize("sides", motion.SIDES)
@pytest.mark.parametrize("seed", range(10))
def test_the_labelled_count_is_how_often_the_figure_leaves_its_start_and_comes_back(sides, seed):
    exercise, _ = exercise_of(sides, seed)
    smooth = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)).astype(np.float32)
    plain = dataclasses.replace(exercise, wave=smooth, detour=exercise.rest, travel=np.zeros(3, np.float32))
    plain = dataclasses.replace(plain, lag=np.where(exercise.lag == 0.5, exercise.lag, 0).astype(np.float32))
    joints = np.mean([motion.move_figure(np.random.default_rng([seed, i]), [plain], STEADY) for i in range(50)], axis=0)
    away = np.linalg.norm(joints - joints[0], axis=-1).mean(axis=1)
    out = away > away.max() / 2
    assert int((np.diff(out.astype(int)) == 1).sum()) == round(STEADY.count) == 6


def test_exercises_change_half_way_between_sets():
    active = np.ones(96, bool)
    active[40:50] = False
    weights = motion.set_weights(dataclasses.replace(STEADY, active=active), 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (weights[:40, 0] > 0.99).all()
    assert (weights[50:, 1] > 0.99).all()


def test_every_exercise_can_be_seen():
    for seed in range(60):
        exercise = motion.draw_exercise(np.random.default_rng(seed))
        assert np.abs(exercise.goal - exercise.rest).sum() > 0.8


def test_who_talks_moves_the_arms_more_than_the_legs_and_no_gesture_comes_again_like_a_repetition():
    gestures = motion.draw_gestures(np.random.default_rng(0), 600)
    moved = np.abs(np.diff(gestures, axis=0)).mean(axis=(0, 2))
    assert moved[[2, 3, 4, 5]].max() > 4 * moved[6:].max()
    arm = gestures[:, np.argmax(moved)]
    arm = (arm - arm.mean(axis=0)) / arm.std(axis=0)
    similar = [float((arm[lag:] * arm[:-lag]).mean()) for lag in range(12, 200)]
    assert max(similar) < 0.6


@pytest.mark.parametrize("seed", range(10))
def test_who_comes_and_goes_is_there_for_the_whole_set_and_keeps_the_limbs_on_the_way(seed):
    rng = np.random.default_rng(seed)
    active = np.zeros(64, bool)
    active[20:45] = True
    timing = Timing(np.arange(64) / 8, np.full(64, 8.0), active)
    joints = motion.move_figure(rng, [motion.draw_exercise(rng)], timing)
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
