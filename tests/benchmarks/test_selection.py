"""The benchmark of selection reports the times, ratio and memory that the README quotes."""

import pytest

from benchmarks import selection
from tests.google_cloud import servers
from tests.support.benchmarks import run_benchmark

needs_servers = pytest.mark.skipif(
    not servers.is_installed(), reason="the Google Cloud test servers are not installed; `make test` does that"
)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), pytest.param(("--cloud",), marks=[needs_servers, pytest.mark.slow])])
def test_a_small_run_selects_the_new_videos_only(capsys, arguments):
    result = run_benchmark(selection, capsys, "--done", "5", "--new", "2", *arguments)
    assert (result["listed"], result["selected"]) == (7, 2)
    assert all(result[name] > 0 for name in ("list_and_select_sec", "ratio", "peak_mib"))
    assert result["list_sec"] >= 0
