"""A run's files are committed once in effect, whatever happens on the way."""

import dataclasses
import datetime
import itertools
import logging
import multiprocessing
import os
import pathlib
import pickle
import threading
import time
import uuid

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.samples import STARTED, UTC, make_failure, make_provenance, make_video, make_video_count
from transforms.failure_codes import FailureCode
from transforms.records import VideoCount, VideoResult
from transforms.warehouse import duckdb_warehouse
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import RunTotals, count_row, curve_row, failure_row, to_record_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, TABLES, VIDEO_COUNTS, VIEWS

ENDED = STARTED + datetime.timedelta(minutes=5)
PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture
def warehouse(tmp_path):
    return DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=5.0)


def write(folder, table, rows):
    """Stages rows in one file."""
    rows = pa.Table.from_batches([to_record_batch(row, table) for row in rows], table.arrow_schema)
    path = pathlib.Path(folder, table.name, f"{uuid.uuid4().hex}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    return StagedFile(table.name, str(path), rows.num_rows, rows.nbytes)


def stage(warehouse, provenance, *settled):
    """Stages counts and failures, each video in files of its own."""
    folder = warehouse.staging_folder(provenance.run_id)
    files = []
    for item in settled:
        if isinstance(item, VideoCount):
            files.append(write(folder, VIDEO_COUNTS, [count_row(item, provenance)]))
            files.append(write(folder, FRAME_CURVES, [curve_row(item, provenance)]))
        else:
            files.append(write(folder, FAILURES, [failure_row(item, provenance)]))
    return files


def commit(warehouse, provenance, *settled, files=None, listed=None, skipped=0):
    files = stage(warehouse, provenance, *settled) if files is None else files
    listed = len(settled) if listed is None else listed
    return warehouse.commit(provenance, files, listed=listed, skipped=skipped, run_ended=ENDED)


def later_run(run_id, hours=1, **changes):
    return make_provenance(run_id, started=STARTED + datetime.timedelta(hours=hours), **changes)


def query(warehouse, sql):
    with duckdb.connect(warehouse.path) as connection:
        return connection.execute(sql).fetchall()


def contents(warehouse):
    """All rows of all tables."""
    with duckdb.connect(warehouse.path) as connection:
        return {table.name: connection.execute(f"SELECT * FROM {table.name} ORDER BY ALL").fetchall() for table in TABLES}


def num_rows(warehouse):
    return {name: len(rows) for name, rows in contents(warehouse).items()}


class TestCheck:
    def test_a_missing_file_passes_and_stays_missing(self, tmp_path):
        DuckDBWarehouse(f"{tmp_path}/new/folder/counts.duckdb").check()
        assert list(tmp_path.iterdir()) == []

    def test_a_prepared_file_passes(self, warehouse):
        warehouse.prepare()
        warehouse.check()

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(WarehouseError, match=r"must be a file, not a folder\. Received: "):
            DuckDBWarehouse(str(tmp_path)).check()

    @pytest.mark.parametrize("content", [b"", b"not a database " * 1000])
    def test_a_file_of_another_kind_is_refused_and_left_as_it_is(self, tmp_path, content):
        path = tmp_path / "counts.duckdb"
        path.write_bytes(content)
        for action in (DuckDBWarehouse(str(path)).check, DuckDBWarehouse(str(path)).prepare):
            with pytest.raises(WarehouseError, match=r"not a valid DuckDB database file!.*Received: ") as caught:
                action()
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == content

    @pytest.mark.parametrize("path", ["file/counts.duckdb", "link/counts.duckdb"])
    def test_a_path_below_something_that_is_no_folder_is_refused(self, tmp_path, path):
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(WarehouseError, match=r"must be in a writable folder, but .* is not one\. Received: "):
            DuckDBWarehouse(str(tmp_path / path)).check()

    def test_a_file_or_a_folder_that_cannot_be_written_is_refused(self, warehouse, monkeypatch):
        warehouse.prepare()
        monkeypatch.setattr(
            duckdb_warehouse.os, "access", lambda path, mode: False
        )  # root may write to whatever has no such bit
        with pytest.raises(WarehouseError, match="must be a writable file"):
            warehouse.check()
        with pytest.raises(WarehouseError, match="must be in a writable folder"):
            DuckDBWarehouse(warehouse.path + ".other").check()

    def test_a_table_of_the_same_name_and_another_shape_is_refused(self, warehouse):
        query(warehouse, "CREATE TABLE runs (lap INTEGER)")
        with pytest.raises(WarehouseError, match=r"table runs must have a column run_id\. Received: lap"):
            warehouse.check()

    def test_a_pickled_warehouse_holds_only_its_path(self, warehouse):
        warehouse.prepare()
        assert pickle.loads(pickle.dumps(warehouse)) == warehouse
        assert set(vars(warehouse)) == {"path", "lock_timeout_sec"}


class TestPrepare:
    def test_tables_and_views_are_there_with_their_descriptions_and_a_second_time_changes_nothing(self, warehouse):
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

    def test_an_older_table_gets_the_columns_and_fields_that_it_lacks_and_keeps_its_rows(self, warehouse):
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


class TestCommit:
    def test_counts_curves_failures_and_the_run_are_in_the_tables(self, warehouse):
        totals = commit(
            warehouse, make_provenance(), make_video_count("gs://b/1"), make_video_count("gs://b/2"), make_failure("gs://b/3"),
            listed=5, skipped=2,
        )  # fmt: skip
        assert totals == RunTotals(listed=5, counted=2, failed=1, skipped=2, scored_frames=200, video_sec=20.0)
        assert totals.is_balanced
        assert num_rows(warehouse) == {"video_counts": 2, "frame_curves": 2, "failures": 1, "runs": 1}
        assert warehouse.run_totals("run-1") == totals
        assert query(warehouse, "SELECT run_started, run_ended FROM runs") == [(STARTED, ENDED)]
        assert warehouse.run_results("run-1", limit=10) == [
            VideoResult("gs://b/1", 2.5, 0.5, 10.0, (), None, None),
            VideoResult("gs://b/2", 2.5, 0.5, 10.0, (), None, None),
            VideoResult("gs://b/3", None, None, None, (), "NOT_A_VIDEO", "no video stream"),
        ]
        assert len(warehouse.run_results("run-1", limit=2)) == 2
        assert warehouse.num_run_results("run-1") == 3

    def test_a_video_that_is_in_no_table_is_no_result(self, warehouse):
        commit(warehouse, make_provenance("first"), make_video_count("gs://b/1"))
        run = later_run("second")
        totals = commit(warehouse, run, make_failure("gs://b/1"), make_failure("gs://b/2"), listed=3, skipped=1)
        assert (totals.listed, totals.failed) == (3, 2)
        assert [result.uri for result in warehouse.run_results("second", limit=10)] == ["gs://b/2"]
        assert warehouse.num_run_results("second") == 1
        assert warehouse.num_run_results("another") == 0

    def test_a_run_without_a_video_leaves_its_row(self, warehouse):
        assert commit(warehouse, make_provenance()) == RunTotals(0, 0, 0, 0, 0, 0.0)
        assert num_rows(warehouse) == {"video_counts": 0, "frame_curves": 0, "failures": 0, "runs": 1}
        assert warehouse.run_totals("another") is None

    def test_committing_the_same_files_again_changes_nothing(self, warehouse):
        provenance = make_provenance()
        files = stage(warehouse, provenance, make_video_count("gs://b/1"), make_failure("gs://b/2"))
        first = commit(warehouse, provenance, files=files, listed=2)
        before = contents(warehouse)
        later = ENDED + datetime.timedelta(minutes=1)
        assert warehouse.commit(provenance, files, listed=2, skipped=0, run_ended=later) == first
        assert contents(warehouse) == before

    def test_a_second_run_adds_no_row_and_its_rows_replace_the_first_ones(self, warehouse):
        commit(warehouse, make_provenance("first"), make_video_count(), make_failure("gs://b/2"))
        commit(
            warehouse, later_run("second"), make_video_count(confidence=0.75), make_failure("gs://b/2", message="still none")
        )
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 2}
        assert query(warehouse, "SELECT run_id, confidence FROM video_counts") == [("second", 0.75)]
        assert query(warehouse, "SELECT run_id FROM frame_curves") == [("second",)]
        assert query(warehouse, "SELECT run_id, message FROM failures") == [("second", "still none")]

    def test_runs_that_overlap_leave_the_same_rows_whichever_commits_first(self, tmp_path):
        early, late = make_provenance("early"), later_run("late")
        settled = {early: (make_video_count("gs://b/1"), make_failure("gs://b/2")),
                   late: (make_failure("gs://b/1"), make_video_count("gs://b/2"))}  # fmt: skip
        outcomes = []
        for number, order in enumerate(([early, late], [late, early])):
            warehouse = DuckDBWarehouse(str(tmp_path / f"{number}.duckdb"))
            for provenance in order:
                commit(warehouse, provenance, make_video_count("gs://b/3"), *settled[provenance])
            outcomes.append(contents(warehouse))
        assert outcomes[0] == outcomes[1]
        assert [(row[0], row[VIDEO_COUNTS.arrow_schema.names.index("run_id")]) for row in outcomes[0]["video_counts"]] == [
            ("gs://b/1", "early"), ("gs://b/2", "late"), ("gs://b/3", "late"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "other",
        [make_video_count("gs://b/B"), make_video_count(generation=2), {"model": "repnet-2025"}, {"options_json": "{}"}],
        ids=["uri", "generation", "model", "options"],
    )
    def test_another_video_generation_model_or_options_is_another_row(self, warehouse, other):
        commit(warehouse, make_provenance(), make_video_count())
        changes, video_count = (other, make_video_count()) if isinstance(other, dict) else ({}, other)
        commit(warehouse, later_run("second", **changes), video_count)
        assert num_rows(warehouse) == {"video_counts": 2, "frame_curves": 2, "failures": 0, "runs": 2}

    def test_a_count_removes_the_failure_of_its_video(self, warehouse):
        commit(warehouse, make_provenance("first"), make_failure(), make_failure("gs://b/other"))
        commit(warehouse, later_run("second"), make_video_count())
        assert query(warehouse, "SELECT video_uri FROM failures") == [("gs://b/other",)]
        assert num_rows(warehouse)["video_counts"] == 1

    def test_a_failure_never_takes_the_place_of_a_count(self, warehouse):
        commit(warehouse, make_provenance("first"), make_video_count())
        before = contents(warehouse)
        totals = commit(warehouse, later_run("second"), make_failure())
        after = contents(warehouse)
        assert {**after, "runs": None} == {**before, "runs": None}
        assert (totals.failed, warehouse.run_totals("second").failed) == (1, 1)

    def test_a_failure_with_another_model_stands_beside_a_count(self, warehouse):
        commit(warehouse, make_provenance("first"), make_video_count())
        commit(warehouse, later_run("second", model="repnet-2025"), make_failure())
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 2}

    def test_a_row_that_is_staged_twice_is_one_row(self, warehouse, monkeypatch):
        for merge_bytes in (duckdb_warehouse.MERGE_BYTES, 1):
            monkeypatch.setattr(duckdb_warehouse, "MERGE_BYTES", merge_bytes)
            commit(warehouse, make_provenance(f"run-{merge_bytes}"), make_video_count(), make_video_count())
            assert num_rows(warehouse)["video_counts"] == num_rows(warehouse)["frame_curves"] == 1

    def test_many_files_are_merged_in_groups_of_bounded_size(self, warehouse, monkeypatch):
        sizes = []
        merge = duckdb_warehouse._merge

        def record(connection, table, source, parameters):
            sizes.append(len(parameters.get("paths", [])))
            merge(connection, table, source, parameters)

        monkeypatch.setattr(duckdb_warehouse, "_merge", record)
        files = stage(warehouse, make_provenance(), *(make_failure(f"gs://b/{number}") for number in range(5)))
        monkeypatch.setattr(duckdb_warehouse, "MERGE_BYTES", 2 * files[0].num_bytes)
        commit(warehouse, make_provenance(), files=files, listed=5)
        assert sizes == [2, 2, 1, 0]
        assert num_rows(warehouse)["failures"] == 5

    @pytest.mark.parametrize(
        "uri", ['it\'s "x"; DROP TABLE runs; --', "naïve 日本 😀\n\x00", "bytes \udcff", "$paths {dataset} %s ?"]
    )
    def test_any_name_goes_in_and_comes_out(self, warehouse, uri):
        commit(warehouse, make_provenance(model=uri), make_video_count(uri), make_failure(uri + "2", message=uri))
        kept = uri.encode("utf-8", "backslashreplace").decode()
        assert query(warehouse, "SELECT video_uri, model FROM video_counts") == [(kept, kept)]
        assert query(warehouse, "SELECT message FROM failures") == [(kept,)]

    @pytest.mark.parametrize("folder", ["it's; --", "[1]", "*", "{a,b}", "a b é😀"])
    def test_the_database_may_lie_in_a_folder_of_any_name(self, tmp_path, folder):
        warehouse = DuckDBWarehouse(str(tmp_path / folder / "counts.duckdb"))
        warehouse.check()
        warehouse.prepare()
        commit(warehouse, make_provenance(), make_video_count(), make_failure("gs://b/2"))
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}


