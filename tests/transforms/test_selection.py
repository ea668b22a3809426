"""A run counts the videos that are new, and reports how many it skipped and left."""

import dataclasses
import threading

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from tests.support.samples import make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import commit, later_run, stage_listing
from transforms.failure_codes import FailureCode
from transforms.records import Selection, SelectionTotals
from transforms.selection import SelectVideos
from transforms.warehouse import sql
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path):
    """Tables with a count of gs://b/1 and failures of gs://b/2 and gs://b/3."""
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=60.0)
    commit(
        warehouse,
        make_provenance("before"),
        make_video_count("gs://b/1"),
        make_failure("gs://b/2"),
        make_failure("gs://b/3", code=FailureCode.READ_ERROR),
    )
    return warehouse


def select(warehouse, videos, *, provenance=None, **options):
    """Returns the names that are selected, and the numbers listed, skipped and left."""
    provenance = provenance or later_run("now")
    totals, selected = warehouse.select(provenance, stage_listing(warehouse, provenance, videos), Selection(**options))
    return sorted(video.uri[7:] for video in selected), (totals.listed, totals.skipped, totals.left)


VIDEOS = [make_video(f"gs://b/{number}") for number in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize("uri", ['it\'s "x"; DROP TABLE runs; --', "naïve 日本 😀\n\x00", "bytes \udcff"])
def test_any_name_is_returned_unchanged_and_found_again(warehouse, uri):
    names, _ = select(warehouse, [make_video(uri)])
    assert names == [uri[7:]]
    commit(warehouse, later_run("then"), make_video_count(uri))
    assert select(warehouse, [make_video(uri)], provenance=later_run("now", hours=2))[0] == []


def test_a_listing_with_fewer_rows_than_were_written_is_refused(warehouse):
    provenance = later_run("now")
    (file,) = stage_listing(warehouse, provenance, VIDEOS)
    with pytest.raises(WarehouseError, match=r"the files staged for listing must hold the 9 rows .*Received: 5"):
        warehouse.select(provenance, [dataclasses.replace(file, num_rows=9)], Selection())


def test_a_commit_during_the_selection_does_not_change_its_totals(warehouse, monkeypatch):
    select_videos = sql.select_videos
    between = threading.Thread(target=commit, args=(warehouse, make_provenance("between"), make_video_count("gs://b/4")))

    def during_a_commit(*arguments):
        between.start()
        between.join(0.5 if warehouse.is_local else None)  # DuckDB's commit waits for the selection
        return select_videos(*arguments)

    monkeypatch.setattr(sql, "select_videos", during_a_commit)
    assert select(warehouse, VIDEOS) == (["4", "5"], (5, 3, 0))
    between.join()
    assert warehouse.run_totals("between").counted == 1


def test_contradictory_options_are_refused():
    with pytest.raises(ValueError, match=r"limit must be a whole number of at least 1\. Received: 0"):
        Selection(limit=0)
    with pytest.raises(ValueError, match=r"requeue works only with mode=new\. Received: \['READ_ERROR'\]"):
        Selection(new_only=False, requeue=("READ_ERROR",))


def test_a_pipeline_outputs_videos_and_totals(warehouse):
    provenance = later_run("now")
    files = stage_listing(warehouse, provenance, VIDEOS)
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        listed = pipeline | beam.Create(files)
        selected = listed | SelectVideos(warehouse, provenance, Selection(limit=1))
        assert_that(selected["videos"], equal_to([make_video("gs://b/4")]), label="videos")
        assert_that(selected["totals"], equal_to([SelectionTotals(listed=5, skipped=3, left=1)]), label="totals")


def test_a_pipeline_over_an_empty_listing_has_totals_too(warehouse):
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        selected = pipeline | beam.Create([]) | SelectVideos(warehouse, make_provenance("now"), Selection())
        assert_that(selected["videos"], equal_to([]), label="videos")
        assert_that(selected["totals"], equal_to([SelectionTotals(0, 0, 0)]), label="totals")
