"""The strokes of digits and letters: of one width, apart, and inside of their lines."""

import numpy as np
import pytest

from transforms.annotation.glyphs import draw_text, text_width


def test_all_digits_have_one_width():
    assert {text_width(digit) for digit in "0123456789–"} == {0.6}
    assert text_width("111") == text_width("888")


def test_digits_differ():
    drawn = [draw_text((60, 40), [(digit, 8, 50, 40)]) for digit in "0123456789"]
    for number, mask in enumerate(drawn):
        assert mask.max() == 1.0
        assert all(np.abs(mask - other).mean() > 0.01 for other in drawn[number + 1 :])


@pytest.mark.parametrize("text", ["periodicity", "reps", "/min", "0123456789"])
def test_a_text_is_inside_of_the_width_it_states(text):
    size = 40
    columns = draw_text((80, 600), [(text, 20, 60, size)]).any(axis=0).nonzero()[0]
    assert columns[0] >= 20 - size * 0.1
    assert columns[-1] <= 20 + size * (text_width(text) + 0.1)


@pytest.mark.parametrize("size", [4, 9, 40, 200])
def test_any_size_is_drawn_smoothly(size):
    mask = draw_text((2 * size, 2 * size), [("8", size / 2, 1.5 * size, size)])
    assert 0 < mask.mean() < 0.5
    assert ((mask > 0.1) & (mask < 0.9)).any()