class TestReconciliation:
    """What was written is in the tables, or nothing is."""

    def refused(self, warehouse, files, message):
        warehouse.prepare()
        with pytest.raises(WarehouseError, match=message):
            commit(warehouse, make_provenance(), files=files)
        assert set(num_rows(warehouse).values()) == {0}

    def test_a_file_with_fewer_rows_than_were_written_fails_the_commit(self, warehouse):
        folder = warehouse.staging_folder("run-1")
        file = write(folder, FAILURES, [failure_row(make_failure(), make_provenance())])
        file = StagedFile(file.table, file.path, 2, file.num_bytes)
        self.refused(warehouse, [file], r"files staged for failures must hold the 2 rows .*Received: 1")

    def test_a_count_without_its_curve_fails_the_commit(self, warehouse):
        files = stage(warehouse, make_provenance(), make_video_count())
        self.refused(warehouse, files[:1], "every staged count must have a curve. Received: 1 counts and 0 curves of run run-1")

    @pytest.mark.parametrize("damage", ["missing", "cut"])
    def test_a_lost_or_damaged_file_fails_the_commit(self, warehouse, damage):
        files = stage(warehouse, make_provenance(), make_video_count(), make_failure("gs://b/2"))
        path = pathlib.Path(files[1].path)
        content = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        self.refused(warehouse, files, r"the database cannot be used: .*Received: ")


