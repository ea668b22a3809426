"""The benchmark on drawn videos reports the accuracies that docs/lite.md quotes."""

from benchmarks import drawn_videos
from tests.support.benchmarks import run_benchmark


def test_a_small_run_reports_each_variant(capsys):
    result = run_benchmark(drawn_videos, capsys, "--videos", "2")
    assert result["videos"] == 2
    assert result["results"][0]["change"] == {}
    for variant in result["results"]:
        assert 0 <= variant["obo"] <= 1
        assert variant["mae"] >= 0
        assert variant["zeros"] >= 0
