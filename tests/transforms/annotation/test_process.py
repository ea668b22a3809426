"""Videos are annotated in a sandboxed process: what a file does to it fails that file only, and reaches no file."""

import dataclasses
import io

import numpy as np
import pytest

from tests.support.videos import draw_video
from transforms.annotation.process import AnnotatorProcess
from transforms.annotation.rewrite import annotate
from transforms.annotation.timeline import Timeline
from transforms.decoding import process as decoder_process
from transforms.decoding import sandbox
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode

NOTHING = Timeline(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(0), np.empty((0, 2)))
OPTIONS = DecodingOptions()


@pytest.fixture(scope="module")
def annotator():
    process = AnnotatorProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def hostile():
    process = AnnotatorProcess("tests.support.hostile_annotator_child")
    yield process
    process.close()


def test_the_process_writes_what_this_one_would(annotator, tmp_path):
    path = draw_video(tmp_path / "a.mp4", 40)
    expected, found = io.BytesIO(), io.BytesIO()
    with open(path, "rb") as file, open(path, "rb") as sound_file:
        annotate(file, sound_file, NOTHING, OPTIONS, expected)
        if sandbox.has_seccomp():
            options = dataclasses.replace(OPTIONS, require_sandbox=True)
            assert annotator.annotate(file, NOTHING, options, found) == ""
        else:
            assert annotator.annotate(file, NOTHING, OPTIONS, found) == ""
    assert found.getvalue() == expected.getvalue()


def test_a_file_that_is_no_video_fails_and_the_next_one_is_annotated(annotator, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with open(tmp_path / "a.mp4", "rb") as file, pytest.raises(DecodeError) as caught:
        annotator.annotate(file, NOTHING, OPTIONS, io.BytesIO())
    assert caught.value.code is FailureCode.NOT_A_VIDEO
    output = io.BytesIO()
    with open(draw_video(tmp_path / "b.mp4", 5), "rb") as file:
        annotator.annotate(file, NOTHING, OPTIONS, output)
    assert output.getvalue()


def test_a_process_is_replaced_after_many_videos(annotator, tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_process, "VIDEOS_PER_PROCESS", 1)
    with open(draw_video(tmp_path / "a.mp4", 5), "rb") as file:
        annotator.annotate(file, NOTHING, OPTIONS, io.BytesIO())
    assert annotator.pid is None


def attack(hostile, path, line, options=OPTIONS):
    """Returns the error of a file that does what a line says, and the size of the output."""
    path.write_text(line)
    output = io.BytesIO()
    with open(path, "rb") as file, pytest.raises(DecodeError) as caught:
        hostile.annotate(file, NOTHING, options, output)
    assert path.read_text() == line
    return caught.value, len(output.getvalue())


@pytest.mark.skipif(not sandbox.has_seccomp(), reason="needs a system that filters system calls, as Linux does")
@pytest.mark.parametrize("line", ["open /etc/passwd", "truncate", "overwrite"])
def test_no_file_can_be_opened_or_changed(hostile, tmp_path, line):
    error, size = attack(hostile, tmp_path / "a.mp4", line)
    assert error.message in ("EPERM", "EACCES", "EBADF", "EINVAL")
    assert size == 0


def test_an_output_with_a_gap_is_refused(hostile, tmp_path):
    error, size = attack(hostile, tmp_path / "a.mp4", "gap")
    assert (error.code, size) == (FailureCode.DECODER_CRASHED, 0)


def test_an_output_that_never_ends_is_refused_at_the_limit(hostile, tmp_path):
    error, size = attack(hostile, tmp_path / "a.mp4", "flood", dataclasses.replace(OPTIONS, max_bytes=1 << 20))
    assert (error.code, size) == (FailureCode.TOO_LARGE, 1 << 20)


def test_a_codec_that_is_a_story_is_refused(hostile, tmp_path):
    error, _ = attack(hostile, tmp_path / "a.mp4", "nothing")
    assert "codec that is not a name" in error.message


def test_a_crash_is_a_failure_of_that_video(hostile, tmp_path):
    error, _ = attack(hostile, tmp_path / "a.mp4", "crash")
    assert error.code is FailureCode.DECODER_CRASHED