def hold(path, opened, release):
    """Has the database open until told to close it."""
    with duckdb.connect(path):
        opened.set()
        release.wait(30)


def commit_and_die(warehouse, provenance, files, merges):
    """Dies after so many MERGEs, at the latest when the commit is done and before anybody hears of it."""
    merge, done = duckdb_warehouse._merge, itertools.count()

    def merge_or_die(*arguments):
        if next(done) == merges:
            os._exit(9)
        merge(*arguments)

    duckdb_warehouse._merge = merge_or_die
    commit(warehouse, provenance, files=files, listed=3)
    os._exit(9)


class TestOtherProcesses:
    @pytest.fixture
    def holder(self, warehouse):
        """Another process that has the database open until `release` is set."""
        warehouse.prepare()
        opened, release = PROCESSES.Event(), PROCESSES.Event()
        process = PROCESSES.Process(target=hold, args=(warehouse.path, opened, release))
        process.start()
        assert opened.wait(30)
        yield release
        release.set()
        process.join(30)

    def test_a_commit_waits_until_the_database_is_closed(self, warehouse, holder):
        threading.Timer(0.3, holder.set).start()
        commit(warehouse, make_provenance(), make_video_count())
        assert num_rows(warehouse)["video_counts"] == 1

    def test_waiting_is_said_once_and_in_plain_words(self, warehouse, holder, caplog):
        caplog.set_level(logging.DEBUG, logger=duckdb_warehouse.__name__)
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=1.5)
        with pytest.raises(WarehouseError):
            hasty.run_totals("run-1")
        told = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
        assert told == [f"Waiting for another program to close {warehouse.path}"]
        assert len(caplog.records) > 2
        assert all("_connected" not in record.getMessage() for record in caplog.records)

    def test_waiting_has_an_end_and_says_who_has_the_database_open(self, warehouse, holder):
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=0.2)
        for action in (hasty.check, hasty.prepare, lambda: commit(hasty, make_provenance(), make_failure())):
            with pytest.raises(WarehouseError, match=r"close the other program .*PID \d+.*Received: ") as caught:
                action()
            assert "\n" not in str(caught.value)
        assert pathlib.Path(hasty.staging_folder("run-1")).exists()

    def test_commits_of_several_threads_all_arrive(self, warehouse):
        runs = [make_provenance(f"run-{number}", started=STARTED + datetime.timedelta(seconds=number)) for number in range(3)]
        threads = [
            threading.Thread(target=commit, args=(warehouse, run, make_video_count(), make_failure("gs://b/2"))) for run in runs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 3}
        assert query(warehouse, "SELECT run_id FROM video_counts") == [("run-2",)]

    @pytest.mark.parametrize("merges", [1, 3, 4])
    def test_a_process_that_dies_between_merges_leaves_no_trace_and_the_commit_can_be_repeated(self, tmp_path, merges):
        disturbed, undisturbed = (DuckDBWarehouse(str(tmp_path / name / "counts.duckdb")) for name in ("killed", "calm"))
        settled = (make_video_count("gs://b/1"), make_failure("gs://b/2"), make_video_count("gs://b/3"))
        for warehouse in (disturbed, undisturbed):
            commit(warehouse, make_provenance("before"), make_failure("gs://b/1"), make_video_count("gs://b/3", confidence=0.3))
        before = contents(disturbed)
        run = later_run("killed")
        files = stage(disturbed, run, *settled)

        process = PROCESSES.Process(target=commit_and_die, args=(disturbed, run, files, merges))
        process.start()
        process.join(60)
        assert process.exitcode == 9
        if merges < 4:
            assert contents(disturbed) == before

        commit(disturbed, run, files=files, listed=3)
        commit(undisturbed, run, *settled)
        assert contents(disturbed) == contents(undisturbed)


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


