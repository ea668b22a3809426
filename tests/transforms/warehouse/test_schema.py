"""The schema is one artefact: DuckDB's tables, Parquet files and the documentation agree with it and so with each other."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.warehouse.dictionary import data_dictionary
from transforms.warehouse.duckdb_tables import column_definition, create_table, quoted
from transforms.warehouse.schema import RUNS, TABLES, VIEWS, Column, ColumnType, Mode

DICTIONARY = Path(__file__).parents[3] / "docs" / "data_dictionary.md"


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(create_table(table))
        yield connection


def every_column(columns, path=""):
    for column in columns:
        yield f"{path}{column.name}", column
        yield from every_column(column.fields, f"{path}{column.name}.")


def test_the_checked_in_data_dictionary_is_what_the_schema_gives():
    assert DICTIONARY.read_text(encoding="utf-8") == data_dictionary(), (
        "run `python -m transforms.warehouse.dictionary > docs/data_dictionary.md` and review: columns may only be added"
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestTable:
    def test_names_are_unique_and_described_on_one_line(self, table):
        columns = list(every_column(table.columns))
        assert len({path for path, _ in columns}) == len(columns)
        for path, column in columns:
            assert path == path.lower()
            assert column.description.endswith("."), path
            assert not set("|\n") & set(column.description), path

    def test_keys_partitions_and_clusters_are_required_columns(self, table):
        required = {column.name for column in table.columns if column.mode is Mode.REQUIRED}
        assert {*table.key, *table.cluster_columns} <= required
        assert table.partition_column in {None, *required}
        assert {"run_id", "run_started"} <= required

    def test_struct_columns_alone_have_fields_which_may_be_null(self, table):
        for path, column in every_column(table.columns):
            assert (column.type is ColumnType.STRUCT) == bool(column.fields), path
            assert all(field.mode is Mode.NULLABLE for field in column.fields), path

    def test_a_parquet_file_of_the_arrow_schema_fits_the_duckdb_table(self, table, connection, tmp_path):
        pq.write_table(table.arrow_schema.empty_table(), tmp_path / "empty.parquet")
        assert pq.read_schema(tmp_path / "empty.parquet").equals(table.arrow_schema)
        described = connection.execute(f"DESCRIBE {table.name}").fetchall()
        read = connection.execute(
            "DESCRIBE SELECT * FROM read_parquet($path)", {"path": f"{tmp_path}/empty.parquet"}
        ).fetchall()
        assert [row[:2] for row in described] == [row[:2] for row in read]
        assert [name for name, _, null, *_ in described if null == "NO"] == [
            column.name for column in table.columns if column.mode is Mode.REQUIRED
        ]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_views_run_on_empty_tables(view, connection):
    assert connection.execute(view.query()).fetchall() == []


def test_a_view_names_its_tables_within_the_dataset():
    for view in VIEWS:
        assert view.query("`p.d`.").count("`p.d`.") == view.sql.count("{dataset}") > 0


def test_types_are_spelled_for_every_backend():
    column = Column("s", ColumnType.STRUCT, "x.", Mode.REPEATED, (Column("at", ColumnType.TIMESTAMP, "x."),))
    assert column_definition(column) == '"s" STRUCT("at" TIMESTAMP WITH TIME ZONE)[] DEFAULT []'
    assert column.arrow_type == pa.list_(pa.struct([("at", pa.timestamp("us", "UTC"))]))
    assert column_definition(RUNS.columns[0]) == '"run_id" VARCHAR NOT NULL'


def test_quoting_stands_any_name():
    assert quoted('a"b') == '"a""b"'
