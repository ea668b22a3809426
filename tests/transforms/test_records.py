"""Records say in one place what a video, a count or a failure is."""

import dataclasses

import pytest

from tests.support.markdown import table_rows
from tests.support.samples import make_failure, make_video, make_video_count
from transforms.records import FLAG_MEANINGS, Slice, TimeSegment, VideoFlag, VideoResult, slice_hash, slice_number


def test_a_video_is_readable_in_a_log():
    assert repr(make_video("gs://gym/a.mp4", generation=7)) == "gs://gym/a.mp4#7"


def test_a_version_of_a_video_is_always_in_the_same_slice():
    assert slice_hash(make_video("gs://gym/a.mp4", generation=7)) == 1573673178
    assert slice_hash(make_video("gs://gym/a.mp4", generation=8)) != 1573673178
    assert 0 <= slice_hash(make_video("bytes \udcff")) < 2**31


def test_slices_are_about_equal():
    hashes = [slice_hash(make_video(f"gs://gym/{number}.mp4")) for number in range(1000)]
    sizes = [sum(slice_number(hashed, 5) == number for hashed in hashes) for number in range(1, 6)]
    assert sum(sizes) == 1000
    assert min(sizes) > 150


def test_a_slice_is_one_of_those_that_there_are():
    assert str(Slice(3, 5)) == "slice 3 of 5"
    for number in (0, 6):
        with pytest.raises(ValueError, match=f"must be from 1 to 5. Received: {number}"):
            Slice(number, 5)


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


def test_the_documentation_explains_each_flag_in_the_words_of_the_program_and_the_same_order():
    documented = table_rows("docs/failure_codes.md", "flag")
    assert list(documented) == [flag.value for flag in VideoFlag]
    assert documented == {flag.value: [meaning] for flag, meaning in FLAG_MEANINGS.items()}


def test_the_last_frame_does_not_end_before_it_appears_whatever_the_file_declares():
    counted = make_video_count(num_frames=4)
    counted = dataclasses.replace(counted, facts=dataclasses.replace(counted.facts, duration_sec=0.1))
    assert counted.frame_edges_sec.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3])


def test_the_rate_of_a_part_is_per_second_of_the_part():
    assert (TimeSegment(10.0, 14.0, 2.0).rate_hz, TimeSegment(10.0, 14.0, 2.0).rate_per_minute) == (0.5, 30.0)
