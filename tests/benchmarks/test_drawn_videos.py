"""The benchmark on drawn videos reports the accuracy of each variant, and the errors by kind of video."""

import numpy as np
import pytest

from benchmarks import drawn_videos
from model.training.videos import KINDS
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_each_variant_and_each_kind(capsys):
    result = run_benchmark(drawn_videos, capsys, "--videos", "1", "--first_seed", "24")
    assert (result["videos"], result["first_seed"]) == (1, 24)
    assert result["results"][0]["change"] == {}
    for variant in result["results"]:
        assert 0 <= variant["obo"] <= 1
        assert variant["mae"] >= 0
        assert variant["zeros"] >= 0
    assert list(result["by_kind"]) == list(KINDS[:1])
    for error in result["errors"]:
        assert error["seed"] == 24
        assert error["kind"] == KINDS[0]
        assert abs(error["true"] - error["count"]) > 1


def test_the_measures_are_those_of_the_documentation():
    measures = drawn_videos.measure(np.array([10, 5, 0, 0]), np.array([11, 8, 0.4, 3]))
    assert measures == {"videos": 4, "obo": 0.5, "mae": 0.35, "zeros": 1, "without_repetitions": 2}
    assert drawn_videos.describe(measures) == "4 videos, OBO 0.500, MAE 0.350, 1 of 2 without repetitions count below 1"


def test_without_repetitions_there_is_no_relative_error():
    assert drawn_videos.measure(np.zeros(2), np.zeros(2))["mae"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--videos", "0"], "--videos must be at least 1. Received: 0"),
        (["--videos", "-3"], "must be a whole number of at least 0. Received: '-3'"),
        (["--first_seed", "-1"], "must be a whole number of at least 0. Received: '-1'"),
    ],
)
def test_there_is_at_least_one_video_and_no_seed_below_0(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        drawn_videos.parse_options(None, options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(message)
