"""A run's files are committed completely, once in effect, or not at all."""

import datetime
import errno
import itertools
import logging
import multiprocessing
import os
import pathlib
import pickle
import resource
import subprocess
import sys
import threading

import duckdb
import pytest

from tests.support.marks import slow
from tests.support.samples import STARTED, make_failure, make_provenance, make_video_count
from tests.support.warehouses import ENDED, commit, contents, held_open, later_run, num_rows, stage
from transforms.warehouse import duckdb_warehouse
from transforms.warehouse.base import WarehouseError, WarehouseFaultError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.schema import VIDEO_COUNTS

PROCESSES = multiprocessing.get_context("spawn")


def query(warehouse, statement):
    return list(warehouse.query(statement, {}))


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

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("counts.duckdb", b"", "must be a DuckDB file; delete this empty one, or choose another"),
            ("counts.duckdb", b"no,database\n" * 9, "must be a DuckDB file"),
            ("counts.csv", b"no,database\n" * 9, "must be a DuckDB file"),
        ],
    )
    def test_a_file_of_another_kind_is_refused_and_left_as_it_is(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        warehouse = DuckDBWarehouse(str(path))
        for action in (warehouse.check, warehouse.prepare, lambda: next(warehouse.read("SELECT 1 FROM {dataset}runs"))):
            with pytest.raises(WarehouseError, match=f"{message}.*Received: ") as caught:
                action()
            assert "\n" not in str(caught.value)
        assert path.read_bytes() == content

    @pytest.mark.parametrize("path", ["file/counts.duckdb", "link/counts.duckdb"])
    def test_a_path_below_a_file_is_refused(self, tmp_path, path):
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(WarehouseError, match=r"must be in a writable folder, but .* is not one\. Received: "):
            DuckDBWarehouse(str(tmp_path / path)).check()

    def test_a_file_in_the_place_of_the_folder_for_notes_is_refused(self, warehouse):
        pathlib.Path(warehouse.attempts_folder).touch()
        with pytest.raises(WarehouseError, match=r"notes beside the database need a folder; .* Received: .*\.attempts"):
            warehouse.check()

    def test_a_file_or_a_folder_that_cannot_be_written_is_refused(self, warehouse, monkeypatch):
        warehouse.prepare()
        monkeypatch.setattr(
            duckdb_warehouse.os, "access", lambda path, mode: False
        )  # root may write to whatever has no such bit
        with pytest.raises(WarehouseError, match="must be a writable file"):
            warehouse.check()
        with pytest.raises(WarehouseError, match="must be in a writable folder"):
            DuckDBWarehouse(warehouse.path + ".other").check()

    def test_a_pickled_warehouse_holds_only_its_path(self, warehouse):
        warehouse.prepare()
        assert pickle.loads(pickle.dumps(warehouse)) == warehouse
        assert set(vars(warehouse)) == {"path", "lock_timeout_sec"}


class TestCommit:
    @pytest.mark.parametrize("hours", [0, 1])  # of two runs with the same start, that with the greater id is later
    def test_runs_that_overlap_leave_the_same_rows_whichever_commits_first(self, tmp_path, hours):
        early, late = make_provenance("early"), later_run("late", hours)
        outcomes = {early: (make_video_count("gs://b/1"), make_failure("gs://b/2")),
                   late: (make_failure("gs://b/1"), make_video_count("gs://b/2"))}  # fmt: skip
        left = []
        for number, order in enumerate(([early, late], [late, early])):
            warehouse = DuckDBWarehouse(str(tmp_path / f"{number}.duckdb"))
            for provenance in order:
                commit(warehouse, provenance, make_video_count("gs://b/3"), *outcomes[provenance])
            left.append(contents(warehouse))
        assert left[0] == left[1]
        assert [(row[0], row[VIDEO_COUNTS.arrow_schema.names.index("run_id")]) for row in left[0]["video_counts"]] == [
            ("gs://b/1", "early"), ("gs://b/2", "late"), ("gs://b/3", "late"),
        ]  # fmt: skip

    def test_a_failure_with_another_model_stands_beside_a_count(self, warehouse):
        commit(warehouse, make_provenance("first"), make_video_count())
        commit(warehouse, later_run("second", model="repnet-2025"), make_failure())
        assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 2}

    def test_a_row_that_is_staged_twice_is_one_row(self, warehouse, monkeypatch):
        for merge_bytes in (duckdb_warehouse.MERGE_BYTES, 1):
            monkeypatch.setattr(duckdb_warehouse, "MERGE_BYTES", merge_bytes)
            provenance = make_provenance(f"run-{merge_bytes}")
            files = [file for _ in range(2) for file in stage(warehouse, provenance, make_video_count())]
            commit(warehouse, provenance, files=files, listed=2)
            assert num_rows(warehouse)["video_counts"] == num_rows(warehouse)["frame_curves"] == 1

    def test_many_files_are_merged_in_groups_of_bounded_size(self, warehouse, monkeypatch):
        sizes = []
        merge = duckdb_warehouse.merge

        def record(connection, table, source, parameters):
            sizes.append(len(parameters.get("paths", [])))
            merge(connection, table, source, parameters)

        monkeypatch.setattr(duckdb_warehouse, "merge", record)
        files = [file for number in range(5) for file in stage(warehouse, make_provenance(), make_failure(f"gs://b/{number}"))]
        monkeypatch.setattr(duckdb_warehouse, "MERGE_BYTES", 2 * files[0].num_bytes)
        commit(warehouse, make_provenance(), files=files, listed=5)
        assert sizes == [2, 2, 1, 0]
        assert num_rows(warehouse)["failures"] == 5

    @pytest.mark.parametrize(
        "uri", ['it\'s "x"; DROP TABLE runs; --', "naïve 日本 😀\n\x00", "bytes \udcff", "$paths {dataset} %s ?"]
    )
    def test_any_name_is_stored_unchanged(self, warehouse, uri):
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

    @pytest.mark.parametrize("damage", ["missing", "cut"])
    def test_a_lost_or_damaged_file_fails_the_commit(self, warehouse, damage):
        files = stage(warehouse, make_provenance(), make_video_count(), make_failure("gs://b/2"))
        path = pathlib.Path(files[1].path)
        content = path.read_bytes()
        path.unlink()
        if damage == "cut":
            path.write_bytes(content[: len(content) // 2])
        warehouse.prepare()
        with pytest.raises(WarehouseError, match=r"the database cannot be used: .*Received: "):
            commit(warehouse, make_provenance(), files=files)
        assert set(num_rows(warehouse).values()) == {0}


class TestFaults:
    """A file or a disk that cannot be used is a fault of the machine; tables that lack what is asked for are none."""

    @pytest.mark.parametrize("damage", ["cut", "flipped"])
    def test_a_damaged_file_is_a_fault(self, warehouse, damage):
        warehouse.prepare()
        path = pathlib.Path(warehouse.path)
        content = path.read_bytes()
        head, rest = content[: 12 << 10], content[12 << 10 :]
        path.write_bytes(head + (b"" if damage == "cut" else bytes(byte ^ 255 for byte in rest)))
        for action in (warehouse.check, warehouse.prepare, lambda: next(warehouse.read("SELECT * FROM {dataset}runs"))):
            with pytest.raises(WarehouseFaultError, match=r"the database cannot be used: .*Received: ") as caught:
                action()
            assert "\n" not in str(caught.value)

    def test_a_file_that_cannot_grow_is_a_fault(self, warehouse):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 10, limits[1]))  # as on a full disk, a write fails
        try:
            with pytest.raises(WarehouseFaultError, match=r"the database cannot be used: .*Received: "):
                warehouse.prepare()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def test_a_full_disk_that_has_no_room_for_a_folder_is_a_fault(self, tmp_path, monkeypatch):
        def fail(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(duckdb_warehouse.os, "makedirs", fail)
        with pytest.raises(WarehouseFaultError, match="folder cannot be created: No space left on device"):
            DuckDBWarehouse(str(tmp_path / "new" / "counts.duckdb")).prepare()

    def test_a_commit_to_a_file_that_is_gone_is_a_fault_and_creates_none(self, warehouse, tmp_path):
        commit(warehouse, make_provenance("first"), make_video_count())
        files = stage(warehouse, later_run("second"), make_video_count("gs://b/2"))
        moved = pathlib.Path(warehouse.path).rename(tmp_path / "moved.duckdb")
        for _ in range(2):
            with pytest.raises(WarehouseFaultError, match=r"was there at the start and is gone; .*Received: .*counts\.duckdb"):
                warehouse.commit(later_run("second"), files, listed=2, skipped=1, run_ended=ENDED)
            assert not os.path.exists(warehouse.path)
        moved.rename(warehouse.path)
        commit(warehouse, later_run("second"), files=files, listed=2, skipped=1)
        assert num_rows(warehouse)["video_counts"] == 2

    def test_a_folder_in_place_of_the_file_is_no_fault(self, tmp_path):
        with pytest.raises(WarehouseError, match=r"the database cannot be used: ") as caught:
            next(DuckDBWarehouse(str(tmp_path)).read("SELECT * FROM {dataset}runs"))
        assert not isinstance(caught.value, WarehouseFaultError)

    def test_a_table_that_is_not_there_is_no_fault(self, warehouse):
        warehouse.prepare()
        with pytest.raises(WarehouseError, match=r"the database cannot be used: .*nowhere") as caught:
            next(warehouse.read("SELECT * FROM {dataset}nowhere"))
        assert not isinstance(caught.value, WarehouseFaultError)


def commit_and_die(warehouse, provenance, files, merges):
    """Commits, but dies after so many MERGEs, or after the commit."""
    merge, done = duckdb_warehouse.merge, itertools.count()

    def merge_or_die(*arguments):
        if next(done) == merges:
            os._exit(9)
        merge(*arguments)

    duckdb_warehouse.merge = merge_or_die
    commit(warehouse, provenance, files=files, listed=3)
    os._exit(9)


class TestOtherProcesses:
    @pytest.fixture
    def holder(self, warehouse):
        """The function that makes another process, which has the database open, close it."""
        warehouse.prepare()
        with held_open(warehouse) as close:
            yield close

    def test_a_commit_waits_until_the_database_is_closed(self, warehouse, holder):
        threading.Timer(0.3, holder).start()
        commit(warehouse, make_provenance(), make_video_count())
        assert num_rows(warehouse)["video_counts"] == 1

    def test_waiting_is_logged_once_in_plain_words(self, warehouse, holder, caplog):
        caplog.set_level(logging.DEBUG, logger=duckdb_warehouse.__name__)
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=1.0)
        with pytest.raises(WarehouseError):
            hasty.run_totals("run-1")
        messages = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
        assert messages == [f"Waiting for another program to close {warehouse.path}"]
        assert len(caplog.records) > 2
        assert all("_connected" not in record.getMessage() for record in caplog.records)

    def test_waiting_ends_with_the_name_of_the_program_that_has_the_database_open(self, warehouse, holder):
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=0.2)
        for action in (hasty.check, hasty.prepare, lambda: commit(hasty, make_provenance(), make_failure())):
            with pytest.raises(WarehouseFaultError, match=r"close the other program .*PID \d+.*Received: ") as caught:
                action()
            assert "\n" not in str(caught.value)
        assert pathlib.Path(hasty.staging_folder("run-1")).exists()

    def test_tables_that_are_up_to_date_are_prepared_while_another_program_reads_them(self, warehouse):
        warehouse.prepare()
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=0.2)
        with held_open(warehouse, read_only=True):
            hasty.prepare()
        with duckdb.connect(warehouse.path) as connection:
            connection.execute("DROP VIEW failures_by_code")
        with (
            held_open(warehouse, read_only=True),
            pytest.raises(WarehouseFaultError, match=r"close the other program .*PID \d+.*Received: "),
        ):
            hasty.prepare()
        hasty.prepare()
        assert hasty.changes() == []

    def test_reading_a_file_that_another_program_writes_to_ends_in_one_line(self, warehouse, holder):
        hasty = DuckDBWarehouse(warehouse.path, lock_timeout_sec=0.2)
        with pytest.raises(WarehouseFaultError, match=r"close the other program .*PID \d+.*Received: ") as caught:
            next(hasty.read("SELECT * FROM {dataset}runs"))
        assert "\n" not in str(caught.value)

    def test_several_readers_have_the_file_open_and_change_nothing(self, warehouse):
        commit(warehouse, make_provenance(), make_video_count())
        before = pathlib.Path(warehouse.path).read_bytes()
        readers = [warehouse.read_rows("SELECT run_id FROM {dataset}runs") for _ in range(2)]
        assert [next(reader) for reader in readers] == [{"run_id": "run-1"}] * 2
        warehouse.check()
        assert (warehouse.is_ready(), warehouse.changes()) == (True, [])
        assert warehouse.run_totals("run-1").counted == 1
        assert warehouse.delete_videos(["gs://bucket/a.mp4"], None, dry_run=True)["video_counts"] == 1
        other = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('SELECT 1').fetchall())"
        assert subprocess.run([sys.executable, "-c", other, warehouse.path], capture_output=True, check=True).stdout
        for reader in readers:
            reader.close()
        assert pathlib.Path(warehouse.path).read_bytes() == before

    def test_rows_are_read_in_batches_of_bounded_size(self, warehouse):
        warehouse.prepare()
        sizes = [batch.num_rows for batch in warehouse.read("SELECT * FROM RANGE(25000)")]
        assert sum(sizes) == 25_000
        assert max(sizes) <= duckdb_warehouse.READ_ROWS
        sizes = [batch.num_rows for batch in warehouse.read("SELECT RANGE(9) AS points FROM RANGE(1000)")]
        assert sum(sizes) == 1000
        assert max(sizes) <= duckdb_warehouse.READ_LIST_ROWS

    def test_commits_of_several_threads_are_all_stored(self, warehouse):
        warehouse.prepare()
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

    @pytest.mark.parametrize("merges", [1, *slow(3, 4)])
    def test_a_process_that_dies_between_merges_leaves_no_trace_and_the_commit_can_be_repeated(self, tmp_path, merges):
        disturbed, undisturbed = (DuckDBWarehouse(str(tmp_path / name / "counts.duckdb")) for name in ("killed", "calm"))
        outcomes = (make_video_count("gs://b/1"), make_failure("gs://b/2"), make_video_count("gs://b/3"))
        for warehouse in (disturbed, undisturbed):
            commit(warehouse, make_provenance("before"), make_failure("gs://b/1"), make_video_count("gs://b/3", confidence=0.3))
        before = contents(disturbed)
        run = later_run("killed")
        files = stage(disturbed, run, *outcomes)

        process = PROCESSES.Process(target=commit_and_die, args=(disturbed, run, files, merges))
        process.start()
        process.join()
        assert process.exitcode == 9
        if merges < 4:
            assert contents(disturbed) == before

        commit(disturbed, run, files=files, listed=3)
        commit(undisturbed, run, *outcomes)
        assert contents(disturbed) == contents(undisturbed)
