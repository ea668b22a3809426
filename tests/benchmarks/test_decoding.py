"""The decoding benchmark reports the times and ratios that the README and docs/performance.md quote."""

import pytest

from benchmarks import decoding
from tests.support.benchmarks import run_benchmark

METHODS = {"decode_only", "in_process", "child_process", "notebook"}


@pytest.mark.slow
def test_a_small_run_reports_each_size_and_the_whole_pipeline(capsys):
    result = run_benchmark(decoding, capsys, "--repeats", "1", "--seconds", "1", "--clips", "1")
    assert set(result["msec_per_frame"]) == {"360p", "720p", "1080p"}
    for times in result["msec_per_frame"].values():
        assert set(times) == METHODS
        assert all(msec > 0 for msec in times.values())
    assert all(result["pipeline"][name] > 0 for name in ("bare_sec", "run_sec", "speed_ratio"))


def test_every_method_reads_the_same_video(tmp_path, capsys):
    results = decoding.measure_decoding(tmp_path, repeats=1, seconds=1, sizes={"tiny": (64, 48)})
    assert set(results["tiny"]) == METHODS
    assert capsys.readouterr().out.startswith("tiny: ")


def test_a_method_that_loses_frames_ends_the_benchmark():
    with pytest.raises(SystemExit, match=r"short must return all 30 frames\. Received: 29"):
        decoding.msec_per_frame({"short": lambda: 29}, repeats=1, num_frames=30)