class TestRemoveStaging:
    def test_the_folder_of_the_run_goes_and_no_other(self, warehouse):
        for run_id in ("run-1", "run-2"):
            stage(warehouse, make_provenance(run_id), make_failure())
        warehouse.remove_staging("run-1")
        warehouse.remove_staging("run-1")
        assert [os.path.exists(warehouse.staging_folder(run_id)) for run_id in ("run-1", "run-2")] == [False, True]

    def test_preparing_removes_what_runs_killed_long_ago_left(self, warehouse, tmp_path, caplog):
        caplog.set_level(logging.INFO, logger=duckdb_warehouse.__name__)
        others = DuckDBWarehouse(str(tmp_path / "other.duckdb"))
        folders = {}
        for owner, name in ((warehouse, "old"), (warehouse, "young"), (warehouse, "working"), (others, "theirs")):
            stage(owner, make_provenance(name), make_failure())
            folders[name] = pathlib.Path(owner.staging_folder(name))
        eight_days_ago = time.time() - 8 * 24 * 3600
        link = pathlib.Path(warehouse.staging_folder("link"))
        link.symlink_to(folders["theirs"])
        for name in ("old", "working", "theirs"):
            for path in (*folders[name].rglob("*"), folders[name]):
                os.utime(path, (eight_days_ago, eight_days_ago))
        os.utime(next(folders["working"].rglob("*.parquet")))

        warehouse.prepare()
        assert {name: path.exists() for name, path in folders.items()} == {
            "old": False, "young": True, "working": True, "theirs": True,
        }  # fmt: skip
        assert link.is_symlink()
        assert [record.getMessage() for record in caplog.records] == [
            f"Deleted {folders['old']}, the staged files of a run that was killed."
        ]

    def test_old_staging_that_cannot_be_removed_is_logged(self, warehouse, caplog, monkeypatch):
        def refuse(folder):
            raise PermissionError(13, "Permission denied", str(folder))

        stage(warehouse, make_provenance(), make_failure())
        monkeypatch.setattr(duckdb_warehouse, "STAGING_KEPT_SEC", -60.0)
        monkeypatch.setattr(duckdb_warehouse.shutil, "rmtree", refuse)
        warehouse.prepare()
        assert "could not be deleted: [Errno 13] Permission denied" in caplog.text

    def test_a_folder_that_cannot_be_removed_is_logged(self, warehouse, caplog, monkeypatch):
        def refuse(folder):
            raise PermissionError(13, "Permission denied", folder)

        monkeypatch.setattr(duckdb_warehouse.shutil, "rmtree", refuse)
        warehouse.remove_staging("run-1")
        assert "are committed but could not be deleted" in caplog.text
