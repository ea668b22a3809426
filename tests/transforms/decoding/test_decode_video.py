"""One video becomes chunks in order; whatever goes wrong becomes one failure, and no file stays open."""

import contextlib
import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from google.api_core import exceptions

from tests.support.decoding import look_up
from tests.support.samples import make_video
from tests.support.videos import number_of
from transforms.decoding import local_copy
from transforms.decoding.decode_video import decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_video
from transforms.decoding.samples import DecodeError, DecoderStartError, Samples
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.objects import REPLACED
from transforms.records import Failure, FrameChunk

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("chunk_frames", "lengths"), [(1000, [80]), (80, [80]), (79, [79, 1]), (40, [40, 40]), (32, [32, 32, 16])]
)
def test_all_chunks_are_full_except_the_last_which_carries_the_facts(clip, chunk_frames, lengths):
    chunks = list(decode_or_fail(look_up(clip), DecodingOptions(chunk_frames=chunk_frames), read_video))
    assert [len(chunk.frames) for chunk in chunks] == lengths
    assert [len(chunk.times_sec) for chunk in chunks] == lengths
    assert [chunk.index for chunk in chunks] == list(range(len(lengths)))
    assert [chunk.facts is not None for chunk in chunks] == [False] * (len(lengths) - 1) + [True]
    assert [number_of(frame) for chunk in chunks for frame in chunk.frames] == list(range(80))


@pytest.mark.parametrize(("below_fps", "expected"), [(0.0, 1), (20.0, 3)])
def test_all_chunks_of_a_slow_video_say_how_often_to_show_a_frame(clip, below_fps, expected):
    options = DecodingOptions(max_fps=10.0, repeat_below_fps=below_fps, chunk_frames=10)
    assert {chunk.repeats for chunk in decode_or_fail(look_up(clip), options, read_video)} == {expected}


def test_a_chunk_is_returned_before_the_next_is_decoded(clip):
    chunks = decode_or_fail(look_up(clip), DecodingOptions(chunk_frames=10), read_video)
    first = next(chunks)
    assert (first.index, first.facts) == (0, None)


def open_files():
    for path in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the folder itself is closed by now
            yield os.readlink(path)


def test_files_are_closed_after_a_success_a_failure_and_an_unfinished_video(clip, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"bad")
    options = DecodingOptions(chunk_frames=10)
    for path in (bad, clip, bad):
        list(decode_or_fail(look_up(path), options, read_video))
    unfinished = decode_or_fail(look_up(clip), options, read_video)
    next(unfinished)
    assert str(clip) in open_files()
    del unfinished
    gc.collect()
    assert not [name for name in open_files() if name in (str(clip), str(bad))]


@pytest.fixture
def copied(clip, tmp_path):
    """Path of a copy of `clip` that a test may change, and its `VideoRef`."""
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    return path, look_up(path)


def test_a_file_that_changes_after_it_was_opened_is_gone(copied):
    path, video = copied

    def read_late(file, options):
        os.utime(path, ns=(0, video.generation + 1))
        return read_video(file, options)

    (failure,) = decode_or_fail(video, DecodingOptions(), read_late)
    assert failure == Failure(video, Stage.DECODE, FailureCode.GONE, REPLACED)


def test_a_file_that_is_written_to_during_decoding_is_gone(copied):
    path, video = copied
    items = decode_or_fail(video, DecodingOptions(chunk_frames=50), read_video)
    assert isinstance(next(items), FrameChunk)
    os.utime(path, ns=(0, video.generation + 1))
    (failure,) = items
    assert failure == Failure(video, Stage.DECODE, FailureCode.GONE, REPLACED)


def test_a_file_that_is_replaced_by_renaming_is_read_to_its_end(copied, tmp_path):
    path, video = copied
    items = decode_or_fail(video, DecodingOptions(chunk_frames=50), read_video)
    next(items)
    (tmp_path / "new.mp4").write_bytes(b"new")
    (tmp_path / "new.mp4").rename(path)
    (last,) = items
    assert isinstance(last, FrameChunk)
    assert [number_of(frame) for frame in last.frames] == list(range(50, 80))


