"""The decoding benchmark reports the times and ratios that the README and docs/performance.md quote."""

import pytest

from benchmarks import decoding
from tests.support.benchmarks import run_benchmark

METHODS = {"decode_only", "in_process", "child_process", "exact", "notebook"}


@pytest.mark.slow
def test_a_small_run_reports_each_video_and_the_whole_pipeline(capsys):
    result = run_benchmark(decoding, capsys, "--repeats", "1", "--seconds", "1", "--clips", "1")
    assert set(result["msec_per_frame"]) == {f"{size} {codec} {fps} fps" for size, codec, fps in decoding.VIDEOS}
    for times in result["msec_per_frame"].values():
        assert set(times) == METHODS
        assert all(msec > 0 for msec in times.values())
    assert all(result["pipeline"][name] > 0 for name in ("bare_sec", "run_sec", "speed_ratio"))


def test_every_method_reads_the_same_video(tmp_path, capsys):
    results = decoding.measure_decoding(tmp_path, repeats=1, seconds=1, videos=[("360p", "H.264", 30)])
    assert set(results["360p H.264 30 fps"]) == METHODS
    assert capsys.readouterr().out.startswith("360p H.264 30 fps: ")


def test_a_method_that_loses_frames_ends_the_benchmark():
    with pytest.raises(SystemExit, match=r"short must return all or half of 30 frames\. Received: 29"):
        decoding.msec_per_frame({"short": lambda: 29}, repeats=1, num_frames=30)
