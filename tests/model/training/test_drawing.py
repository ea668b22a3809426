"""Parts of clips: cameras that are held or carried, and patches."""

import numpy as np
import pytest

from model.training import drawing


@pytest.mark.parametrize("seed", range(10))
def test_a_camera_in_the_hand_never_stands_still(seed):
    maps = drawing.draw_camera(np.random.default_rng(seed), 300, "hand").maps
    assert (np.abs(np.diff(maps[:, :, 2], axis=0)).max(axis=1) > 1e-3).mean() > 0.9
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("seed", range(10))
def test_who_walks_with_the_camera_keeps_the_actor_in_the_picture_while_the_room_passes_by(seed):
    camera = drawing.draw_camera(np.random.default_rng(seed), 600, "walk")
    middle = np.array([56.0, 56.0])
    actor, room = (maps[:, :, :2] @ middle + maps[:, :, 2] for maps in (camera.maps, camera.background))
    assert np.ptp(room[:, 0]) > np.ptp(actor[:, 0])
    assert np.median(np.abs(actor - middle)) < 40


def test_a_standing_camera_shows_actor_and_room_alike():
    camera = drawing.draw_camera(np.random.default_rng(0), 64, "stand")
    np.testing.assert_array_equal(camera.maps, camera.background)


@pytest.mark.parametrize("offset", [(-30.0, 10.0), (20.3, 40.7), (100.0, 105.0), (500.0, 0.0)])
def test_a_patch_is_pasted_where_its_map_leads_and_nowhere_else(offset):
    frames = np.zeros((2, 112, 112, 3), np.uint8)
    patch, cover = np.full((20, 40, 3), 200, np.uint8), np.full((20, 40), 255, np.uint8)
    maps = np.tile(np.array([[1, 0, offset[0]], [0, 1, offset[1]]]), (2, 1, 1))
    drawing.paste(frames, patch, cover, maps)
    y, x = np.mgrid[:112, :112]
    inside = (x > offset[0]) & (x < offset[0] + 39) & (y > offset[1]) & (y < offset[1] + 19)
    outside = (x < offset[0] - 1) | (x > offset[0] + 41) | (y < offset[1] - 1) | (y > offset[1] + 21)
    assert (frames[:, inside] == 200).all()
    assert not frames[:, outside].any()
