"""Only what is possible is taken from the decoder process."""

import dataclasses
import math

import numpy as np
import pytest

from transforms.decoding.channel import InvalidMessageError
from transforms.decoding.options import DecodingOptions
from transforms.decoding.validation import to_error, to_header, to_presented_sec, to_samples
from transforms.decoding.video_facts import VideoFacts, VideoHeader
from transforms.failure_codes import FailureCode

OPTIONS = DecodingOptions(chunk_frames=4, max_sec=100.0)
FACTS = VideoFacts(64, 48, "h264", 0, 30.0, 9, 1.0, truncated=False, variable_frame_rate=True)
HEADER = VideoHeader(64, 48, "h264", 30.0, 1.0)
IMPOSSIBLE = {
    "int": [-1, 2**31, 1.0, True, "1", None, [1]],
    "float": [-1, math.nan, math.inf, 10**400, True, "1", None, {}],
    "bool": [0, 1, "true", None],
    "NvdecUse": [1, None, "", "nvdec", ["used"]],
    "str": [1, None, "x" * 65, "a\nb", "\x1b[31m", "\ud800", "é"],
}
FRAMES = np.zeros((4, 112, 112, 3), np.uint8)
TIMES_SEC = np.arange(4) / 30


def samples(num_frames=3, facts=None, times_sec=TIMES_SEC, last_sec=-math.inf, **changed_facts):
    facts = facts if facts is not None else dataclasses.asdict(FACTS) | changed_facts
    return to_samples({"num_frames": num_frames, "facts": facts}, FRAMES, times_sec, OPTIONS, last_sec)


def test_possible_samples_are_taken_as_they_are():
    found = samples()
    assert found.facts == FACTS
    np.testing.assert_array_equal(found.times_sec, TIMES_SEC[:3])
    assert found.frames.base is FRAMES
    whole = to_samples({"num_frames": 4, "facts": None}, FRAMES, TIMES_SEC + 1, OPTIONS, 0.5)
    assert (len(whole.frames), whole.facts) == (4, None)


def test_times_that_change_after_the_check_are_not_seen():
    times_sec = TIMES_SEC.copy()
    found = samples(times_sec=times_sec)
    times_sec[:] = math.nan
    np.testing.assert_array_equal(found.times_sec, TIMES_SEC[:3])


@pytest.mark.parametrize("num_frames", [0, -1, 5, 10**30, 1.0, True, "3", None, [3]])
def test_an_impossible_number_of_frames_is_refused(num_frames):
    with pytest.raises(InvalidMessageError, match="number of frames"):
        samples(num_frames)


def test_only_the_last_chunk_may_be_short():
    with pytest.raises(InvalidMessageError, match="not the last"):
        to_samples({"num_frames": 3, "facts": None}, FRAMES, TIMES_SEC, OPTIONS, -math.inf)


@pytest.mark.parametrize("times_sec", [[0, math.nan, 1, 2], [0, math.inf, 1, 2], [-1, 0, 1, 2], [2, 1, 3, 4], [0, 1, 1, 2]])
def test_impossible_times_are_refused(times_sec):
    with pytest.raises(InvalidMessageError, match="not in order"):
        samples(times_sec=np.array(times_sec, np.float64))
    with pytest.raises(InvalidMessageError, match="beyond the longest video"):
        samples(times_sec=OPTIONS.max_sec + np.arange(4.0))


@pytest.mark.parametrize("last_sec", [0.5, TIMES_SEC[0]])
def test_times_not_after_those_of_the_last_chunk_are_refused(last_sec):
    with pytest.raises(InvalidMessageError, match="not in order"):
        samples(last_sec=last_sec)


@pytest.mark.parametrize("field", dataclasses.fields(VideoFacts), ids=lambda field: field.name)
def test_every_fact_is_checked(field):
    for value in IMPOSSIBLE[field.type]:
        with pytest.raises(InvalidMessageError, match=field.name):
            samples(**{field.name: value})


def test_a_possible_header_is_taken_as_it_is():
    assert to_header({"header": dataclasses.asdict(HEADER)}) == HEADER


@pytest.mark.parametrize("field", dataclasses.fields(VideoHeader), ids=lambda field: field.name)
def test_everything_in_a_header_is_checked(field):
    for value in IMPOSSIBLE[field.type]:
        with pytest.raises(InvalidMessageError, match=field.name):
            to_header({"header": dataclasses.asdict(HEADER) | {field.name: value}})


@pytest.mark.parametrize("message", [{}, {"header": None}, {"header": {}}, {"num_frames": 1, "facts": None}])
def test_a_message_without_a_header_is_refused(message):
    with pytest.raises(InvalidMessageError, match="not those of a video"):
        to_header(message)


@pytest.mark.parametrize("facts", [{}, {"width": 1}, [], 1, dataclasses.asdict(FACTS) | {"more": 1}])
def test_facts_that_are_not_those_of_a_video_are_refused(facts):
    with pytest.raises(InvalidMessageError, match="not those of a video"):
        samples(facts=facts)


def test_progress_gives_no_more_time_than_the_longest_video_has():
    assert to_presented_sec({"presented_sec": 7}, OPTIONS) == 7.0
    assert to_presented_sec({"presented_sec": 1e300}, OPTIONS) == 100.0


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", None, True])
def test_impossible_progress_is_refused(value):
    with pytest.raises(InvalidMessageError, match="presented_sec"):
        to_presented_sec({"presented_sec": value}, OPTIONS)


def test_a_failure_is_one_printable_line():
    error = to_error({"code": "NOT_A_VIDEO", "message": "a\n\x1b[31m\ud800" + "b" * 9000})
    assert error.code is FailureCode.NOT_A_VIDEO
    assert error.message.startswith("a �[31m�bbb")
    assert len(error.message) == 500


@pytest.mark.parametrize("code", ["NO_SUCH_CODE", ["GONE"], {}, None, 1])
def test_an_unknown_failure_code_is_refused(code):
    with pytest.raises(InvalidMessageError, match="failure code"):
        to_error({"code": code, "message": ""})
