"""Progress has one mark for each video that was scored or failed."""

import datetime

import apache_beam as beam
import numpy as np
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to, is_not_empty

from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage
from transforms.progress import MarkProgress, WriteTotals, finished_videos, read_totals
from transforms.records import ChunkScores, Failure, SelectionTotals, VideoRef

VIDEO = VideoRef("squats.mp4", 1, 10, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
FACTS = VideoFacts(64, 48, "h264", 0, 30.0, 10, 0.3, False, False)


def test_a_video_is_marked_at_its_last_chunk_or_its_failure(tmp_path):
    path = str(tmp_path / "progress")
    times_sec = np.zeros(1)
    items = [
        ChunkScores(VIDEO, 0, {}, times_sec),
        ChunkScores(VIDEO, 1, {}, times_sec, FACTS),
        Failure(VIDEO, Stage.DECODE, FailureCode.NO_FRAMES, "none"),
    ]
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        through = pipeline | beam.Create(items) | MarkProgress(path)
        assert_that(through, is_not_empty())
    assert finished_videos(path) == 2


def test_no_video_is_finished_before_the_first_mark(tmp_path):
    assert finished_videos(str(tmp_path / "none")) == 0


def test_totals_pass_through_and_can_be_read_until_the_run_ends(tmp_path):
    path = str(tmp_path / "progress")
    totals = SelectionTotals(listed=9, skipped=4, left=2)
    assert read_totals(path) is None
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        through = pipeline | beam.Create([totals]) | WriteTotals(path)
        assert_that(through, equal_to([totals]))
    assert read_totals(path) == totals
