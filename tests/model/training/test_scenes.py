"""Shots: they show what is asked for, and are the same again."""

import numpy as np
import pytest

from model.training import figures, scenes
from model.training.scenes import Ingredients, Scene, draw_shot
from model.training.timing import draw_set, draw_sets, no_set


@pytest.fixture
def painted(monkeypatch):
    """Places of the figures painted, in order."""
    places = []

    def paint(frames, joints, look, scale):
        places.append(joints)

    monkeypatch.setattr(figures, "paint_figure", paint)
    return places


ALONE = Ingredients(frozenset(["bystanders", "camera", "entrances"]))


@pytest.mark.parametrize("people", [1, 3])
def test_several_people_do_the_same_at_the_same_time(painted, people):
    timing = draw_set(np.random.default_rng(4), 128, base=16.0)
    draw_shot(np.random.default_rng(5), timing, Scene(subject="people", people=people), ALONE)
    assert len(painted) == people
    middles = {round(float(places[..., 0].mean())) for places in painted}
    assert len(middles) == people
    moves = [places - places.mean(axis=0) for places in painted]
    for move in moves[1:]:
        likeness = (move * moves[0]).sum() / np.sqrt((move**2).sum() * (moves[0] ** 2).sum())
        assert likeness > 0.6


def test_each_set_has_its_own_exercise(painted, monkeypatch):
    drawn = []
    draw = scenes.motion.draw_exercise
    monkeypatch.setattr(scenes.motion, "draw_exercise", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    timing = draw_sets(np.random.default_rng(0), 700, 4)
    for seed in range(8):
        draw_shot(np.random.default_rng(seed), timing, Scene(subject="people", people=1), ALONE)
    assert len(drawn) > 8 * len(timing.sets()) * 0.6


@pytest.mark.parametrize("subject", ["people", "patches", "picture", "strokes"])
def test_a_shot_shows_its_subject_and_is_the_same_again(subject):
    timing = draw_set(np.random.default_rng(0), 40, base=10.0)
    shot, again = (draw_shot(np.random.default_rng(3), timing, Scene(subject=subject)) for _ in range(2))
    np.testing.assert_array_equal(shot, again)
    assert shot.shape == (40, 112, 112, 3)
    assert np.ptp(shot.astype(int), axis=0).max() > 20


@pytest.mark.parametrize("subject", ["people", "patches", "picture", "strokes"])
def test_a_shot_can_be_seen_at_a_coarse_stride(subject):
    timing = draw_set(np.random.default_rng(0), 40, base=10.0)
    shot = draw_shot(np.random.default_rng(3), timing, Scene(subject=subject), stride=4)
    assert shot.shape == (40, 112, 112, 3)
    assert np.ptp(shot.astype(int), axis=0).max() > 20


def test_at_a_coarse_stride_a_figure_repeats_as_fast_from_painted_frame_to_painted_frame(painted):
    timing = draw_set(np.random.default_rng(0), 80, base=10.0, jitter_share=0.0)
    for stride in (1, 6):
        draw_shot(np.random.default_rng(2), timing, Scene(subject="people", people=1, sides=""), ALONE, stride)
    for places in painted:
        moves = (places - places.mean(axis=0)).reshape(80, -1)
        likeness = [float((moves[lag:] * moves[: 80 - lag]).sum() / (80 - lag)) for lag in range(5, 16)]
        assert abs(5 + int(np.argmax(likeness)) - 80 / timing.count) < 1.5


def test_at_a_coarse_stride_a_hand_held_camera_shakes_more_from_frame_to_frame(monkeypatch):
    seen = []
    paint = scenes.drawing.paint_backgrounds
    monkeypatch.setattr(scenes.drawing, "paint_backgrounds", lambda image, camera: seen.append(camera) or paint(image, camera))
    for stride in (1, 8):
        draw_shot(np.random.default_rng(7), no_set(64), Scene(subject="picture", camera="hand"), stride=stride)
    fine, coarse = (np.abs(np.diff(camera.maps[:, :, 2], axis=0)).mean() for camera in seen)
    assert coarse > 1.5 * fine
