"""Progress has a mark for each scored chunk and each failure; whoever reads the marks counts every video once."""

import concurrent.futures

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to, is_not_empty

from tests.support.samples import make_video
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage
from transforms.progress import Marked, MarkProgress, MarkReader, WriteTotals, mark, read_totals
from transforms.records import ChunkScores, Failure, SelectionTotals

FACTS = VideoFacts(64, 48, "h264", 0, 30.0, 10, 0.3, False, False)


def chunk(name="squats.mp4", index=0, num_frames=10, facts=None):
    return ChunkScores(make_video(name), index, {}, np.zeros(num_frames), facts)


def last_chunk(name="squats.mp4", num_frames=10):
    return chunk(name, 1, num_frames, FACTS)


def failure(name="squats.mp4"):
    return Failure(make_video(name), Stage.DECODE, FailureCode.NO_FRAMES, "none")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "progress")


def marked(path, *items):
    for item in items:
        mark(item, path)
    return MarkReader(path).read()


def test_items_pass_through_and_are_marked(path):
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        through = pipeline | beam.Create([chunk(), last_chunk(), failure("rows.mp4")]) | MarkProgress(path)
        assert_that(through, is_not_empty())
    assert MarkReader(path).read() == Marked(done=2, failed=1, frames=20)


def test_no_video_is_done_before_the_first_mark(path):
    assert MarkReader(path).read() == Marked(0, 0, 0)


def test_the_frames_of_a_long_video_count_while_it_is_scored(path):
    reader = MarkReader(path)
    mark(chunk(index=0, num_frames=768), path)
    assert reader.read() == Marked(0, 0, 768)
    mark(chunk(index=1, num_frames=768), path)
    assert reader.read() == Marked(0, 0, 1536)


def test_a_retried_video_is_done_once(path):
    assert marked(path, chunk(), last_chunk(), chunk(), last_chunk()) == Marked(done=1, failed=0, frames=40)


def test_a_video_with_a_failed_chunk_has_failed_once(path):
    assert marked(path, chunk(), failure(), failure(), last_chunk()) == Marked(done=1, failed=1, frames=20)


def test_a_mark_that_is_half_written_is_read_when_it_is_whole(path):
    mark(failure("a.mp4"), path)
    mark(failure("b.mp4"), path)
    with open(path, "rb") as file:
        content = file.read()
    reader = MarkReader(path)
    for length, done in ((5, 0), (16, 1), (20, 1), (32, 2)):
        with open(path, "wb") as file:
            file.write(content[:length])
        assert reader.read().done == done


def test_writers_side_by_side_share_one_file(path):
    def mark_many(number):
        for index in range(500):
            mark(last_chunk(f"{number}-{index}.mp4", num_frames=3), path)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # each mark opens the file anew, as other processes do
        list(pool.map(mark_many, range(4)))
    assert MarkReader(path).read() == Marked(done=2000, failed=0, frames=6000)


def test_a_mark_that_cannot_be_written_fails_no_run(tmp_path):
    mark(failure(), str(tmp_path / "missing" / "progress"))


def test_totals_pass_through_and_can_be_read_until_the_run_ends(path):
    totals = SelectionTotals(listed=9, skipped=4, left=2)
    assert read_totals(path) is None
    with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
        through = pipeline | beam.Create([totals]) | WriteTotals(path)
        assert_that(through, equal_to([totals]))
    assert read_totals(path) == totals
