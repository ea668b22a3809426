"""The benchmark of certainty fits coefficients and prints how often counts of a stated probability are right."""

import numpy as np
import pytest

from benchmarks import certainty
from model.certainty import FEATURES
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_prints_coefficients_and_a_table(capsys):
    result = run_benchmark(certainty, capsys, "--videos", "6")
    assert len(result["coefficients"]) == len(FEATURES)
    assert sum(row["counts"] for row in result["reliability"]) <= 6


def test_each_range_says_how_many_counts_were_right():
    table = certainty.reliability(np.array([0.1, 0.3, 0.95, 1.0]), np.array([False, True, True, True]))
    assert table == [
        {"from": 0.0, "to": 0.5, "counts": 2, "stated": 0.2, "within_one": 0.5},
        {"from": 0.9, "to": 1.0, "counts": 2, "stated": 0.975, "within_one": 1.0},
    ]


def test_no_count_is_judged_by_a_fit_to_itself():
    values = np.column_stack([np.ones(50), np.arange(50.0) == 7])
    is_right = np.arange(50) != 7
    assert certainty.cross_validated(values, is_right)[7] > 0.9
