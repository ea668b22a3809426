"""Statements are spelled for each database, and name exactly the parameters that they are given."""

import datetime
import re
from pathlib import Path

import pytest

from tests.support.samples import make_provenance
from transforms import warehouse
from transforms.records import Selection
from transforms.warehouse import sql
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_tables import DIALECT
from transforms.warehouse.schema import RUNS, TABLES, VIDEO_COUNTS

BIGQUERY = BigQueryWarehouse("my-project", "gym", "").dialect
DAY = datetime.date(2026, 1, 1)


@pytest.mark.parametrize("name", [path.name for path in Path(warehouse.__path__[0]).glob("*.py") if path.name != "sql.py"])
def test_every_statement_that_changes_rows_is_in_one_file(name):
    text = Path(warehouse.__path__[0], name).read_text(encoding="utf-8")
    assert not re.search(r"MERGE INTO|DELETE FROM|INSERT INTO|UPDATE SET|TRUNCATE TABLE", text)


def test_names_tables_and_parameters_are_spelled_for_each_database():
    assert (DIALECT.name("count"), DIALECT.table(RUNS), DIALECT.parameter("limit")) == ('"count"', "runs", "$limit")
    spelled = (BIGQUERY.name("count"), BIGQUERY.table(RUNS), BIGQUERY.parameter("limit"))
    assert spelled == ("`count`", "`my-project.gym`.runs", "@limit")
    assert BIGQUERY.names(["a", "b"], of="x") == "x.`a`, x.`b`"


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_merge_sets_every_column_outside_the_key_and_inserts_all(table):
    merge = sql.merge(DIALECT, table, "rows")
    updated = re.findall(r'"(\w+)" = staged\."\1"', merge.split("UPDATE SET")[1].split("WHEN NOT")[0])
    assert [*table.key, *updated] == [*table.key, *(c.name for c in table.columns if c.name not in table.key)]
    inserted = re.search(r"INSERT \((.*?)\)", merge)[1]
    assert inserted == ", ".join(f'"{column.name}"' for column in table.columns)
    assert "WHEN MATCHED AND (staged.run_started > target.run_started OR" in merge


@pytest.mark.parametrize("dialect", [DIALECT, BIGQUERY], ids=["duckdb", "bigquery"])
@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize(("new_only", "requeue"), [(True, ()), (True, ("GONE",)), (False, ())])
def test_a_selection_names_the_parameters_that_it_gets(dialect, new_only, requeue, limit):
    selection = Selection(new_only, requeue, limit)
    given = sql.selection_parameters(make_provenance(), selection, [DAY])
    query = sql.to_do(dialect, "rows", selection)
    assert set(re.findall(rf"[{dialect.parameter_sign}](\w+)", query)) == set(given)
    assert ("LIMIT 3" in sql.select_videos("rows", limit)) == (limit == 3)


@pytest.mark.parametrize(("uris", "before"), [(["a.mp4"], None), ([], DAY), (["a.mp4"], DAY)])
def test_what_is_counted_before_a_deletion_is_what_is_deleted(uris, before):
    parameters = sql.deletion_parameters(uris, before)
    delete = sql.delete_videos(BIGQUERY, VIDEO_COUNTS, parameters)
    count = sql.num_videos_to_delete(BIGQUERY, VIDEO_COUNTS, parameters)
    assert count.removeprefix("SELECT upload_date, COUNT(*)").split(" GROUP BY")[0] == delete.removeprefix("DELETE")
    assert set(re.findall(r"@(\w+)", delete)) == set(parameters)
    assert "upload_date >= " in delete  # a table may refuse queries without a condition on its partitions


def test_only_failures_of_the_named_dates_are_deleted_where_that_saves_reading():
    pruned = sql.delete_counted_failures(BIGQUERY, "rows", pruned=True)
    assert pruned.count("upload_date IN UNNEST(@dates)") == 2
    assert "upload_date" not in sql.delete_counted_failures(DIALECT, "video_counts")
