"""Tables are made and brought up to date by a command that can say what it would do, and videos are forgotten by another."""

import datetime

import pytest

from pipeline.main import main
from tests.support.samples import STARTED, make_failure, make_provenance, make_video_count
from tests.transforms.warehouse.test_duckdb_warehouse import commit, num_rows, query
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.schema import TABLES, VIEWS


def repcount(*arguments):
    try:
        return main([*map(str, arguments)])
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def warehouse(tmp_path):
    return DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=5.0)


@pytest.fixture
def output(warehouse):
    return ("--output", f"duckdb:{warehouse.path}")


class TestTables:
    def test_a_dry_run_says_what_is_missing_and_makes_no_file(self, output, tmp_path, capsys):
        assert repcount("tables", *output, "--dry_run") == 0
        expected = [f"would create table {table.name}" for table in TABLES] + [
            f"would create view {view.name}" for view in VIEWS
        ]
        assert capsys.readouterr().out.splitlines() == expected
        assert list(tmp_path.iterdir()) == []

    def test_tables_are_made_once(self, output, warehouse, capsys):
        assert repcount("tables", *output) == 0
        assert capsys.readouterr().out.startswith("done: create table video_counts\n")
        assert warehouse.is_ready()
        for arguments in (("--dry_run",), ()):
            assert repcount("tables", *output, *arguments) == 0
            assert capsys.readouterr().out == f"{warehouse.path} is up to date\n"

    def test_of_an_older_schema_only_what_it_lacks_is_named(self, output, warehouse, capsys):
        warehouse.prepare()
        query(warehouse, "ALTER TABLE runs DROP COLUMN last_upload_date")
        query(warehouse, "ALTER TABLE video_counts DROP COLUMN mean_rate_hz")
        query(warehouse, "DROP VIEW model_comparison")
        expected = ["add column video_counts.mean_rate_hz", "add column runs.last_upload_date", "create view model_comparison"]
        assert repcount("tables", *output, "--dry_run") == 0
        assert capsys.readouterr().out.splitlines() == [f"would {line}" for line in expected]
        assert repcount("tables", *output) == 0
        assert capsys.readouterr().out.splitlines() == [f"done: {line}" for line in expected]
        assert query(warehouse, "SELECT mean_rate_hz FROM latest_video_counts") == []

    def test_a_view_with_another_query_is_changed(self, output, warehouse, capsys):
        warehouse.prepare()
        query(warehouse, "CREATE OR REPLACE VIEW failures_by_code AS SELECT 1 AS one")
        assert repcount("tables", *output) == 0
        assert capsys.readouterr().out == "done: change view failures_by_code\n"

    def test_tables_of_another_shape_are_one_line_and_stay(self, output, warehouse, capsys):
        query(warehouse, "CREATE TABLE runs (lap INTEGER)")
        assert repcount("tables", *output) == 2
        error = capsys.readouterr().err
        assert error == "repcount tables: the table runs must have a column run_id. Received: lap\n"

    @pytest.mark.parametrize(
        "option", [("--location", "EU"), ("--partition_expiration_days", "30"), ("--no-require_partition_filter",)]
    )
    def test_what_only_bigquery_has_is_refused(self, output, option, tmp_path, capsys):
        assert repcount("tables", *output, *option) == 2
        assert "can be chosen for bigquery:PROJECT.DATASET only" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


class TestForget:
    @pytest.fixture(autouse=True)
    def filled(self, warehouse):
        commit(
            warehouse,
            make_provenance(),
            make_video_count("gs://b/1"),
            make_video_count("gs://b/1", generation=2),
            make_video_count("gs://b/it's; --"),
            make_failure("gs://b/2"),
            make_failure("gs://b/late", updated=STARTED + datetime.timedelta(days=10)),
        )

    def test_all_versions_go_from_every_table(self, output, warehouse, capsys):
        assert repcount("forget", *output, "--uri", "gs://b/1", "--uri", "gs://b/2") == 0
        assert capsys.readouterr().out.splitlines() == [
            "deleted 2 rows of video_counts",
            "deleted 2 rows of frame_curves",
            "deleted 1 rows of failures",
        ]
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}
        assert repcount("forget", *output, "--uri", "gs://b/1") == 0
        assert "deleted 0 rows of video_counts" in capsys.readouterr().out

    def test_a_name_is_a_name_and_no_sql(self, output, warehouse):
        assert repcount("forget", *output, "--uri", "gs://b/it's; --") == 0
        assert num_rows(warehouse)["video_counts"] == 2
        assert repcount("forget", *output, "--uri", "' OR TRUE --") == 0
        assert num_rows(warehouse)["video_counts"] == 2

    def test_uploads_before_a_day_go(self, output, warehouse):
        day = (STARTED + datetime.timedelta(days=10)).date()
        assert repcount("forget", *output, "--before", day) == 0
        assert num_rows(warehouse) == {"video_counts": 0, "frame_curves": 0, "failures": 1, "runs": 1}

    def test_a_dry_run_counts_and_deletes_nothing(self, output, warehouse, capsys):
        before = num_rows(warehouse)
        assert repcount("forget", *output, "--uri", "gs://b/1", "--dry_run") == 0
        assert capsys.readouterr().out.startswith("would delete 2 rows of video_counts\n")
        assert num_rows(warehouse) == before

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "what to forget is said by --uri or --before"),
            (("--before", "yesterday"), "must be a day such as 2026-01-31. Received: 'yesterday'"),
        ],
    )
    def test_a_mistake_is_one_line(self, output, arguments, message, capsys):
        assert repcount("forget", *output, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    def test_a_database_that_is_not_there_is_not_made(self, tmp_path, capsys):
        assert repcount("forget", "--output", f"duckdb:{tmp_path}/none.duckdb", "--uri", "gs://b/1") == 2
        assert "there is no such database" in capsys.readouterr().err
        assert not (tmp_path / "none.duckdb").exists()
