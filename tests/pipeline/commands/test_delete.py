"""`repcount delete` deletes every row of the given videos, and nothing else."""

import datetime

import pytest

from tests.support.commands import repcount
from tests.support.samples import STARTED, make_failure, make_provenance, make_video_count
from tests.support.warehouses import commit, later_run, num_rows
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture(autouse=True)
def filled(warehouse):
    commit(
        warehouse,
        make_provenance(),
        make_video_count("gs://b/1"),
        make_video_count("gs://b/1", generation=2),
        make_video_count("gs://b/it's; --"),
        make_failure("gs://b/2"),
        make_failure("gs://b/late", updated=STARTED + datetime.timedelta(days=10)),
    )


def test_all_versions_go_from_every_table(output, warehouse, capsys):
    assert repcount("delete", *output, "--uri", "gs://b/1", "--uri", "gs://b/2") == 0
    assert capsys.readouterr().out.splitlines() == [
        "deleted 2 rows of video_counts",
        "deleted 2 rows of frame_curves",
        "deleted 1 rows of failures",
    ]
    assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}
    assert repcount("delete", *output, "--uri", "gs://b/1") == 0
    assert "deleted 0 rows of video_counts" in capsys.readouterr().out


@pytest.mark.parametrize("dry_run", [(), ("--dry_run",)])
def test_a_uri_without_rows_is_a_warning_that_shows_it_as_it_was_searched_for(output, dry_run, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    uris = ("--uri", "gs://b/1", "--uri", "gs://b/2 ", "--uri", "gs://b/2", "--uri", "ann/1.mp4")
    assert repcount("delete", *output, *uris, *dry_run) == 0
    assert caplog.messages == [
        "The tables have no rows of 'gs://b/2 '",
        f"The tables have no rows of '{tmp_path}/ann/1.mp4'",
    ]


def test_no_query_lacks_the_condition_that_a_partitioned_table_may_require(output, monkeypatch):
    queries = []
    read_rows = DuckDBWarehouse.read_rows
    monkeypatch.setattr(
        DuckDBWarehouse, "read_rows", lambda self, query, *values: queries.append(query) or read_rows(self, query, *values)
    )
    assert repcount("delete", *output, "--uri", "gs://b/2") == 0
    assert queries
    assert all(query.count("upload_date >= ") == query.count("FROM {dataset}") for query in queries)


def test_a_path_is_that_of_the_file(output, warehouse, tmp_path, monkeypatch):
    commit(warehouse, later_run("local"), make_video_count(f"{tmp_path}/ann/1.mp4"), make_failure(f"{tmp_path}/\udcff.mp4"))
    before = num_rows(warehouse)
    monkeypatch.chdir(tmp_path)
    assert repcount("delete", *output, "--uri", "ann/1.mp4", "--uri", "./\udcff.mp4") == 0
    assert num_rows(warehouse) == before | {name: before[name] - 1 for name in ("video_counts", "frame_curves", "failures")}


def test_a_name_is_a_name_and_no_sql(output, warehouse):
    assert repcount("delete", *output, "--uri", "gs://b/it's; --") == 0
    assert num_rows(warehouse)["video_counts"] == 2
    assert repcount("delete", *output, "--uri", "' OR TRUE --") == 0
    assert num_rows(warehouse)["video_counts"] == 2


def test_uploads_before_a_day_go(output, warehouse):
    day = (STARTED + datetime.timedelta(days=10)).date()
    assert repcount("delete", *output, "--before", day) == 0
    assert num_rows(warehouse) == {"video_counts": 0, "frame_curves": 0, "failures": 1, "runs": 1}


def test_a_dry_run_counts_and_deletes_nothing(output, warehouse, capsys):
    before = num_rows(warehouse)
    assert repcount("delete", *output, "--uri", "gs://b/1", "--dry_run") == 0
    assert capsys.readouterr().out.startswith("would delete 2 rows of video_counts\n")
    assert num_rows(warehouse) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "specify --uri or --before. Received: neither"),
        (("--before", "yesterday"), "must be a day such as 2026-01-31. Received: 'yesterday'"),
    ],
)
def test_a_mistake_is_one_line(output, arguments, message, capsys):
    assert repcount("delete", *output, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_database_that_is_not_there_is_not_made(tmp_path, capsys):
    assert repcount("delete", "--output", f"duckdb:{tmp_path}/none.duckdb", "--uri", "gs://b/1") == 2
    assert "the database must exist" in capsys.readouterr().err
    assert not (tmp_path / "none.duckdb").exists()


def test_the_former_name_still_works(output, warehouse):
    assert repcount("forget", *output, "--uri", "gs://b/1") == 0
    assert num_rows(warehouse)["video_counts"] == 1
