"""Comparisons find both sides in a benchmark's results, and relate them."""

import pytest

from benchmarks.suite.comparison import Comparison, Ratio, figure, inverse, missing_figures, quotient, scaled
from benchmarks.suite.figures import FiguresError

RESULTS = {
    "sec": {"ours": 2.0, "theirs": 9.0},
    "rows": [{"model": "lite", "precision": "float32", "fps": 600}, {"model": "lite", "precision": "bfloat16", "fps": 900}],
}


def test_a_figure_is_found_by_its_keys_and_in_lists_by_its_fields():
    assert figure("sec", "ours")(RESULTS) == 2.0
    assert figure("rows", {"model": "lite", "precision": "bfloat16"}, "fps")(RESULTS) == 900


@pytest.mark.parametrize("keys", [("msec",), ("sec", "mine"), ("rows", {"model": "other"}, "fps"), ("sec", {"model": "lite"})])
def test_a_figure_that_is_not_there_is_named(keys):
    with pytest.raises(FiguresError, match=r"the results have no figure .*" + str(keys[0])):
        figure(*keys)(RESULTS)


def test_figures_are_converted():
    side = figure("sec", "ours")
    assert scaled(side, 1000)(RESULTS) == 2000
    assert inverse(side, 30)(RESULTS) == 15
    assert quotient(figure("sec", "theirs"), side)(RESULTS) == 4.5


def test_less_time_is_faster_and_a_higher_rate_is_higher():
    assert Ratio.TIMES_FASTER.of(2.0, 9.0) == 4.5
    assert Ratio.RATE.of(9.0, 2.0) == Ratio.TIME.of(9.0, 2.0) == 4.5


def test_all_missing_figures_are_named():
    comparison = Comparison("ours", "theirs", figure("sec", "ours"), figure("sec", "gone"), "s")
    alone = Comparison("ours", "", figure("gone"), None, "s")
    assert list(missing_figures([comparison, alone], RESULTS)) == [
        "the results have no figure sec / gone",
        "the results have no figure gone",
    ]
