"""Views: another speed is another period, what is not shown does not repeat, and two cycles must be seen."""

import numpy as np
import pytest

from model.training.views import LONGEST_PERIOD, View, draw_places, draw_views, join, show

FRAMES = np.arange(64.0)


def steady(period):
    """Phase, period and activity of a clip that repeats all the time."""
    return FRAMES / period, np.full(64, float(period)), np.ones(64, bool)


@pytest.mark.parametrize(("speed", "period"), [(1.0, 10.0), (0.5, 20.0), (2.0, 5.0), (-1.0, 10.0)])
def test_the_period_is_in_positions(speed, period):
    places = speed * FRAMES + (63 if speed < 0 else 0)
    view = show(*steady(10), places)
    shown = (places >= 0) & (places <= 63)
    np.testing.assert_allclose(view.period[shown], period, rtol=1e-6)
    assert view.periodic[shown].all()


def test_beyond_the_clip_its_last_frame_is_shown_and_nothing_repeats():
    view = show(*steady(10), 2.0 * FRAMES)
    assert (view.frames[32:] == 63).all()
    assert not view.periodic[32:].any()


def test_fewer_than_two_cycles_are_not_periodic():
    assert not show(*steady(40), FRAMES).periodic.any()
    assert not show(*steady(20), 0.5 * FRAMES).periodic.any()


def test_periods_that_are_no_class_are_not_periodic():
    phase, period, active = FRAMES / 10, np.full(64, LONGEST_PERIOD + 1), np.ones(64, bool)
    assert not show(phase, period, active, FRAMES).periodic.any()


def test_joined_views_show_one_after_the_other_and_keep_what_is_left_of_two_cycles():
    first, second = show(*steady(8), FRAMES), show(*steady(16), FRAMES)
    joined = join(first, second, 40, second_offset=64)
    assert joined.frames.tolist() == [*range(40), *range(64 + 40, 128)]
    assert joined.periodic[:40].all()
    assert not joined.periodic[40:].any()  # 24 frames are a cycle and a half


@pytest.mark.parametrize("seed", range(30))
def test_drawn_places_never_make_a_movement_look_slower_than_it_is(seed):
    places = draw_places(np.random.default_rng(seed), shortest_period=3.0)
    assert np.abs(np.diff(places)).max() <= 3.0 / 2.2 + 1e-9
    assert len(places) == 64


def test_every_clip_is_shown_as_it_is_and_in_other_ways():
    clips = [steady(8), steady(12), steady(20)]
    views = draw_views(np.random.default_rng(0), clips, per_clip=3)
    assert len(views) == 9
    for number, view in enumerate(views):
        assert isinstance(view, View)
        assert view.frames.min() >= 0
        assert view.frames.max() < 3 * 64
        if number % 3 == 0:
            clip = number // 3
            assert view.frames.tolist() == list(range(clip * 64, clip * 64 + 64))
            assert view.periodic.all()