def test_an_unexpected_error_fails_only_its_video(clip):
    def read_badly(file, options):
        yield Samples(np.zeros((1, 112, 112, 3), np.uint8), np.zeros(1))
        raise RuntimeError("who\nknows")

    (chunk, failure) = decode_or_fail(look_up(clip), DecodingOptions(), read_badly)
    assert isinstance(chunk, FrameChunk)
    assert failure == Failure(look_up(clip), Stage.DECODE, FailureCode.READ_ERROR, "RuntimeError: who knows")


def test_an_unexpected_error_is_logged_in_one_line_with_a_traceback_for_debugging(clip, caplog):
    def read_badly(file, options):
        raise RuntimeError("who\nknows")

    caplog.set_level("DEBUG", logger="transforms.decoding.decode_video")
    list(decode_or_fail(look_up(clip), DecodingOptions(), read_badly))
    line, trace = caplog.records
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert line.getMessage() == f"Decoding {str(clip)!r} failed: RuntimeError: who knows"
    assert trace.levelname == "DEBUG"
    assert trace.exc_info


@pytest.mark.parametrize(
    ("name", "action"),
    [
        *((name, "copying or decoding") for name in ("ENOSPC", "EDQUOT", "EFBIG")),
        *((name, "reading") for name in ("EMFILE", "ENFILE", "ENOMEM", "EIO")),
    ],
)
def test_a_machine_that_runs_out_of_something_fails_no_video(monkeypatch, name, action):
    def fail(*args):
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(local_copy, "download", fail)
    with pytest.raises(
        MachineFaultError, match=rf"^{action} 'gs://gym/a.mp4' met a fault of the machine, not of the video: OSError: "
    ):
        list(decode_or_fail(make_video("gs://gym/a.mp4"), DecodingOptions(), read_video))


@pytest.mark.parametrize(
    ("error", "is_fault"),
    [
        (exceptions.ServiceUnavailable("503"), True),
        (exceptions.TooManyRequests("429"), True),
        (requests.ConnectionError("refused"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (exceptions.Forbidden("403"), False),
        (exceptions.NotFound("404"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_that_is_down_fails_no_video_and_an_object_that_is_refused_fails_its_own(monkeypatch, error, is_fault):
    def fail(*args):
        raise error

    monkeypatch.setattr(local_copy, "download", fail)
    items = decode_or_fail(make_video("gs://gym/a.mp4"), DecodingOptions(), read_video)
    if is_fault:
        with pytest.raises(MachineFaultError, match=type(error).__name__):
            list(items)
    else:
        (failure,) = items
        assert failure.code is FailureCode.READ_ERROR


def test_a_system_that_starts_no_process_fails_no_video(clip):
    def read_without_processes(file, options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.raises(MachineFaultError, match="Resource temporarily unavailable"):
        list(decode_or_fail(look_up(clip), DecodingOptions(), read_without_processes))


@pytest.mark.parametrize("failed_starts", [0, 2, 3])
def test_a_decoder_that_does_not_start_three_times_in_a_row_fails_no_video(clip, failed_starts):
    starts = []

    def read(file, options):
        starts.append(file)
        if len(starts) <= failed_starts:
            raise DecoderStartError
        yield from read_video(file, options)

    items = decode_or_fail(look_up(clip), DecodingOptions(), read)
    if failed_starts == 3:
        with pytest.raises(MachineFaultError, match="the decoder does not start on this machine"):
            list(items)
    else:
        assert [len(chunk.frames) for chunk in items] == [80]


def test_a_file_that_crashes_the_decoder_fails_its_video_though_a_connection_broke(clip):
    def crash(file, options):
        raise DecodeError(FailureCode.DECODER_CRASHED, "crashed") from ConnectionResetError()

    (failure,) = decode_or_fail(look_up(clip), DecodingOptions(), crash)
    assert failure.code is FailureCode.DECODER_CRASHED


def test_the_parent_of_the_decoder_process_loads_neither_beam_nor_ffmpeg_nor_opencv():
    script = "import sys, transforms.decoding.decode_video; print({'apache_beam', 'av', 'cv2', 'numpy'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "{'numpy'}\n"
