"""Videos become chunks in order, and a video that fails becomes one failure and harms no other."""

import functools
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, is_empty

from tests.support.decoding import look_up
from tests.support.videos import draw_video, numbered
from transforms.decoding import decode_videos
from transforms.decoding.decode_videos import DecodeVideos
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.records import Failure

SEEN = []
"""Items that a pipeline in this process has output, in order."""


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
    options = DecodingOptions(chunk_frames=200, timeout_sec=5.0, max_memory_bytes=300 << 20)
    make_decoder = functools.partial(DecoderProcess, "tests.support.faulty_decoder_child")
    run_decoding(paths, remember_all, options=options, prefetch=prefetch, make_decoder=make_decoder)
    assert SEEN == [
        ("clip.mp4", 0, 80, True),
        ("crash.mp4", Stage.DECODE, FailureCode.DECODER_CRASHED),
        ("hang.mp4", Stage.DECODE, FailureCode.DECODE_TIMEOUT),
        ("other.mp4", 0, 90, True),
        ("grow.mp4", Stage.DECODE, FailureCode.DECODE_OUT_OF_MEMORY),
    ]


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_machine_on_which_no_decoder_starts_fails_the_run_and_no_video(clip, prefetch):
    make_decoder = functools.partial(DecoderProcess, "tests.support.no_such_child")
    with pytest.raises(MachineFaultError, match="the decoder does not start on this machine"):
        run_decoding([clip], remember_all, prefetch=prefetch, make_decoder=make_decoder)
    assert SEEN == []
