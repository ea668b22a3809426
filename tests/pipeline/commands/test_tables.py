"""`repcount tables` creates and updates tables, and can say what it would do."""

import duckdb
import pytest

from tests.support.commands import repcount
from transforms.warehouse.schema import TABLES
from transforms.warehouse.views import VIEWS


def query(warehouse, sql):
    with duckdb.connect(warehouse.path) as connection:
        return connection.execute(sql).fetchall()


def test_a_dry_run_says_what_is_missing_and_makes_no_file(output, tmp_path, capsys):
    assert repcount("tables", *output, "--dry_run") == 0
    expected = [f"would create table {table.name}" for table in TABLES] + [f"would create view {view.name}" for view in VIEWS]
    assert capsys.readouterr().out.splitlines() == expected
    assert list(tmp_path.iterdir()) == []


def test_tables_are_made_once(output, warehouse, capsys):
    assert repcount("tables", *output) == 0
    assert capsys.readouterr().out.startswith("done: create table video_counts\n")
    assert warehouse.is_ready()
    for arguments in (("--dry_run",), ()):
        assert repcount("tables", *output, *arguments) == 0
        assert capsys.readouterr().out == f"{warehouse.path} is up to date\n"


def test_of_an_older_schema_only_what_it_lacks_is_named(output, warehouse, capsys):
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


def test_a_view_with_another_query_is_changed(output, warehouse, capsys):
    warehouse.prepare()
    query(warehouse, "CREATE OR REPLACE VIEW failures_by_code AS SELECT 1 AS one")
    assert repcount("tables", *output) == 0
    assert capsys.readouterr().out == "done: change view failures_by_code\n"


def test_tables_of_another_shape_are_one_line_and_stay(output, warehouse, capsys):
    query(warehouse, "CREATE TABLE runs (lap INTEGER)")
    assert repcount("tables", *output) == 2
    error = capsys.readouterr().err
    assert error == "repcount tables: table runs must have a column run_id. Received: lap\n"


def test_a_damaged_file_is_a_fault_and_no_mistake_in_the_command_line(output, warehouse, capsys):
    warehouse.prepare()
    with open(warehouse.path, "r+b") as file:
        file.truncate(64 << 10)
    for arguments in ((), ("--dry_run",)):
        assert repcount("tables", *output, *arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("repcount tables: the database cannot be used: ")


@pytest.mark.parametrize(
    "option", [("--location", "EU"), ("--partition_expiration_days", "30"), ("--no-require_partition_filter",)]
)
def test_what_only_bigquery_has_is_refused(output, option, tmp_path, capsys):
    assert repcount("tables", *output, *option) == 2
    assert "require_partition_filter need --output bigquery:PROJECT.DATASET" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
