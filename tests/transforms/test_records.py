"""Records keep their values on the way between workers."""

import datetime

import apache_beam as beam
import pytest

from tests.support.markdown import table_rows
from tests.support.samples import make_failure, make_video_count
from transforms.coders import VideoRefCoder
from transforms.records import VideoFlag, VideoRef, VideoResult, rounded_count


def ref(uri="a.mp4", generation=2**62):
    return VideoRef(uri, generation, 2**40, datetime.datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc))


@pytest.mark.parametrize("uri", ["gs://gym/a.mp4", "späť/🏋.mp4", 'quo"te\n.mp4', "not-utf8-\udcff.mp4", ""])
def test_the_coder_returns_the_video_that_was_encoded(uri):
    coder = VideoRefCoder()

    assert coder.decode(coder.encode(ref(uri))) == ref(uri)


def test_the_coder_distinguishes_generations():
    coder = VideoRefCoder()

    assert coder.encode(ref(generation=7)) == coder.encode(ref(generation=7))
    assert coder.encode(ref(generation=7)) != coder.encode(ref(generation=8))


def test_beam_finds_the_coder_and_may_group_by_it():
    coder = beam.coders.registry.get_coder(VideoRef)

    assert isinstance(coder, VideoRefCoder)
    assert coder.is_deterministic()


def test_a_video_is_readable_in_a_log():
    assert repr(ref("gs://gym/a.mp4", generation=7)) == "gs://gym/a.mp4#7"


@pytest.mark.parametrize(("count", "rounded"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (11.6, 12)])
def test_counts_round_halves_up(count, rounded):
    assert rounded_count(count) == rounded


def test_a_result_says_what_a_count_or_a_failure_says():
    counted = VideoResult.of(make_video_count(), wall_sec=0.5)
    assert (counted.uri, counted.count, counted.count_rounded) == ("gs://bucket/a.mp4", 2.5, 3)
    assert (counted.code, counted.message, counted.wall_sec) == (None, None, 0.5)
    failed = VideoResult.of(make_failure())
    assert (failed.count, failed.count_rounded, failed.confidence, failed.stride, failed.flags) == (None, None, None, None, ())


def test_a_remark_is_the_failure_or_the_flags():
    failed = VideoResult("a.mp4", None, code="NO_FRAMES", message="no frame decodes")
    counted = VideoResult("b.mp4", 4.0, 0.9, 8.0, ("ROTATED", "TRUNCATED"))
    assert [failed.remark, counted.remark] == ["NO_FRAMES: no frame decodes", "ROTATED, TRUNCATED"]


def test_the_documentation_has_one_row_for_each_flag_in_the_same_order():
    assert list(table_rows("docs/failure_codes.md", "flag")) == [flag.value for flag in VideoFlag]
