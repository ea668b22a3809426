"""Clips are mirrored and recoloured, each in its own way, so that what repeats in them still does."""

import keras
import numpy as np
import pytest

from model.training.augmentation import augment

PERIOD = 3


@pytest.fixture(scope="module")
def clips():
    """32 clips of seven frames that repeat after three."""
    cycle = np.random.default_rng(0).integers(40, 200, (32, PERIOD, 6, 5, 3), np.uint8)
    return cycle[:, np.arange(7) % PERIOD]


@pytest.fixture(scope="module")
def changed(clips):
    return np.asarray(augment(clips, keras.random.SeedGenerator(1)))


def test_values_are_whole_numbers_of_0_to_255(clips, changed):
    assert changed.shape == clips.shape
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(changed, np.round(changed))
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_frames_that_were_the_same_still_are_and_others_still_differ(changed):
    np.testing.assert_array_equal(changed[:, PERIOD:], changed[:, :-PERIOD])
    assert (np.abs(changed[:, 1] - changed[:, 0]).max(axis=(1, 2, 3)) > 20).all()


def test_a_clip_stays_in_its_place_and_some_are_mirrored(clips, changed):
    def likeness(image, other):
        return np.corrcoef(image.mean(axis=-1).ravel(), other.mean(axis=-1).ravel())[0, 1]

    plain = np.array([likeness(clips[i, 0], changed[i, 0]) for i in range(len(clips))])
    mirrored = np.array([likeness(clips[i, 0, :, ::-1], changed[i, 0]) for i in range(len(clips))])
    assert (np.maximum(plain, mirrored) > 0.9).all()
    assert 6 < (mirrored > plain).sum() < 26


def test_colours_change_from_clip_to_clip_and_from_showing_to_showing(clips):
    grey = np.full((8, 2, 4, 4, 3), 100, np.uint8)
    seed = keras.random.SeedGenerator(1)
    first, second = (np.asarray(augment(grey, seed))[:, 0, 0, 0] for _ in range(2))
    assert len({tuple(colour) for colour in np.concatenate([first, second])}) == 16
    assert np.ptp(first, axis=-1).max() > 5
