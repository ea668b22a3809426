"""A query is written once, with its values apart, and has the same types whichever database answers it."""

import datetime
import decimal

import pyarrow as pa
import pytest

from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_tables import DIALECT
from transforms.warehouse.reading import spell, unify

BIGQUERY = BigQueryWarehouse("proj-1", "gym", "gs://b/t").dialect
QUERY = "SELECT 1 FROM {dataset}runs WHERE run_id = {run_id} AND model IN {models}"
VALUES = {"run_id": "it's", "models": ["a", "b"]}


def test_values_stay_apart_from_the_query():
    assert spell(DIALECT, QUERY, VALUES) == "SELECT 1 FROM runs WHERE run_id = $run_id AND model IN (SELECT UNNEST($models))"
    assert spell(BIGQUERY, QUERY, VALUES) == (
        "SELECT 1 FROM `proj-1.gym`.runs WHERE run_id = @run_id AND model IN UNNEST(@models)"
    )


@pytest.mark.parametrize("query", ["DELETE FROM {dataset}runs", "", "DROP TABLE runs", "-- SELECT\nDELETE FROM runs"])
def test_only_queries_are_read(query):
    with pytest.raises(ValueError, match="a query must start with SELECT or WITH"):
        spell(DIALECT, query, {})


def test_an_empty_list_is_refused_since_its_type_is_unknown():
    with pytest.raises(ValueError, match="parameter models must have at least one item"):
        spell(BIGQUERY, QUERY, VALUES | {"models": []})


def test_types_are_those_that_both_databases_have():
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([3], pa.int32()),
            pa.array([decimal.Decimal(7)], pa.decimal128(38, 0)),
            pa.array([decimal.Decimal("0.5")], pa.decimal128(2, 1)),
            pa.array([time], pa.timestamp("ms", tz="Europe/Berlin")),
            pa.array([[{"a": 1.5}]], pa.list_(pa.field("l", pa.struct([("a", pa.float32())])))),
            pa.array(["text"]),
        ],
        names=["small", "sum", "half", "time", "items", "text"],
    )
    unified = unify(batch)
    assert unified.to_pylist() == [{"small": 3, "sum": 7, "half": 0.5, "time": time, "items": [{"a": 1.5}], "text": "text"}]
    assert unified.schema == pa.schema(
        [
            ("small", pa.int64()),
            ("sum", pa.int64()),
            ("half", pa.float64()),
            ("time", pa.timestamp("us", tz="UTC")),
            ("items", pa.list_(pa.struct([("a", pa.float64())]))),
            ("text", pa.string()),
        ]
    )
