"""The panel changes the pixels below it and no others, fits every size, and differs when what it shows does."""

import numpy as np
import pytest

from transforms.annotation.panel import Colours, Panel
from transforms.annotation.timeline import Shown

SHOWN = Shown(count=7, progress=0.5, per_minute=32, periodicity=0.8)
SIZES = [(1920, 1080), (1080, 1920), (640, 480), (64, 48), (48, 64), (640, 32), (32, 640), (30, 14), (2, 2), (4096, 18)]


def grey(size, level=150):
    width, height = size
    half = (height // 2, width // 2)
    return [np.full((height, width), level, np.uint8), np.full(half, 120, np.uint8), np.full(half, 130, np.uint8)]


def drawn(size, shown, panel=None):
    planes = grey(size)
    (panel or Panel(size, Colours())).draw(planes, shown)
    return planes


@pytest.mark.parametrize("size", SIZES)
def test_pixels_change_where_the_panel_is_and_nowhere_else(size):
    panel = Panel(size, Colours())
    for number, (plane, before) in enumerate(zip(drawn(size, SHOWN, panel), grey(size), strict=True)):
        scale = 2 if number else 1
        changed = plane != before
        place = np.s_[
            panel.top // scale : (panel.top + panel.height) // scale, panel.left // scale : (panel.left + panel.width) // scale
        ]
        assert not panel.width or changed[place].mean() > 0.9
        changed[place] = False
        assert not changed.any()
    assert panel.left + panel.width <= size[0]
    assert panel.top + panel.height <= size[1]


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (3840, 2160), (720, 1280)])
def test_the_panel_is_as_large_on_a_portrait_as_on_a_landscape(size):
    panel = Panel(size, Colours())
    assert panel.height / min(size) == pytest.approx(0.29, abs=0.01)
    assert panel.width / min(size) == pytest.approx(0.63, abs=0.02)


@pytest.mark.parametrize(
    "other",
    [Shown(8, 0.5, 32, 0.8), Shown(7, 0.6, 32, 0.8), Shown(7, 0.5, 33, 0.8), Shown(7, 0.5, None, 0.8), Shown(7, 0.5, 32, 0.7)],
)
def test_each_thing_shown_changes_the_picture_and_leaves_no_trace(other):
    panel = Panel((640, 360), Colours())
    first = drawn((640, 360), SHOWN, panel)
    second = drawn((640, 360), other, panel)
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    again = drawn((640, 360), SHOWN, panel)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_the_ring_fills_clockwise_from_the_top():
    panel = Panel((640, 360), Colours())
    empty, quarter = (drawn((640, 360), Shown(0, progress, None, 0), panel)[1].astype(int) for progress in (0, 0.25))
    rows, columns = np.nonzero(np.abs(quarter - empty) > 5)
    middle = (panel.top + panel.height // 2) / 2
    assert rows.max() <= middle + 1
    assert columns.min() >= middle - 1


@pytest.mark.parametrize("count", [0, 10, 999, 1000, 123456])
def test_every_count_stays_inside_the_ring(count):
    panel = Panel((640, 360), Colours())
    changed = drawn((640, 360), Shown(count, 0, None, 0), panel)[0] != drawn((640, 360), Shown(5, 0, None, 0), panel)[0]
    rows, columns = np.nonzero(changed)
    middle = panel.left + panel.height / 2
    inner = 0.39 * 0.8 * panel.height
    assert not len(rows) or np.hypot(rows - middle, columns - middle).max() <= inner + 1


def test_text_is_bright_and_its_ground_dark_on_white_and_on_black():
    for level in (16, 235):
        planes = grey((1280, 720), level)
        panel = Panel((1280, 720), Colours())
        panel.draw(planes, SHOWN)
        inside = planes[0][panel.top : panel.top + panel.height, panel.left : panel.left + panel.width]
        assert inside.max() > 225
        assert np.median(inside) < 100


@pytest.mark.parametrize(("is_full_range", "white"), [(False, 235), (True, 255)])
def test_white_is_the_brightest_that_the_range_has(is_full_range, white):
    luma, blue, red = Colours(is_full_range=is_full_range).ycbcr((255, 255, 255))
    assert (luma, blue, red) == pytest.approx((white, 128, 128))
