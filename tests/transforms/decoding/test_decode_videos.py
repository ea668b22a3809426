"""Videos become chunks in order, and a video that fails becomes one failure and harms no other."""

import functools
import multiprocessing
import signal
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, is_empty

from tests.support.decoding import look_up
from tests.support.samples import UPDATED
from tests.support.scorers import DeadlyScorer
from tests.support.steps import StepClock, read_metrics, same_as
from tests.support.videos import draw_deadly, draw_video, encode_streams, numbered
from transforms.attempts import Attempts
from transforms.decoding import decode_videos
from transforms.decoding.decode_videos import DecodeVideos
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.records import Failure, VideoRef

OPTIONS = DecodingOptions()

SEEN = []
"""Items that a pipeline in this process has output, in order."""


def run_decoding(paths, check, *, options=OPTIONS, **settings):
    """Decodes files in a pipeline, lets `check` add steps to it, and returns the metrics by name."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    decoded = pipeline | beam.Create([look_up(path) for path in paths], reshuffle=False) | DecodeVideos(options, **settings)
    check(decoded)
    return read_metrics(pipeline.run())


def outline(item):
    if isinstance(item, Failure):
        return Path(item.video.uri).name, item.stage, item.code
    return Path(item.video.uri).name, item.index, len(item.frames), item.facts is not None


def remember(item):
    SEEN.append(outline(item))


def remember_all(decoded):
    SEEN.clear()
    _ = decoded | beam.Map(remember)


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
    decode_fn = decode_videos._DecodeFn(DecodingOptions(chunk_frames=40), DecoderProcess, clock, Attempts(), None)
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


@pytest.mark.parametrize("prefetch", [pytest.param(False, marks=pytest.mark.slow), True])
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


def work_on_bundle(paths, folder, output):
    """Does what a worker of the run `job` does with one bundle."""
    attempts = Attempts(str(folder), "job", "lite")
    decode_fn = decode_videos._DecodeFn(DecodingOptions(), DecoderProcess, time.monotonic, attempts, DeadlyScorer)
    decode_fn.setup()
    decode_fn.start_bundle()
    videos = [look_up(path) for path in paths]
    with open(output, "w") as lines:
        for first in range(0, len(videos), 3):
            for item in decode_fn.process(videos[first : first + 3]):
                if not isinstance(item, Failure):
                    DeadlyScorer().score(item.frames)
                lines.write(f"{outline(item)}\n")
    decode_fn.teardown()


@pytest.mark.slow
def test_a_bundle_that_kills_its_worker_fails_only_the_video_to_blame_when_beam_tries_it_the_third_time(tmp_path):
    paths = [draw_video(tmp_path / f"{number}.mp4", 70 + number) for number in range(5)]
    paths.insert(1, draw_deadly(tmp_path / "deadly.mp4"))
    bundle = paths, tmp_path / "attempts", tmp_path / "output"
    codes = []
    for _ in range(3):
        worker = multiprocessing.get_context("spawn").Process(target=work_on_bundle, args=bundle)
        worker.start()
        worker.join()
        codes.append(worker.exitcode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    expected = [(f"{number}.mp4", 0, 70 + number, True) for number in range(5)]
    expected.append(("deadly.mp4", Stage.DECODE, FailureCode.WORKER_DIED))
    assert sorted((tmp_path / "output").read_text().splitlines()) == sorted(map(str, expected))


def left_note(folder, path, attempt):
    Attempts(str(folder), "job", "lite")._write(attempt, [Attempts(counted_with="lite")._hash(look_up(path))])


def test_a_video_whose_workers_were_killed_by_something_else_is_tried_and_decoded(clip, tmp_path):
    left_note(tmp_path / "attempts", clip, 2)
    attempts = Attempts(str(tmp_path / "attempts"), "job", "lite")
    run_decoding([clip], remember_all, attempts=attempts, load_scorer=DeadlyScorer)
    assert SEEN == [("clip.mp4", 0, 80, True)]


def test_the_third_death_is_the_last(clip, tmp_path):
    left_note(tmp_path / "attempts", clip, 3)
    attempts = Attempts(str(tmp_path / "attempts"), "job", "lite")
    run_decoding([clip], remember_all, attempts=attempts, load_scorer=DeadlyScorer)
    assert [("clip.mp4", Stage.DECODE, FailureCode.WORKER_DIED)] == SEEN


def remember_sizes(batch):
    SEEN.append([video.size_bytes >> 20 for video in batch])


@pytest.mark.parametrize(
    ("prefetch", "expected"),
    [(False, [[1, 2, 3, 4], [5, 30], [30], [900], [1, 1]]), (True, [[1, 2, 3, 4], [5, 30, 30, 900], [1, 1]])],
)
def test_small_videos_share_a_note_and_large_ones_leave_the_next_to_other_threads(prefetch, expected):
    megabytes = (1, 2, 3, 4, 5, 30, 30, 900, 1, 1)
    videos = [VideoRef(f"gs://gym/{number}.mp4", 1, size << 20, UPDATED) for number, size in enumerate(megabytes)]
    SEEN.clear()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(videos, reshuffle=False) | decode_videos.batch_videos(prefetch) | beam.Map(remember_sizes)
    assert expected == SEEN


def test_videos_are_counted_by_whether_the_gpu_decodes_them(clip, tmp_path, monkeypatch):
    path = encode_streams(tmp_path / "a.mp4", [range(60)], codec="libx264")
    assert not any(name.startswith("nvdec") for name in run_decoding([clip, path], remember_all))
    monkeypatch.setattr("transforms.decoding.process.has_nvidia_gpu", lambda: False)
    options = DecodingOptions(decoder="nvdec")
    assert run_decoding([clip, path], remember_all, options=options)["nvdec_no_gpu"] == 2
    monkeypatch.setattr("transforms.decoding.process.has_nvidia_gpu", lambda: True)
    make_decoder = functools.partial(DecoderProcess, "tests.support.gpu_decoder_child")
    metrics = run_decoding([clip, path], remember_all, options=options, make_decoder=make_decoder)
    assert (metrics["nvdec_used"], metrics["nvdec_codec"]) == (1, 1)
