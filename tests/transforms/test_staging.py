"""In a real pipeline, rows reach the tables through files, and a retry doubles none."""

import datetime
import math
import os
import pathlib

import apache_beam as beam
import duckdb
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows

from tests.support.samples import STARTED, make_failure, make_provenance, make_video_count
from transforms.failure_codes import FailureCode, Stage
from transforms.failure_limit import FailureLimit
from transforms.records import SelectionTotals
from transforms.staging import CommitRows, StageRows, _WriteRowsFn
from transforms.warehouse import parquet as staged_files
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.rows import RunTotals
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS

ENDED = STARTED + datetime.timedelta(minutes=5)
OPTIONS = ["--runner=FnApiRunner"]


@pytest.fixture
def warehouse(tmp_path):
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=60.0)
    warehouse.prepare()
    return warehouse


def run(warehouse, outcomes, *, provenance=None, skipped=0, expected, listed=None, failure_limit=None):
    """Stages and commits counted and failed videos, of `listed` listed ones."""
    provenance = provenance or make_provenance()
    selected = SelectionTotals(len(outcomes) + skipped if listed is None else listed, skipped, 0)
    with beam.Pipeline(options=PipelineOptions(OPTIONS)) as pipeline:
        files = (
            pipeline
            | "Settled" >> beam.Create(outcomes)
            | beam.Reshuffle()
            | "Stage" >> StageRows(warehouse.staging_folder(provenance.run_id), provenance)
        )
        inputs = {"staged": files, "totals": pipeline | "Selected" >> beam.Create([selected])}
        totals = inputs | "Commit rows" >> CommitRows(warehouse, provenance, failure_limit, clock=lambda: ENDED)
        assert_that(totals, equal_to([expected]))


def write_bundle(folder, *outcomes):
    """Returns the files that a bundle of these videos wrote."""
    do_fn = _WriteRowsFn(str(folder), make_provenance())
    do_fn.start_bundle()
    for item in outcomes:
        do_fn.process(item)
    return [windowed.value for windowed in do_fn.finish_bundle()]


def contents(warehouse, *tables):
    with duckdb.connect(warehouse.path) as connection:
        return [connection.execute(f"SELECT * FROM {table.name} ORDER BY ALL").fetchall() for table in tables]


class TestPipeline:
    def test_every_listed_video_ends_in_one_table_and_the_files_are_gone(self, warehouse, tmp_path):
        outcomes = [make_video_count(f"gs://b/{number}") for number in range(4)]
        outcomes += [make_failure(f"gs://b/{number}") for number in range(4, 6)]
        expected = RunTotals(listed=7, counted=4, failed=2, skipped=1, scored_frames=400, video_sec=40.0)
        run(warehouse, outcomes, skipped=1, expected=expected)
        assert warehouse.run_totals("run-1") == expected
        assert [len(rows) for rows in contents(warehouse, VIDEO_COUNTS, FRAME_CURVES, FAILURES)] == [4, 4, 2]
        assert [path.name for path in tmp_path.iterdir()] == ["counts.duckdb"]

    def test_running_again_adds_no_row(self, warehouse):
        outcomes = [make_video_count("gs://b/1"), make_failure("gs://b/2")]
        expected = RunTotals(listed=2, counted=1, failed=1, skipped=0, scored_frames=100, video_sec=10.0)
        for run_id in ("first", "second"):
            run(warehouse, outcomes, provenance=make_provenance(run_id), expected=expected)
        assert [len(rows) for rows in contents(warehouse, VIDEO_COUNTS, FRAME_CURVES, FAILURES)] == [1, 1, 1]

    def test_a_run_without_videos_has_its_row(self, warehouse):
        run(warehouse, [], expected=RunTotals(0, 0, 0, 0, 0, 0.0))
        assert warehouse.run_totals("run-1") is not None

    def test_a_run_that_lost_a_video_fails_after_its_commit_even_if_nobody_waits(self, warehouse):
        expected = RunTotals(listed=2, counted=1, failed=0, skipped=0, scored_frames=100, video_sec=10.0)
        with pytest.raises(Exception, match=r"run run-1 lost videos: listed 2, but counted 1, failed 0, skipped 0"):
            run(warehouse, [make_video_count("gs://b/1")], listed=2, expected=expected)
        assert warehouse.run_totals("run-1") == expected
        assert [len(rows) for rows in contents(warehouse, VIDEO_COUNTS)] == [1]
        assert not os.path.exists(warehouse.staging_folder("run-1"))

    def test_a_count_that_the_schema_does_not_allow_fails_its_video_and_no_other(self, warehouse):
        outcomes = [make_video_count("gs://b/1", count=math.nan), make_video_count("gs://b/2")]
        run(warehouse, outcomes, expected=RunTotals(2, 1, 1, 0, 100, 10.0))
        (result, _) = warehouse.run_results("run-1", limit=10)
        assert (result.uri, result.code) == ("gs://b/1", FailureCode.COUNTING_FAILED.value)
        assert "video_counts.count" in result.message
        with duckdb.connect(warehouse.path) as connection:
            assert connection.execute("SELECT stage FROM failures").fetchall() == [(Stage.COUNT.value,)]

    def test_a_commit_that_fails_keeps_the_files(self, warehouse):
        pathlib.Path(warehouse.path).write_text("not a database")
        with pytest.raises(Exception, match="must be a DuckDB file") as caught:
            run(warehouse, [make_failure()], expected=None)
        assert WarehouseError.__name__ in repr(caught.value) or isinstance(caught.value, WarehouseError)
        assert len(list(pathlib.Path(warehouse.staging_folder("run-1")).rglob("*.parquet"))) == 1

    def test_the_graph_can_be_pickled_and_holds_no_connection(self, warehouse):
        os.remove(warehouse.path)
        provenance = make_provenance()
        pipeline = beam.Pipeline(options=PipelineOptions(OPTIONS))
        videos = pipeline | beam.Create([make_failure()])
        files = videos | StageRows(warehouse.staging_folder("run-1"), provenance)
        _ = {"staged": files, "totals": videos} | CommitRows(warehouse, provenance)
        pipeline.to_runner_api()
        assert not os.path.exists(warehouse.path)


