"""One object that the store never delivers costs one video; the next run tries it again. A store that is down costs none."""

import duckdb
import pytest

from tests.support import fake_run
from tests.support.videos import draw_video

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hasty_retries")]


@pytest.fixture
def run(cloud, tmp_path, monkeypatch, capsys):
    """Runs `repcount run` on three videos of a bucket; returns its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    content = draw_video(tmp_path / "a.mp4", 40).read_bytes()
    for name in ("dead", "good", "other"):
        cloud.upload(f"day/{name}.mp4", content)

    def run_once():
        videos = f"gs://{cloud.bucket}/day/**"
        code = fake_run.run_fake(["run", "--strides", "1,2", "--input", videos, "--output", "duckdb:c.duckdb"])
        return code, *capsys.readouterr()

    return run_once


def is_download(request):
    return "alt=media" in request.path


def rows(columns, table):
    with duckdb.connect("c.duckdb", read_only=True) as database:
        return database.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()


def test_an_object_that_is_never_delivered_fails_alone_until_it_is_delivered(cloud, run):
    cloud.storage.fail(lambda request: is_download(request) and "dead.mp4" in request.path, times=10**6)
    for _ in range(2):
        code, out, _ = run()
        assert code == 0
        assert rows("video_uri", "video_counts") == [(f"gs://{cloud.bucket}/day/{name}.mp4",) for name in ("good", "other")]
        (failure,) = rows("video_uri, stage, code, message", "failures")
        assert failure[:3] == (f"gs://{cloud.bucket}/day/dead.mp4", "decode", "NOT_DELIVERED")
        assert "503" in failure[3]
    assert "listed 3 = counted 0 + failed 1 + skipped 2" in out

    cloud.storage.clear()
    code, out, _ = run()
    assert code == 0
    assert "listed 3 = counted 1 + failed 0 + skipped 2" in out
    assert rows("code", "failures") == []


def test_a_store_that_delivers_nothing_ends_the_run_and_fails_no_video(cloud, run):
    first = []

    def is_down(request):
        """Returns whether this is a download after that of the first byte, by which a run checks its input."""
        first.extend([] if first or not is_download(request) else [request])
        return is_download(request) and request is not first[0]

    cloud.storage.fail(is_down, times=10**6)
    code, out, err = run()
    assert (code, out) == (1, "")
    *_, line = err.splitlines()
    assert "met a fault of the machine, not of the video: RetryError: Timeout of 120.0s exceeded" in line
    assert [rows("count(*)", table) for table in ("video_counts", "failures", "runs")] == [[(0,)]] * 3

    cloud.storage.clear()
    code, out, _ = run()
    assert code == 0
    assert "listed 3 = counted 3 + failed 0 + skipped 0" in out
