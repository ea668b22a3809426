"""Night after night: what is new in a bucket is counted into BigQuery once, whatever happens to a run."""

import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.google_cloud.servers import Cloud
from tests.support.marks import slow
from tests.support.videos import draw_video
from tests.support.warehouses import contents
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.schema import TABLES

RUN_COLUMNS = ("run_id", "run_started", "run_ended")
PROGRAM = [sys.executable, "-m", "tests.support.fake_run"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bucket(cloud_servers):
    """A bucket that the tests of this file share, beside data sets of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud_servers.variables.items():
            patch.setenv(name, value)
        return Cloud(cloud_servers)


@pytest.fixture(scope="module")
def videos(bucket, cloud_servers, tmp_path_factory):
    """Pattern of a folder of the bucket with three good videos, an empty one, a text named .mp4, and a note."""
    folder = tmp_path_factory.mktemp("videos")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud_servers.variables.items():
            patch.setenv(name, value)
        for name, frames in (("ann/squats.mp4", 100), ("ann/rows.mp4", 90), ("bob/press.mp4", 130)):
            bucket.upload(f"uploads/{name}", draw_video(folder / Path(name).name, frames).read_bytes())
        bucket.upload("uploads/bob/empty.mp4", b"")
        bucket.upload("uploads/bob/text.mp4", b"not a video")
        bucket.upload("uploads/bob/note.txt", b"not even named like one")
    return f"gs://{bucket.bucket}/uploads/**"


def command(cloud, videos, *arguments, output=None):
    to = ["--output", output] if output else ["--output", cloud.output, "--temp_location", cloud.temp_location]
    return [*PROGRAM, "run", "--strides", "1,2", "--input", videos, *to, *arguments]


def start(cloud, videos, *arguments, output=None):
    """Starts a run in a process group of its own."""
    return subprocess.Popen(
        command(cloud, videos, *arguments, output=output),
        cwd=ROOT,
        env={**os.environ, **cloud.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(cloud, videos, *arguments, output=None):
    """Runs to the end; returns what was printed."""
    process = start(cloud, videos, *arguments, output=output)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def tables_of(cloud):
    return BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)


def rows_of(warehouse):
    """Returns all rows but those of `runs`, without what differs from run to run."""
    found = contents(warehouse)
    kept = {}
    for table in TABLES[:3]:
        names = [column.name for column in table.columns]
        rows = [tuple(v for name, v in zip(names, row, strict=True) if name not in RUN_COLUMNS) for row in found[table.name]]
        kept[table.name] = sorted(rows, key=repr)
    return kept


def is_query(text):
    return lambda request: request.method == "POST" and "/jobs" in request.path and text.encode() in request.body


def is_download_of(name):
    return lambda request: request.method == "GET" and name in request.path and "alt=media" in request.path


@pytest.mark.slow
def test_the_rows_of_a_bucket_are_the_same_in_bigquery_and_in_duckdb(cloud, videos, undisturbed):
    out = run(cloud, videos)
    assert "listed 5 = counted 3 + failed 2 + skipped 0" in out
    assert f"tables: {cloud.project}.{cloud.dataset}" in out
    counted = cloud.rows("SELECT video_uri, count_rounded, flags FROM video_counts ORDER BY video_uri")
    assert [(row["video_uri"].split("uploads/")[1], row["count_rounded"]) for row in counted] == [
        ("ann/rows.mp4", 4),
        ("ann/squats.mp4", 5),
        ("bob/press.mp4", 6),
    ]
    failed = cloud.rows("SELECT video_uri, code FROM failures ORDER BY video_uri")
    assert [row["code"] for row in failed] == ["EMPTY_FILE", "NOT_A_VIDEO"]
    assert cloud.rows("SELECT listed, counted, failed, skipped FROM runs") == [
        {"listed": 5, "counted": 3, "failed": 2, "skipped": 0}
    ]
    assert cloud.objects("temp/") == []
    assert not [name for name in cloud.tables() if name.startswith("staging")]
    assert rows_of(tables_of(cloud)) == undisturbed


@pytest.mark.slow
def test_a_run_in_slices_leaves_the_same_rows_and_no_files(cloud, videos, undisturbed):
    assert "listed 5 = counted 3 + failed 2 + skipped 0" in run(cloud, videos, "--slices", "3")
    assert rows_of(tables_of(cloud)) == undisturbed
    slices = "SELECT SUM(listed) AS listed, SUM(counted + failed) AS done, COUNT(*) AS slices FROM runs"
    assert cloud.rows(slices) == [{"listed": 5, "done": 5, "slices": 3}]
    assert "Slice" not in run(cloud, videos, "--slices", "3")
    assert cloud.objects("temp/") == []
    assert not [name for name in cloud.tables() if name.startswith("staging")]


@pytest.mark.slow
def test_the_next_night_counts_what_is_new(cloud, tmp_path):
    squats = draw_video(tmp_path / "squats.mp4", 100).read_bytes()
    cloud.upload("uploads/squats.mp4", squats)
    cloud.upload("uploads/press.mp4", squats)
    cloud.upload("uploads/empty.mp4", b"")
    videos = f"gs://{cloud.bucket}/uploads/**"
    assert "listed 3 = counted 2 + failed 1 + skipped 0" in run(cloud, videos)
    out = run(cloud, videos)
    assert "listed 3 = counted 0 + failed 0 + skipped 3" in out
    assert "nothing new: the tables have all these videos" in out

    cloud.upload("uploads/squats.mp4", draw_video(tmp_path / "longer.mp4", 160).read_bytes())  # another version
    cloud.upload("uploads/new.mp4", squats)
    assert "would count 2 videos; 2 are in the tables already" in run(cloud, videos, "--dry_run")
    assert "listed 4 = counted 2 + failed 1 + skipped 1" in run(cloud, videos, "--requeue", "EMPTY_FILE")
    assert cloud.rows("SELECT COUNT(*) AS n FROM video_counts") == [{"n": 4}]
    latest = cloud.rows("SELECT count_rounded FROM latest_video_counts WHERE video_uri LIKE '%squats.mp4'")
    assert latest == [{"count_rounded": 8}]
    assert "listed 4 = counted 3 + failed 1 + skipped 0" in run(cloud, videos, "--mode=all")
    assert cloud.rows("SELECT COUNT(*) AS n FROM video_counts") == [{"n": 4}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "bigquery:repcount-test.nowhere"}, "the data set must exist"),
        *slow(
            ({"videos": "gs://no-such-bucket-here/**"}, "gs://no-such-bucket-here/**"),
            ({"videos": "{}/nothing/**"}, "this input matches nothing"),
            ({"temp_location": "gs://no-such-bucket-here/temp"}, "the bucket of --temp_location must exist"),
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_missing_is_told_before_any_work(cloud, videos, change, message):
    pattern = change.get("videos", videos).format(videos.removesuffix("/**"))
    arguments = [
        "--output",
        change.get("output", cloud.output),
        "--temp_location",
        change.get("temp_location", cloud.temp_location),
    ]
    process = subprocess.run(
        [*PROGRAM, "run", "--quiet", "--strides", "1,2", "--input", pattern, *arguments],
        cwd=ROOT, env={**os.environ, **cloud.variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("repcount run: ")
    assert message in line
    assert cloud.tables() == []


@pytest.fixture(scope="module")
def undisturbed(bucket, videos, tmp_path_factory):
    """Rows of a run that nothing happens to."""
    calm = DuckDBWarehouse(str(tmp_path_factory.mktemp("calm") / "counts.duckdb"))
    run(bucket, videos, output=f"duckdb:{calm.path}")
    return rows_of(calm)


KILLS = {
    "while videos are read": lambda cloud: cloud.storage.pause(is_download_of("press.mp4")),
    "between staging and loading": lambda cloud: cloud.bigquery.pause(is_query("load_video_counts")),
    "between loading and the first MERGE": lambda cloud: cloud.bigquery.pause(is_query("merge_frame_curves")),
    "between two MERGEs": lambda cloud: cloud.bigquery.pause(is_query("merge_video_counts")),
    "between counts and failures": lambda cloud: cloud.bigquery.pause(is_query("merge_failures")),
    "before the run is on record": lambda cloud: cloud.bigquery.pause(is_query("merge_runs")),
    "before anybody hears of the commit": lambda cloud: cloud.bigquery.pause(is_query("merge_runs"), after=True),
}


@pytest.mark.slow
@pytest.mark.usefixtures("cloud")
def test_killed_runs_leave_nothing_that_the_next_one_does_not_put_right(cloud_servers, videos, undisturbed, capsys):
    compared = 0
    for point, stop in KILLS.items():
        fresh = Cloud(cloud_servers)  # another data set, the same videos
        pause = stop(fresh)
        process = start(fresh, videos)
        assert pause.reached.wait(), f"{point}: {process.communicate()[0]}"
        kill(process)
        pause.release(forward=False)
        assert "listed 5 = " in run(fresh, videos)
        rows = rows_of(tables_of(fresh))
        assert rows == undisturbed, point
        compared += sum(map(len, rows.values()))
    with capsys.disabled():
        print(f"\n{len(KILLS)} runs killed, {compared} rows compared with those of an undisturbed run")


@pytest.mark.slow
@pytest.mark.parametrize("job", ["load_video_counts", "merge_video_counts", "merge_failures"])
def test_overlapping_runs_leave_the_rows_of_one(cloud, videos, undisturbed, job):
    pause = cloud.bigquery.pause(is_query(job))
    first = start(cloud, videos)
    assert pause.reached.wait()
    out = run(cloud, videos)
    pause.release()
    first_out, _ = first.communicate()
    assert first.returncode == 0, first_out
    assert "listed 5 = counted 3 + failed 2 + skipped 0" in first_out
    assert "listed 5 = " in out
    assert rows_of(tables_of(cloud)) == undisturbed
    totals = cloud.rows("SELECT listed - counted - failed - skipped AS lost FROM runs")
    assert totals == [{"lost": 0}, {"lost": 0}]


def test_times_are_exact_in_both(cloud):
    warehouse = tables_of(cloud)
    assert warehouse.dialect.dataset == f"`{cloud.project}.{cloud.dataset}`."
    time = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=datetime.UTC)
    sql = "SELECT TIMESTAMP '2026-01-02 03:04:05.678901+00:00'"
    assert list(warehouse.query(sql, {})) == [(time,)]
    with duckdb.connect() as connection:
        assert connection.execute(sql.replace("TIMESTAMP ", "TIMESTAMPTZ ")).fetchall() == [(time,)]