class TestFailureLimit:
    def test_a_run_with_too_many_failures_fails_after_its_commit(self, warehouse):
        outcomes = [make_video_count(f"gs://b/{number}") for number in range(8)]
        outcomes += [make_failure(f"gs://b/{number}") for number in range(8, 10)]
        limit = FailureLimit(max_ratio=0.1, min_videos=9)
        with pytest.raises(Exception, match=r"2 of 10 videos failed, more than the 10\.0% that --max_failure_ratio allows"):
            run(warehouse, outcomes, expected=RunTotals(10, 8, 2, 0, 800, 80.0), failure_limit=limit)
        assert warehouse.run_totals("run-1") == RunTotals(10, 8, 2, 0, 800, 80.0)
        assert [len(rows) for rows in contents(warehouse, VIDEO_COUNTS, FAILURES)] == [8, 2]
        assert not os.path.exists(warehouse.staging_folder("run-1"))


class TestFiles:
    def test_a_bundle_writes_one_file_per_table_and_none_for_a_table_without_rows(self, tmp_path):
        files = write_bundle(tmp_path, *(make_video_count(f"gs://b/{number}") for number in range(3)))
        assert [(file.table, file.num_rows) for file in files] == [("video_counts", 3), ("frame_curves", 3)]
        for file, table in zip(files, (VIDEO_COUNTS, FRAME_CURVES), strict=True):
            assert pathlib.Path(file.path).parent == tmp_path / table.name
            assert pq.read_schema(file.path).equals(table.arrow_schema)
            assert pq.read_metadata(file.path).num_row_groups == 1
        assert write_bundle(tmp_path / "none") == []
        assert not (tmp_path / "none").exists()

    def test_a_retried_bundle_writes_other_files_so_that_no_row_is_doubled(self, tmp_path, warehouse):
        failed = _WriteRowsFn(str(tmp_path / "staged"), make_provenance())
        failed.start_bundle()
        failed.process(make_video_count("gs://b/1"))
        first = write_bundle(tmp_path / "staged", make_video_count("gs://b/1"))
        failed.start_bundle()
        failed.process(make_video_count("gs://b/2"))
        again = [windowed.value for windowed in failed.finish_bundle()]
        assert {file.num_rows for file in first + again} == {1}
        assert len({file.path for file in first + again}) == 4
        warehouse.commit(make_provenance(), again, listed=1, skipped=0, run_ended=ENDED)
        assert [row[0] for row in contents(warehouse, VIDEO_COUNTS)[0]] == ["gs://b/2"]

    @pytest.mark.parametrize("fault", [None, OSError(28, "No space left on device")])
    def test_a_failed_bundle_leaves_no_file_open(self, tmp_path, monkeypatch, fault):
        monkeypatch.setattr(staged_files, "ROW_GROUP_ROWS", 1)
        streams = []
        create = staged_files.FileSystems.create

        def record(path):
            stream = create(path)
            streams.append(stream)
            return stream

        def refuse(writer):
            raise fault

        monkeypatch.setattr(staged_files.FileSystems, "create", record)
        if fault:
            monkeypatch.setattr(staged_files.pq.ParquetWriter, "close", refuse)
        do_fn = _WriteRowsFn(str(tmp_path), make_provenance())
        for end in (do_fn.start_bundle, do_fn.teardown):
            do_fn.start_bundle()
            do_fn.process(make_failure())
            assert not streams[-1].closed
            end()
            assert streams[-1].closed
        assert len(streams) == 2


def test_windows_are_refused_when_the_pipeline_is_built():
    windowed = beam.Pipeline() | beam.Create([make_failure()]) | beam.WindowInto(FixedWindows(60))
    with pytest.raises(ValueError, match=r"^rows are staged in global windows: .* Received: FixedWindows"):
        _ = windowed | StageRows("folder", make_provenance())
