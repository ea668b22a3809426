"""`repcount export` writes the rows of a table or view, from either database, completely or not at all."""

import csv
import io
import json

import duckdb
import pyarrow.parquet
import pytest

from tests.support.commands import repcount
from tests.support.samples import make_failure, make_provenance, make_video_count
from tests.support.warehouses import KINDS, commit, later_run, make_warehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.schema import TABLES
from transforms.warehouse.views import VIEWS


def fill(warehouse):
    warehouse.prepare()
    commit(warehouse, make_provenance("first"), make_video_count("gs://b/1", certainty=0.5), make_failure("gs://b/3"))
    commit(warehouse, later_run("second"), make_video_count("gs://b/2", certainty=0.1))
    for run_id in ("first", "second"):
        warehouse.remove_staging(run_id)
    return warehouse


@pytest.fixture(params=KINDS)
def any_output(request):
    warehouse = fill(make_warehouse(request.param, request))
    return f"{warehouse.scheme}:{warehouse.name}"


@pytest.fixture
def output(tmp_path):
    return f"duckdb:{fill(DuckDBWarehouse(str(tmp_path / 'counts.duckdb'))).path}"


def test_the_same_rows_come_in_every_format_from_either_database(any_output, tmp_path, capsys):
    assert repcount("export", "--output", any_output, "--view", "review_queue") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [(row["priority"], row["video_uri"], row["reason"]) for row in rows] == [
        ("1", "gs://b/2", "UNCERTAIN"),
        ("2", "gs://b/1", "UNCERTAIN"),
        ("3", "gs://b/3", "NOT_A_VIDEO"),
    ]
    assert repcount("export", "--output", any_output, "--view", "review_queue", "--format", "jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["video_uri"] for line in lines] == [row["video_uri"] for row in rows]
    file = tmp_path / "queue.parquet"
    assert repcount("export", "--output", any_output, "--view", "review_queue", "--to", file) == 0
    table = pyarrow.parquet.read_table(file)
    assert [json.loads(json.dumps(row, default=str)) for row in table.to_pylist()] == lines


def test_every_table_and_view_is_exported(output, tmp_path):
    for name in (item.name for item in (*TABLES, *VIEWS)):
        for file_format in ("csv", "jsonl", "parquet"):
            words = ("--view", name, "--format", file_format, "--to", tmp_path / "rows")
            assert repcount("export", "--output", output, *words) == 0
            assert (tmp_path / "rows").stat().st_size > 0 or name == "model_comparison"


def test_only_rows_of_a_run_or_of_days_are_written(output, capsys):
    for words, expected in (
        (("--run", "second"), ["gs://b/2"]),
        (("--date", "2026-01-01"), ["gs://b/1", "gs://b/2"]),
        (("--date", "2025-12-31..2026-01-02"), ["gs://b/1", "gs://b/2"]),
        (("--date", "2026-01-02..2026-01-03"), []),
    ):
        assert repcount("export", "--output", output, "--format", "jsonl", *words) == 0
        assert sorted(json.loads(line)["video_uri"] for line in capsys.readouterr().out.splitlines()) == expected


def test_the_review_queue_is_in_the_order_of_its_priorities(output, capsys):
    with duckdb.connect(output.removeprefix("duckdb:")) as connection:  # a database may return a view's rows in any order
        connection.execute("CREATE OR REPLACE VIEW review_queue AS SELECT UNNEST([3, 1, 2]) AS priority")
    assert repcount("export", "--output", output, "--view", "review_queue") == 0
    assert capsys.readouterr().out.split()[1:] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--view", "nothing"], "--view must be one of frame_curve_points, latest_video_counts, "),
        (["--view", "runs; DROP TABLE runs"], "--view must be one of "),
        (["--format", "parquet"], "--format parquet needs --to FILE"),
        (["--to", "none/rows.csv"], "--to must be a file in an existing, writable folder. Received: 'none/rows.csv'"),
        (["--to", "."], "--to must be a file, not a folder, a device or a pipe. Received: '.'"),
        (
            ["--to", "rows.xlsx"],
            "--to must end with .csv or .jsonl or .parquet, or needs --format. Received: 'rows.xlsx'",
        ),
        (["--to", "squats.mp4", "--format", "csv"], "--to must not have the name of a video. Received: 'squats.mp4'"),
        (["--to", "counts.duckdb", "--format", "csv"], "--to must be another file than the tables. Received: 'counts.duckdb'"),
        (["--view", "runs", "--date", "7d"], "--date needs a table or view with the column upload_date. Received: 'runs'"),
        (["--view", "daily_summary", "--run", "x"], "--run needs a table or view with the column run_id. Received: 'daily_"),
        (["--run", "' OR TRUE --"], 'with 2 runs, of which the latest are second, first, not "\' OR TRUE --"'),
        (["--output", "duckdb:none.duckdb"], "the database must exist. Received: "),
        (["--date", "someday"], "--date"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(output, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "counts.duckdb").read_bytes()
    assert repcount("export", "--output", output, *words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["counts.duckdb"]
    assert (tmp_path / "counts.duckdb").read_bytes() == before


def test_an_export_that_fails_leaves_the_file_as_it_was(output, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("mine")
    with duckdb.connect(output.removeprefix("duckdb:")) as connection:
        connection.execute("CREATE OR REPLACE VIEW sets AS SELECT error('broken') AS a")
    assert repcount("export", "--output", output, "--view", "sets", "--to", file) == 2
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.duckdb", "rows.csv"]


def test_older_tables_say_how_to_bring_them_up_to_date(output, capsys):
    with duckdb.connect(output.removeprefix("duckdb:")) as connection:
        connection.execute("DROP VIEW review_queue")
    assert repcount("export", "--output", output, "--view", "review_queue") == 2
    error = capsys.readouterr().err
    assert "`repcount tables` brings older ones up to date: " in error
    assert "review_queue" in error
    assert error.count("\n") == 1
