"""Videos become chunks in order, and a video that fails becomes one failure and harms no other."""

import contextlib
import functools
import gc
import os
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, is_empty

from tests.support.decoding import look_up
from tests.support.videos import draw_video, number_of, numbered
from transforms.decoding import decode_videos
from transforms.decoding.decode_video import decode_or_fail
from transforms.decoding.decode_videos import DecodeVideos
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.reader import read_video
from transforms.decoding.samples import Samples
from transforms.failure_codes import FailureCode, Stage
from transforms.objects import REPLACED
from transforms.records import Failure, FrameChunk

SEEN = []
"""Items that a pipeline in this process has output, in order."""


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


class StepClock:
    """Advances by 100 ms each time it is read."""

    def __init__(self):
        self.now_sec = 0.0

    def __call__(self):
        self.now_sec += 0.1
        return self.now_sec


def run_decoding(paths, check, **options):
    """Decodes files in a pipeline, lets `check` add steps to it, and returns the metrics by name."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    decoded = pipeline | beam.Create([look_up(path) for path in paths], reshuffle=False) | DecodeVideos(**options)
    check(decoded)
    found = pipeline.run().metrics().query(MetricsFilter().with_namespace("repcount"))
    return {metric.key.metric.name: metric.committed for kind in ("counters", "distributions") for metric in found[kind]}


def outline(item):
    if isinstance(item, Failure):
        return Path(item.video.uri).name, item.stage, item.code
    return Path(item.video.uri).name, item.index, len(item.frames), item.facts is not None


def remember(item):
    SEEN.append(outline(item))


def remember_all(decoded):
    SEEN.clear()
    _ = decoded | beam.Map(remember)


def same_as(expected):
    def check(actual):
        assert sorted(actual, key=str) == sorted(expected, key=str)

    return check


def test_good_videos_become_chunks_and_bad_ones_failures(clip, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    faster = draw_video(tmp_path / "faster.mp4", 60, fps=60)
    expected = [
        ("clip.mp4", 0, 50, False),
        ("clip.mp4", 1, 30, True),
        ("faster.mp4", 0, 30, True),
        ("empty.mp4", Stage.DECODE, FailureCode.EMPTY_FILE),
        ("text.mp4", Stage.DECODE, FailureCode.NOT_A_VIDEO),
    ]
    metrics = run_decoding(
        [clip, tmp_path / "empty.mp4", tmp_path / "text.mp4", faster],
        lambda decoded: assert_that(decoded | beam.Map(outline), same_as(expected)),
        options=DecodingOptions(chunk_frames=50),
        clock=StepClock(),
    )
    assert metrics["frames_decoded"] == 140
    assert metrics["frames_sampled"] == 110
    assert metrics["decode_msec"].count == 4


def test_the_time_of_the_next_steps_does_not_count_as_decoding(clip):
    clock = StepClock()
    decode_fn = decode_videos._DecodeFn(DecodingOptions(chunk_frames=40), DecoderProcess, clock)
    decode_fn.setup()
    measured_msec = []
    decode_fn._decode_msec = type("Distribution", (), {"update": staticmethod(measured_msec.append)})
    for _ in decode_fn.process([look_up(clip)]):
        clock.now_sec += 1000
    decode_fn.teardown()
    assert measured_msec == [300]


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


@pytest.mark.parametrize("prefetch", [False, True])
def test_chunks_keep_their_order_with_and_without_prefetching(clip, tmp_path, prefetch):
    paths = [clip, *(draw_video(tmp_path / f"{number}.mp4", 70 + number, draw=numbered) for number in range(5))]
    (tmp_path / "empty.mp4").touch()
    options = DecodingOptions(chunk_frames=50)
    run_decoding([*paths, tmp_path / "empty.mp4"], remember_all, options=options, prefetch=prefetch)
    expected = [
        chunk
        for path, frames in zip(paths, (80, 70, 71, 72, 73, 74), strict=True)
        for chunk in ((path.name, 0, 50, False), (path.name, 1, frames - 50, True))
    ]
    assert [*expected, ("empty.mp4", Stage.DECODE, FailureCode.EMPTY_FILE)] == SEEN


def test_without_videos_nothing_is_decoded():
    metrics = run_decoding([], lambda decoded: assert_that(decoded, is_empty()))
    assert metrics == {}


@pytest.mark.parametrize("prefetch", [False, True])
def test_files_that_crash_or_hang_a_decoder_do_not_harm_other_videos(clip, tmp_path, prefetch):
    paths = [clip, tmp_path / "crash.mp4", tmp_path / "hang.mp4", draw_video(tmp_path / "other.mp4", 90), tmp_path / "grow.mp4"]
    for name in ("crash", "hang", "grow"):
        (tmp_path / f"{name}.mp4").write_text(f"{name.upper()}\n")
    options = DecodingOptions(chunk_frames=200, timeout_sec=3.0, max_memory_bytes=300 << 20)
    make_decoder = functools.partial(DecoderProcess, "tests.support.faulty_decoder_child")
    run_decoding(paths, remember_all, options=options, prefetch=prefetch, make_decoder=make_decoder)
    assert SEEN == [
        ("clip.mp4", 0, 80, True),
        ("crash.mp4", Stage.DECODE, FailureCode.DECODER_CRASHED),
        ("hang.mp4", Stage.DECODE, FailureCode.DECODE_TIMEOUT),
        ("other.mp4", 0, 90, True),
        ("grow.mp4", Stage.DECODE, FailureCode.DECODE_OUT_OF_MEMORY),
    ]
