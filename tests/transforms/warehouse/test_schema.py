"""The schema is consistent: unique names, descriptions, keys, and types."""

import pyarrow as pa
import pytest

from transforms.records import FLAG_MEANINGS, VideoFlag
from transforms.warehouse.schema import TABLES, VIDEO_COUNTS, Column, ColumnType, Mode

BIGQUERY_DESCRIPTION_CHARS = 1024
"""Longest description that BigQuery takes for a column (`TableFieldSchema` in its reference)."""


def every_column(columns, path=""):
    for column in columns:
        yield f"{path}{column.name}", column
        yield from every_column(column.fields, f"{path}{column.name}.")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
class TestTable:
    def test_names_are_unique_and_described_on_one_line_of_the_length_that_bigquery_takes(self, table):
        columns = list(every_column(table.columns))
        assert len({path for path, _ in columns}) == len(columns)
        for path, column in columns:
            assert path == path.lower()
            assert column.description.endswith("."), path
            assert not set("|\n") & set(column.description), path
            assert len(column.description) <= BIGQUERY_DESCRIPTION_CHARS, path

    def test_keys_partitions_and_clusters_are_required_columns(self, table):
        required = {column.name for column in table.columns if column.mode is Mode.REQUIRED}
        assert {*table.key, *table.cluster_columns} <= required
        assert table.partition_column in {None, *required}
        assert {"run_id", "run_started"} <= required

    def test_only_struct_columns_have_fields_which_may_be_null(self, table):
        for path, column in every_column(table.columns):
            assert (column.type is ColumnType.STRUCT) == bool(column.fields), path
            assert all(field.mode is Mode.NULLABLE for field in column.fields), path


def test_the_column_of_flags_says_what_each_means():
    (flags,) = (column for column in VIDEO_COUNTS.columns if column.name == "flags")
    for flag in VideoFlag:
        assert f" {flag.value}: {FLAG_MEANINGS[flag]}" in flags.description


def test_lists_and_fields_have_the_types_of_their_items():
    column = Column("s", ColumnType.STRUCT, "x.", Mode.REPEATED, (Column("at", ColumnType.TIMESTAMP, "x."),))
    assert column.arrow_type == pa.list_(pa.struct([("at", pa.timestamp("us", "UTC"))]))
