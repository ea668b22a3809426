"""Figures: painted where their joints are, in one piece, with volume and cloth unless they are to be flat."""

import dataclasses

import cv2
import numpy as np
import pytest

from model.training import figures, motion
from model.training.timing import no_set


def paint(look, places, scale):
    frames = np.zeros((len(places), 112, 112, 3), np.uint8)
    figures.paint_figure(frames, places, look, scale)
    return frames


def stand(rng, scale):
    """Joints of a standing figure in the middle of the picture."""
    joints = motion.move_figure(rng, [motion.draw_exercise(rng)], no_set(4))
    seen = motion.Viewpoint(np.eye(3, dtype=np.float32), 0.0).see(joints)
    return (seen - seen.reshape(-1, 2).mean(axis=0)) * scale + 56


@pytest.mark.parametrize("seed", range(30))
def test_a_figure_is_in_one_piece_and_covers_its_joints(seed):
    rng = np.random.default_rng(seed)
    scale = float(rng.uniform(40, 90))
    places = stand(rng, scale)
    bright = dataclasses.replace(
        figures.draw_look(rng), colours=[(255, 255, 255)] * 10, head_colour=(255, 255, 255), hair_colour=(200, 90, 90)
    )
    picture = paint(bright, places, scale)[0].max(axis=-1)
    pieces, _ = cv2.connectedComponents((picture > 20).astype(np.uint8))
    assert pieces == 2  # the background and the figure
    for x, y in places[0, 1:11]:
        if 1 <= x < 111 and 1 <= y < 111:
            assert picture[round(y - 0.5) : round(y + 1.5), round(x - 0.5) : round(x + 1.5)].max() > 20


def test_limbs_have_a_lit_and_a_dark_side_unless_they_are_to_be_flat():
    shaded = [figures.draw_look(np.random.default_rng(seed)) for seed in range(40)]
    flat = [figures.draw_look(np.random.default_rng(seed), volume=False) for seed in range(40)]
    assert 0.5 < np.mean([look.shade > 0 for look in shaded]) < 1
    assert 0.15 < np.mean([look.pattern is not None for look in shaded]) < 0.6
    assert all(look.shade == 0 and look.pattern is None for look in flat)
    assert all((look.thickness[:, 0] == look.thickness[:, 1]).all() for look in flat)
    places = stand(np.random.default_rng(0), 80)
    colours = [len(np.unique(paint(look, places, 80)[0].reshape(-1, 3), axis=0)) for look in (shaded[0], flat[0])]
    assert colours[0] > colours[1]


def test_the_print_of_a_shirt_moves_with_the_torso():
    rng = np.random.default_rng(1)
    look = next(look for look in (figures.draw_look(rng) for _ in range(99)) if look.pattern is not None)
    places = stand(rng, 80)[:1]
    here, there = paint(look, places, 80)[0], paint(look, places + 8, 80)[0]
    np.testing.assert_allclose(there[16:96, 16:96].astype(int), here[8:88, 8:88], atol=2)


@pytest.mark.parametrize("shift", [-300.0, 200.0])
def test_a_figure_out_of_the_picture_leaves_it_as_it_is(shift):
    rng = np.random.default_rng(2)
    look = dataclasses.replace(figures.draw_look(rng), pattern=np.full((48, 48, 3), 200, np.uint8))
    assert not paint(look, stand(rng, 60) + shift, 60).any()
