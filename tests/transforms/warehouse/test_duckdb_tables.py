"""Tables in a DuckDB file follow the schema, old files are upgraded, and new files open in older DuckDB."""

import dataclasses
import datetime
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.support.samples import UTC, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import commit, later_run
from transforms.failure_codes import FailureCode
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_tables import (
    STORAGE_VERSION,
    column_definition,
    create_file,
    create_table,
    open_file,
    quoted,
    upgrade,
    view_query,
)
from transforms.warehouse.schema import FRAME_CURVES, RUNS, TABLES, VIDEO_COUNTS, Column, ColumnType, Mode
from transforms.warehouse.views import VIEWS


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.execute(create_table(table))
        yield connection


def query(warehouse, statement):
    with duckdb.connect(warehouse.path) as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_parquet_file_of_the_arrow_schema_fits_the_duckdb_table(table, connection, tmp_path):
    pq.write_table(table.arrow_schema.empty_table(), tmp_path / "empty.parquet")
    assert pq.read_schema(tmp_path / "empty.parquet").equals(table.arrow_schema)
    described = connection.execute(f"DESCRIBE {table.name}").fetchall()
    read = connection.execute("DESCRIBE SELECT * FROM read_parquet($path)", {"path": f"{tmp_path}/empty.parquet"}).fetchall()
    assert [row[:2] for row in described] == [row[:2] for row in read]
    assert [name for name, _, null, *_ in described if null == "NO"] == [
        column.name for column in table.columns if column.mode is Mode.REQUIRED
    ]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_views_run_on_empty_tables(view, connection):
    upgrade(connection)
    assert connection.execute(view_query(view)).fetchall() == []


def test_columns_are_written_in_duckdb_sql():
    column = Column("s", ColumnType.STRUCT, "x.", Mode.REPEATED, (Column("at", ColumnType.TIMESTAMP, "x."),))
    assert column_definition(column) == '"s" STRUCT("at" TIMESTAMP WITH TIME ZONE)[] DEFAULT []'
    assert column_definition(RUNS.columns[0]) == '"run_id" VARCHAR NOT NULL'


def test_any_name_is_quoted():
    assert quoted('a"b') == '"a""b"'


class TestPrepare:
    def test_tables_and_views_have_their_descriptions_and_preparing_again_changes_nothing(self, warehouse):
        shapes = []
        for _ in range(2):
            warehouse.prepare()
            shapes.append(query(warehouse, "SELECT table_name, column_name, data_type, comment FROM duckdb_columns()"))
        assert shapes[0] == shapes[1]
        names = {row[0] for row in shapes[0]}
        assert {table.name for table in TABLES} | {view.name for view in VIEWS} <= names
        comments = {row[:2]: row[3] for row in shapes[0]}
        for table in TABLES:
            for column in table.columns:
                assert comments[table.name, column.name] == column.description
        found = dict(query(warehouse, "SELECT table_name, comment FROM duckdb_tables()"))
        assert found == {table.name: table.description for table in TABLES}
        found = dict(query(warehouse, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
        assert all(found[view.name].startswith(view.description) for view in VIEWS)

    def test_an_older_table_gets_its_description(self, warehouse):
        warehouse.prepare()
        query(warehouse, "COMMENT ON TABLE failures IS NULL")
        assert warehouse.changes() == ["describe table failures"]
        warehouse.prepare()
        assert warehouse.changes() == []

    def test_an_older_table_gets_its_missing_columns_and_fields_and_keeps_its_rows(self, warehouse):
        commit(warehouse, make_provenance("old"), make_video_count("gs://b/old.mp4"))
        less = "lambda item: {'start_sec': item.start_sec, 'count': item.count}"
        least = "lambda item: {'frame': item.frame, 'count': item.count}"
        older = {
            VIDEO_COUNTS: "SELECT * EXCLUDE (flags, mean_rate_hz, segments), 'mine' AS note, "
            f"list_transform(segments, {less}) AS segments FROM video_counts",
            FRAME_CURVES: f"SELECT * EXCLUDE (points), list_transform(points, {least}) AS points FROM frame_curves",
        }
        for table, sql in older.items():
            query(warehouse, f"CREATE TABLE older AS {sql}; DROP TABLE {table.name}; ALTER TABLE older RENAME TO {table.name}")

        warehouse.check()
        commit(warehouse, later_run("new"), make_video_count("gs://b/new.mp4"))

        rows = query(warehouse, "SELECT video_uri, flags, mean_rate_hz, segments, note FROM video_counts ORDER BY video_uri")
        new, old = (dict(zip(("uri", "flags", "rate", "segments", "note"), row, strict=True)) for row in rows)
        assert (old["flags"], old["rate"], old["note"]) == ([], None, "mine")
        assert old["segments"] == [{"start_sec": 2.5, "count": 2.5, "end_sec": None}]
        assert (new["flags"], new["rate"], new["note"]) == ([], pytest.approx(0.5), None)
        assert new["segments"] == [{"start_sec": 2.5, "count": 2.5, "end_sec": 7.5}]
        points = query(
            warehouse, "SELECT video_uri, count, rate_hz FROM frame_curve_points WHERE frame = 50 ORDER BY video_uri"
        )
        assert points == [
            ("gs://b/new.mp4", pytest.approx(1.3), pytest.approx(0.5)),
            ("gs://b/old.mp4", pytest.approx(1.3), None),
        ]

    def test_what_another_version_has_changed_stays_over_commits_and_is_replaced_by_the_next_run(self, warehouse, caplog):
        caplog.set_level(logging.INFO)
        warehouse.prepare()
        query(warehouse, "CREATE OR REPLACE VIEW failures_by_code AS SELECT 'theirs' AS code")
        query(warehouse, "COMMENT ON COLUMN failures.code IS 'Theirs.'")
        commit(warehouse, make_provenance(), make_failure())
        assert query(warehouse, "SELECT code FROM failures_by_code") == [("theirs",)]
        changes = ["describe column failures.code", "change view failures_by_code"]
        assert warehouse.changes() == changes
        caplog.clear()
        warehouse.prepare()
        assert caplog.messages == [f"{warehouse.path}: {change}" for change in changes]
        assert query(warehouse, "SELECT code FROM failures_by_code") == [("NOT_A_VIDEO",)]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                "ALTER TABLE video_counts ALTER count TYPE VARCHAR",
                "column video_counts.count must be DOUBLE. Received: VARCHAR",
            ),
            ("ALTER TABLE failures DROP COLUMN video_uri", "table failures must have a column video_uri. Received: "),
            (
                "ALTER TABLE frame_curves ALTER points TYPE STRUCT(frame VARCHAR)[] USING []",
                "column frame_curves.points must be ",
            ),
        ],
    )
    def test_a_table_of_another_shape_is_refused_and_left_alone(self, warehouse, change, message):
        warehouse.prepare()
        query(warehouse, change)
        before = query(warehouse, "SELECT sql FROM duckdb_tables()")
        for action in (warehouse.check, warehouse.prepare):
            with pytest.raises(WarehouseError) as caught:
                action()
            assert str(caught.value).startswith(message)
        assert query(warehouse, "SELECT sql FROM duckdb_tables()") == before

    def test_a_table_of_the_same_name_and_another_shape_is_refused(self, warehouse):
        query(warehouse, "CREATE TABLE runs (lap INTEGER)")
        with pytest.raises(WarehouseError, match=r"table runs must have a column run_id\. Received: lap"):
            warehouse.check()


