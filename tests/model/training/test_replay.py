"""Each group of clips is shown the right number of times, in other views each time, from a buffer of bounded size."""

import collections
import dataclasses

import numpy as np
import pytest

from model.training.clips import Batch
from model.training.replay import Plan, assemble, keep
from model.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=400, batch_size=8, group_clips=2, buffer_clips=20, views_per_clip=6, views_per_showing=2)


def follow(settings, steps):
    """Returns the plan after some steps, with each step's fresh groups and showings."""
    plan = Plan(settings)
    return plan, [plan.next_step() for _ in range(steps)]


@pytest.mark.parametrize("replay", [1.0, 2.6, 3.0])
def test_every_group_is_shown_as_often_as_replay_says(replay):
    settings = dataclasses.replace(SETTINGS, replay=replay)
    plan, steps = follow(settings, settings.steps)
    shown = collections.Counter(showing.group for _, showings in steps for showing in showings)
    finished = set(shown) - set(plan.waiting)
    assert len(finished) > 0.95 * plan.drawn
    assert {shown[group] for group in finished} == {int(replay), int(np.ceil(replay))}
    assert sum(shown.values()) == settings.steps * settings.groups_per_step
    assert np.mean([shown[group] for group in sorted(finished)]) == pytest.approx(replay, abs=0.02)


def test_showings_of_a_group_are_numbered_and_no_step_shows_a_group_twice():
    _, steps = follow(SETTINGS, SETTINGS.steps)
    before = collections.Counter()
    for _, showings in steps:
        assert len({showing.group for showing in showings}) == SETTINGS.groups_per_step
        for showing in showings:
            assert showing.times_before == before[showing.group]
            before[showing.group] += 1


def test_no_more_groups_wait_than_fit_and_only_drawn_ones_are_shown():
    plan, waiting, drawn = Plan(SETTINGS), set(), []
    for _ in range(SETTINGS.steps):
        fresh, showings = plan.next_step()
        drawn += fresh
        waiting |= set(fresh)
        assert len(waiting) <= SETTINGS.buffer_clips // SETTINGS.group_clips
        assert {showing.group for showing in showings} <= waiting
        waiting = set(plan.waiting)
    assert drawn == list(range(plan.drawn))


def test_a_run_draws_hardly_more_than_it_shows():
    for steps in (1, 2, 10, 400):
        settings = dataclasses.replace(SETTINGS, steps=steps, replay=2.0)
        plan, _ = follow(settings, steps)
        assert plan.drawn * 2 <= steps * settings.groups_per_step + 2 * settings.groups_per_step


def test_the_plan_is_told_by_the_settings():
    assert follow(SETTINGS, 50)[1] == follow(SETTINGS, 50)[1]
    assert follow(SETTINGS, 50)[1] != follow(dataclasses.replace(SETTINGS, seed=1), 50)[1]


def batch(number, settings):
    """Labels that tell group, clip and view."""
    shape = (settings.group_clips, settings.views_per_clip, 64)
    clip, view = np.arange(shape[0])[:, None, None], np.arange(shape[1])[None, :, None]
    name = np.broadcast_to(100.0 * number + 10 * clip + view, shape).astype(np.float32)
    views = np.broadcast_to(64 * clip + np.arange(64), shape).astype(np.int32)
    return Batch(np.empty(0, np.uint8), views, name, name + 0.25, name + 0.5)


def test_a_clip_is_shown_in_other_views_each_time_and_labels_stay_with_them():
    group = keep("frames", batch(1, SETTINGS), 1, SETTINGS)
    seen = [set() for _ in range(SETTINGS.group_clips)]
    for times in range(3):
        example = assemble([group], [times], SETTINGS)
        assert example.period.shape == (2, 2, 64)
        np.testing.assert_array_equal(example.periodic, example.period + 0.25)
        np.testing.assert_array_equal(example.weight, example.period + 0.5)
        for clip, names in enumerate(seen):
            shown = set(example.period[clip, :, 0])
            assert not shown & names
            names.update(shown)
    assert seen == [{100, 101, 102, 103, 104, 105}, {110, 111, 112, 113, 114, 115}]


def test_views_show_the_frames_of_their_own_group():
    groups = [keep(f"frames {number}", batch(number, SETTINGS), number, SETTINGS) for number in (5, 9)]
    example = assemble(groups, [0, 1], SETTINGS)
    assert example.groups == ("frames 5", "frames 9")
    clips = example.views // 64
    np.testing.assert_array_equal(clips[:, :, 0], [[0, 0], [1, 1], [2, 2], [3, 3]])
    assert (example.period // 100).astype(int)[:, 0, 0].tolist() == [5, 5, 9, 9]
