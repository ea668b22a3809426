"""Edits: cuts, title cards, counters, bars and held frames."""

import numpy as np
import pytest

from model.training import edits
from model.training.timing import Timing


def filled(value, frames=64):
    return np.full((frames, 112, 112, 3), value, np.uint8)


@pytest.mark.parametrize("seed", range(10))
def test_a_cut_shows_the_first_shot_then_the_other(seed):
    frames = filled(10)
    edits.cut(frames, filled(200), np.random.default_rng(seed))
    levels = frames[:, 0, 0, 0].astype(int)
    assert levels[0] == 10
    assert levels[-1] > 100  # a dissolve may go on beyond the end
    assert (np.diff(levels) >= 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_a_title_card_covers_the_frames_that_it_says(seed):
    frames = filled(10)
    covered = edits.insert_card(frames, np.random.default_rng(seed))
    assert covered[0] != covered[-1]
    assert (frames[~covered] == 10).all()
    assert (frames[covered] == frames[covered][0]).all()


def test_bars_leave_the_whole_picture_in_between():
    frames = filled(90, 2)
    edits.add_bars(frames, np.random.default_rng(0))
    inside = frames.max(axis=(0, 3)) > 0
    assert 0.2 < inside.mean() < 0.95
    assert inside[56, 56]


@pytest.mark.parametrize("seed", range(10))
def test_held_frames_leave_at_least_three_of_each_repetition(seed):
    frames = np.arange(64, dtype=np.uint8)[:, None, None, None] * np.ones((1, 112, 112, 3), np.uint8)
    period = 14.0
    timing = Timing(np.arange(64) / period, np.full(64, period), np.ones(64, bool))
    edits.hold_frames(frames, timing, np.random.default_rng(seed))
    assert period / np.diff(np.unique(frames)).max() >= 3


def test_a_burnt_in_counter_changes_with_every_repetition_and_a_text_never():
    timing = Timing(np.arange(64) / 8, np.full(64, 8.0), np.ones(64, bool))
    changes = set()
    for seed in range(12):
        frames = filled(90)
        edits.overlay(frames, timing, np.random.default_rng(seed))
        changes.add(int((frames[1:] != frames[:-1]).any(axis=(1, 2, 3)).sum()))
    assert 0 in changes
    assert max(changes) <= 7
    assert max(changes) >= 5