class TestViews:
    @pytest.fixture
    def filled(self, warehouse):
        commit(
            warehouse,
            make_provenance("first"),
            make_video_count("gs://b/1"),
            make_failure("gs://b/2"),
            make_failure("gs://b/3"),
        )
        new_model = later_run("second", model="repnet-2025")
        commit(
            warehouse, new_model, make_video_count("gs://b/1", confidence=0.9), make_failure("gs://b/2", code=FailureCode.GONE)
        )
        new_version = make_video_count("gs://b/1", generation=2, confidence=0.7)
        updated = make_video("gs://b/1", 2, updated=datetime.datetime(2026, 1, 5, tzinfo=UTC))
        commit(warehouse, make_provenance("third"), dataclasses.replace(new_version, video=updated))
        return warehouse

    def test_frame_curve_points_has_a_row_per_frame(self, filled):
        sql = "SELECT COUNT(*), MAX(count), COUNT(period_sec) FROM frame_curve_points WHERE run_id = 'first'"
        assert query(filled, sql) == [(100, pytest.approx(2.5), 50)]

    def test_latest_video_counts_has_the_newest_version_of_each_video(self, filled):
        commit(filled, make_provenance("fourth"), make_video_count("gs://b/9", confidence=0.1))
        commit(filled, later_run("fifth", model="repnet-2025"), make_video_count("gs://b/9", confidence=0.2))
        assert query(filled, "SELECT video_uri, video_generation, confidence FROM latest_video_counts ORDER BY video_uri") == [
            ("gs://b/1", 2, 0.7),
            ("gs://b/9", 1, 0.2),
        ]

    def test_the_newest_version_of_a_local_file_is_the_one_counted_last_even_if_it_is_an_older_file(self, filled):
        older = make_video("/v/a.mp4", 2, updated=datetime.datetime(2025, 1, 5, tzinfo=UTC))
        commit(filled, make_provenance("fourth"), make_video_count("/v/a.mp4", certainty=0.1))
        commit(filled, later_run("fifth"), dataclasses.replace(make_video_count("/v/a.mp4", confidence=0.2), video=older))
        sql = "SELECT video_generation, confidence FROM latest_video_counts WHERE video_uri = '/v/a.mp4'"
        assert query(filled, sql) == [(2, 0.2)]
        assert query(filled, "SELECT reason FROM review_queue WHERE video_uri = '/v/a.mp4'") == []
        commit(
            filled, later_run("sixth", hours=2), make_failure("/v/a.mp4", 3, updated=older.updated - datetime.timedelta(days=1))
        )
        assert query(filled, "SELECT reason FROM review_queue WHERE video_uri = '/v/a.mp4'") == [("NOT_A_VIDEO",)]
        commit(filled, later_run("seventh", hours=3), make_video_count("/v/a.mp4", confidence=0.3))  # the first one again
        assert query(filled, sql) == [(1, 0.3)]
        assert query(filled, "SELECT reason FROM review_queue WHERE video_uri = '/v/a.mp4'") == []

    def test_failures_by_code_counts_a_video_once_whatever_its_versions(self, filled):
        commit(filled, later_run("fourth"), make_failure("gs://b/2", 7))
        sql = "SELECT videos FROM failures_by_code WHERE code = 'NOT_A_VIDEO'"
        assert query(filled, sql) == [(2,)]

    def test_failures_by_code_counts_them(self, filled):
        assert query(filled, "SELECT stage, code, videos, example_uri FROM failures_by_code ORDER BY code") == [
            ("decode", "GONE", 1, "gs://b/2"),
            ("decode", "NOT_A_VIDEO", 2, "gs://b/2"),
        ]

    def test_daily_summary_adds_up_each_day_and_model(self, filled):
        columns = "CAST(upload_date AS VARCHAR), model, counted, failed, repetitions, video_hours, mean_confidence"
        assert query(filled, f"SELECT {columns} FROM daily_summary ORDER BY ALL") == [
            ("2026-01-01", "lite", 1, 2, 2.5, pytest.approx(10 / 3600), 0.5),
            ("2026-01-01", "repnet-2025", 1, 1, 2.5, pytest.approx(10 / 3600), 0.9),
            ("2026-01-05", "lite", 1, 0, 2.5, pytest.approx(10 / 3600), 0.7),
        ]


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(tmp_path):
    (tmp_path / "link.duckdb").symlink_to(tmp_path / "data.duckdb")
    create_file(str(tmp_path / "link.duckdb"))
    assert (tmp_path / "link.duckdb").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.duckdb", "link.duckdb"]


