"""Records say in one place what a video, a count or a failure is."""

import pytest

from tests.support.markdown import table_rows
from tests.support.samples import make_failure, make_video, make_video_count
from transforms.records import VideoFlag, VideoResult, rounded_count


def test_a_video_is_readable_in_a_log():
    assert repr(make_video("gs://gym/a.mp4", generation=7)) == "gs://gym/a.mp4#7"


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
