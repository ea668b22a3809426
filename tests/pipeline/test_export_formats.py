"""Exported rows are the same in every format, and no text of a stranger becomes a formula."""

import csv
import datetime
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline.export_formats import to_csv, to_jsonl, write_parquet

TIME = datetime.datetime(2026, 1, 1, 23, 30, tzinfo=datetime.UTC)
ROWS = [
    {"uri": 'gs://b/"a",\n日本', "count": 2.5, "at": TIME, "flags": ["ROTATED"], "labels": [{"name": "user", "value": "ann"}]},
    {"uri": "=cmd|' /C calc'!A0", "count": None, "at": None, "flags": [], "labels": []},
]
SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("count", pa.float64()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("flags", pa.list_(pa.string())),
        ("labels", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
    ]
)
BATCHES = [pa.RecordBatch.from_pylist([row], schema=SCHEMA) for row in ROWS]
EMPTY = [pa.RecordBatch.from_pylist([], schema=SCHEMA)]


def test_csv_has_one_header_and_lists_as_json():
    header, first, second = csv.reader(io.StringIO("".join(to_csv(BATCHES)), newline=""))
    assert header == SCHEMA.names
    labels = '[{"name": "user", "value": "ann"}]'
    assert first == [ROWS[0]["uri"], "2.5", "2026-01-01 23:30:00.000000Z", '["ROTATED"]', labels]
    assert second == [f"'{ROWS[1]['uri']}", "", "", "[]", "[]"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_starts_with_an_apostrophe_in_csv_only(start):
    batch = pa.RecordBatch.from_pylist([{"name": f"{start}1+1", "number": -1.5}])
    (_, row) = csv.reader(io.StringIO("".join(to_csv([batch])), newline=""))
    assert row == [f"'{start}1+1", "-1.5"]
    assert json.loads("".join(to_jsonl([batch])))["name"] == f"{start}1+1"


def test_a_formula_after_a_line_break_is_no_start_of_a_cell():
    batch = pa.RecordBatch.from_pylist([{"name": "a\n=1"}])
    assert list(csv.reader(io.StringIO("".join(to_csv([batch])), newline="")))[1] == ["a\n=1"]


def test_a_list_that_is_null_is_an_empty_cell_in_csv():
    batch = pa.RecordBatch.from_pylist([{"uri": "a", "flags": None}, {"uri": "b", "flags": []}], schema=SCHEMA)
    assert "".join(to_csv([batch])).splitlines()[1:] == ['"a",,,,', '"b",,,"[]",']


def test_json_lines_have_an_object_per_row():
    rows = [json.loads(line) for line in "".join(to_jsonl(BATCHES)).splitlines()]
    assert rows[0] == {**ROWS[0], "at": "2026-01-01T23:30:00+00:00"}
    assert rows[1] == ROWS[1]


def test_parquet_keeps_types_and_values(tmp_path):
    write_parquet(BATCHES, tmp_path / "a.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.schema == SCHEMA
    assert table.to_pylist() == ROWS


def test_small_batches_share_a_row_group_and_large_ones_do_not(tmp_path):
    small, large = (pa.RecordBatch.from_pydict({"points": [np.zeros(size)]}) for size in (10, 5_000_000))
    write_parquet([small, small, large, small], tmp_path / "a.parquet")
    assert [len(group["points"]) for group in row_groups(tmp_path / "a.parquet")] == [3, 1]


def row_groups(path):
    file = pyarrow.parquet.ParquetFile(path)
    return [file.read_row_group(number) for number in range(file.num_row_groups)]


def test_without_a_row_the_columns_are_there(tmp_path):
    assert "".join(to_csv(EMPTY)).splitlines() == [",".join(f'"{name}"' for name in SCHEMA.names)]
    assert "".join(to_jsonl(EMPTY)) == ""
    write_parquet(EMPTY, tmp_path / "a.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "a.parquet") == SCHEMA