def test_where_there_are_no_links_a_file_that_another_process_has_created_stays(tmp_path, monkeypatch):
    def refuse(created, path):
        Path(path).write_text("of another process")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create_file(str(tmp_path / "new.duckdb"))
    assert (tmp_path / "new.duckdb").read_text() == "of another process"
    monkeypatch.setattr(os, "link", lambda created, path: (_ for _ in ()).throw(PermissionError(1, "")))
    create_file(str(tmp_path / "other.duckdb"))
    open_file(str(tmp_path / "other.duckdb"), read_only=True).close()


READ_IN_OLD_DUCKDB = """
import duckdb, json, sys

with duckdb.connect(sys.argv[1]) as connection:
    print(json.dumps([connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in sys.argv[2:]]))
    connection.execute("CREATE TABLE mine AS SELECT * FROM latest_video_counts")
"""


class TestStorageVersion:
    NAMES = tuple(item.name for item in (*TABLES, *VIEWS))

    def version(self, warehouse):
        ((tags,),) = query(warehouse, "SELECT tags FROM duckdb_databases() WHERE database_name = current_database()")
        return tags["storage_version"]

    def test_a_new_file_has_the_format_of_an_older_duckdb(self, warehouse):
        warehouse.prepare()
        assert self.version(warehouse) == f"{STORAGE_VERSION}+"

    def test_an_existing_file_keeps_its_format_and_its_rows(self, warehouse):
        with duckdb.connect(warehouse.path) as connection:
            connection.execute("CREATE TABLE mine AS SELECT 1 AS one")
        before = self.version(warehouse)
        commit(warehouse, make_provenance(), make_video_count())
        assert self.version(warehouse) == before != f"{STORAGE_VERSION}+"
        assert query(warehouse, "SELECT one FROM mine") == [(1,)]

    @pytest.mark.slow
    def test_an_older_duckdb_reads_and_writes_the_file(self, warehouse, tmp_path):
        commit(warehouse, make_provenance(), make_video_count("gs://b/1"), make_failure("gs://b/2"))
        expected = [query(warehouse, f"SELECT COUNT(*) FROM {name}")[0][0] for name in self.NAMES]
        assert sum(expected) > 100

        package = f"duckdb=={STORAGE_VERSION.removeprefix('v')}"
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "old"], check=True)
        python = tmp_path / "old" / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", package]
        installed = subprocess.run(install, capture_output=True, text=True, check=False)
        if installed.returncode:
            pytest.skip(f"cannot install {package} from the package registry: {installed.stderr.strip().splitlines()[-1]}")

        command = [python, "-c", READ_IN_OLD_DUCKDB, warehouse.path, *self.NAMES]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        assert json.loads(process.stdout) == expected
        commit(warehouse, later_run("second"), make_video_count("gs://b/2"))
        assert query(warehouse, "SELECT COUNT(*) FROM mine") == [(1,)]
