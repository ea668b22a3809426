"""Every frame of a video arrives upright, once, at its time, in bounded chunks; what is no video says why."""

import contextlib
import csv
import dataclasses
import datetime
import gc
import http.server
import io
import os
import pickle
import tempfile
import threading
import time
from pathlib import Path

import apache_beam as beam
import cv2
import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, is_empty

from tests.support.in_memory_fs import ShelfFileSystem
from tests.support.videos import (
    CODECS,
    SOUNDS,
    corner_marked,
    draw_video,
    encode_streams,
    make_streamable,
    number_of,
    numbered,
    record_silence,
    set_display_matrix,
    set_edit_sec,
    set_rotation,
    set_steps,
)
from transforms.decoding import decode_videos as decoding
from transforms.decoding.decode_videos import DecodeVideos, decode_video, local_file
from transforms.decoding.reader import DecodeError, DecodingOptions, FrameSampler, PresentationClock, Samples, read_video
from transforms.failure_codes import FailureCode, Stage
from transforms.objects import find_object
from transforms.records import Failure, FrameChunk, VideoRef

REALSET = Path(__file__).parents[4] / "shared" / "realset"

ORDER = []
"""What a pipeline in this process has seen, in order."""

NOWHERE = VideoRef("nowhere.mp4", 1, 2, datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))


def look_up(uri):
    video = find_object(str(uri))
    assert video is not None
    return video


def decode(path, **options):
    return list(decode_video(str(path), NOWHERE, DecodingOptions(**options)))


def decode_whole(path, **options):
    """Returns frames, times and facts of a whole video."""
    chunks = decode(path, **options)
    frames = np.concatenate([chunk.frames for chunk in chunks])
    return frames, np.concatenate([chunk.times_sec for chunk in chunks]), chunks[-1].facts


def code_of(path):
    with pytest.raises(DecodeError) as caught:
        decode(path)
    assert "\n" not in str(caught.value)
    return caught.value.code


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Eighty numbered frames at 30 fps."""
    return draw_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 80, draw=numbered)


def test_frames_arrive_in_order_and_none_is_lost(clip):
    frames, times_sec, facts = decode_whole(clip)
    assert frames.shape == (80, 112, 112, 3)
    assert frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == list(range(80))
    np.testing.assert_allclose(times_sec, np.arange(80) / 30, atol=1e-3)
    assert facts == dataclasses.replace(facts, width=64, height=48, codec="mpeg4", rotation_degrees=0, decoded_frames=80)
    assert facts.fps == pytest.approx(30)
    assert facts.duration_sec == pytest.approx(80 / 30)
    assert not facts.truncated
    assert not facts.variable_frame_rate


@pytest.mark.parametrize(
    ("chunk_frames", "lengths"), [(1000, [80]), (80, [80]), (79, [79, 1]), (40, [40, 40]), (32, [32, 32, 16])]
)
def test_chunks_are_full_but_the_last_which_carries_the_facts(clip, chunk_frames, lengths):
    chunks = decode(clip, chunk_frames=chunk_frames)
    assert [len(chunk.frames) for chunk in chunks] == lengths
    assert [len(chunk.times_sec) for chunk in chunks] == lengths
    assert [chunk.index for chunk in chunks] == list(range(len(lengths)))
    assert [chunk.facts is not None for chunk in chunks] == [False] * (len(lengths) - 1) + [True]
    assert [number_of(frame) for chunk in chunks for frame in chunk.frames] == list(range(80))


def test_frames_are_decoded_as_they_are_asked_for(clip):
    chunks = decode_video(str(clip), NOWHERE, DecodingOptions(chunk_frames=10))
    first = next(chunks)
    assert (first.index, first.facts) == (0, None)


def test_frame_is_the_mean_of_blocks_of_the_bilinear_reference_size(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 6)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    path = draw_video(tmp_path / "a.mkv", 1, size=(160, 90), draw=lambda index: picture)
    (frame,), _, _ = decode_whole(path)
    reference = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR).astype(float)
    expected = reference.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert np.abs(frame - expected).mean() < 3  # what coding in YUV costs


def test_colours_are_red_green_blue(tmp_path):
    colour = np.broadcast_to(np.array([200, 100, 30], np.uint8), (48, 64, 3))
    frames, _, _ = decode_whole(draw_video(tmp_path / "a.mp4", 3, draw=lambda index: colour))
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 2)), [200, 100, 30], atol=6)


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_container_is_read(tmp_path, suffix):
    frames, times_sec, facts = decode_whole(draw_video(tmp_path / f"a{suffix}", 60, draw=numbered))
    assert [number_of(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(times_sec, np.arange(60) / 30, atol=2e-3)
    assert facts.fps == pytest.approx(30, abs=0.05)
    assert not facts.truncated
    assert not facts.variable_frame_rate


def test_gif_is_read(tmp_path):
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(numbered(index), cv2.COLOR_RGB2BGRA) for index in range(20)]
    animation.durations = [100] * 20
    cv2.imwriteanimation(str(tmp_path / "a.gif"), animation)
    frames, _, facts = decode_whole(tmp_path / "a.gif")
    assert [number_of(frame) for frame in frames] == list(range(20))
    assert (facts.codec, facts.fps) == ("gif", pytest.approx(10))


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "FFV1")])
def test_grey_becomes_three_equal_channels(tmp_path, suffix, codec):
    path = draw_video(tmp_path / f"a{suffix}", 5, codec=codec, draw=lambda index: np.full((48, 64), 90, np.uint8))
    frames, _, _ = decode_whole(path)
    assert frames.shape == (5, 112, 112, 3)
    np.testing.assert_allclose(frames, 90, atol=4)


@pytest.mark.parametrize("size", [(2, 2), (1920, 16), (16, 1080), (66, 50), (640, 480)])
def test_any_size_becomes_the_networks_size(tmp_path, size):
    frames, _, facts = decode_whole(draw_video(tmp_path / "a.mkv", 4, size=size))
    assert frames.shape == (4, 112, 112, 3)
    assert (facts.width, facts.height) == size


def red_corner(frame):
    """Returns row and column of the quarter that is red."""
    quarters = frame.reshape(2, 56, 2, 56, 3).mean(axis=(1, 3))
    (corner,) = np.argwhere(quarters[..., 0] > 120).tolist()
    return corner


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((-1, 0, 0, 1), [0, 1]),
        ((1, 0, 0, -1), [1, 0]),
        ((0, 1, 1, 0), [0, 0]),
        ((0, -1, -1, 0), [1, 1]),
        ((0.7, 0.7, -0.7, 0.7), [0, 0]),  # askew: as it was filmed
        ((0, 0, 0, 0), [0, 0]),
    ],
    ids=str,
)
def test_a_mirrored_picture_is_upright(tmp_path, matrix, corner):
    frames, _, facts = decode_whole(set_display_matrix(draw_video(tmp_path / "a.mp4", 3, draw=corner_marked), *matrix))
    assert red_corner(frames[0]) == corner
    assert (facts.width, facts.height) == ((48, 64) if matrix[1] in (1, -1) else (64, 48))


@pytest.mark.parametrize(("degrees", "red_row", "red_column"), [(0, 0, 0), (90, 0, 1), (180, 1, 1), (270, 1, 0)], ids=str)
def test_rotation_is_applied_once(tmp_path, degrees, red_row, red_column):
    path = set_rotation(draw_video(tmp_path / "a.mp4", 3, draw=corner_marked), degrees)
    frames, _, facts = decode_whole(path)
    assert red_corner(frames[0]) == [red_row, red_column]
    assert facts.rotation_degrees == degrees
    assert (facts.width, facts.height) == ((48, 64) if degrees in (90, 270) else (64, 48))


@pytest.mark.parametrize("fps", [10, 23.976, 25, 29.97, 30, 31])
def test_nothing_is_lost_up_to_the_rate_asked_for(fps):
    thinner = FrameSampler(30)
    assert all(thinner.keeps(index / fps) for index in range(10_000))


def test_jitter_of_a_phone_loses_nothing():
    jitter_sec = np.random.default_rng(1).uniform(-0.003, 0.003, 3000)
    thinner = FrameSampler(30)
    assert all(thinner.keeps(time_sec) for time_sec in np.arange(3000) / 30 + 1 + jitter_sec)


@pytest.mark.parametrize("fps", [60, 59.94])
def test_of_60_fps_every_other_frame_is_kept(fps):
    thinner = FrameSampler(30)
    assert [thinner.keeps(index / fps) for index in range(1000)] == [True, False] * 500


@pytest.mark.parametrize("fps", [32, 36, 40, 48, 50, 72, 90, 100, 120, 144, 240, 1000])
def test_rate_stays_near_the_one_asked_for(fps):
    thinner = FrameSampler(30)
    kept_sec = np.array([index / fps for index in range(20 * fps) if thinner.keeps(index / fps)])
    assert len(kept_sec) / 20 <= 30 * 1.05 + 0.1
    assert np.diff(kept_sec).max() <= 2 / 30


def test_frames_are_thinned_by_time_when_the_rate_varies(tmp_path):
    steps_sec = [1 / 60] * 60 + [1 / 15] * 30
    path = set_steps(draw_video(tmp_path / "a.mp4", 90, draw=numbered), steps_sec)
    frames, times_sec, facts = decode_whole(path)
    assert [number_of(frame) for frame in frames] == [*range(0, 60, 2), *range(60, 90)]
    np.testing.assert_allclose(times_sec, np.cumsum([0, *steps_sec])[:90][[*range(0, 60, 2), *range(60, 90)]], atol=1e-3)
    assert facts.decoded_frames == 90
    assert facts.variable_frame_rate
    assert facts.fps == pytest.approx(90 / 3, rel=0.02)
    assert not facts.truncated


def test_thinning_can_be_turned_off(tmp_path):
    path = draw_video(tmp_path / "a.mp4", 60, fps=60, draw=numbered)
    assert len(decode_whole(path, max_fps=240)[0]) == 60
    frames, _, facts = decode_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(0, 60, 2))
    assert facts.fps == pytest.approx(60)


def present_all(container_sec, nominal_fps=25.0):
    clock = PresentationClock(nominal_fps)
    return clock, [clock.present(time_sec) for time_sec in container_sec]


def test_times_start_at_zero_and_keep_their_steps():
    clock, times_sec = present_all([0.152, 0.177, 0.210, 0.243])
    np.testing.assert_allclose(times_sec, [0, 0.025, 0.058, 0.091])
    assert clock.mean_step_sec == pytest.approx(0.091 / 3)
    assert not clock.is_variable


@pytest.mark.parametrize(
    "container_sec",
    [
        [0.04, 0.08, 0.12, 0.16, 0.20, 0.0],  # B-frames in AVI: the last time is missing
        [0.0] * 6,  # no times at all
        [None] * 6,
        [0.0, 0.04, 0.08, 0.0, 0.04, 0.08],  # two recordings joined
    ],
)
@pytest.mark.parametrize("nominal_fps", [25, 1000])
def test_time_that_does_not_go_up_is_a_step_after_the_one_before(container_sec, nominal_fps):
    _, times_sec = present_all(container_sec, nominal_fps)
    step_sec = 1 / 30 if nominal_fps == 1000 and not any(container_sec) else 1 / 25
    np.testing.assert_allclose(times_sec, np.arange(6) * step_sec)


def test_a_frame_without_a_time_is_no_new_beginning():
    clock = PresentationClock(60.0, restart_sec=10.0)
    times_sec = [clock.present(None if index % 3 == 1 else 5 + index / 30) for index in range(1800)]
    np.testing.assert_allclose(times_sec, np.arange(1800) / 30, atol=1 / 30)
    assert not clock.has_restarted


def test_times_in_the_order_of_coding_go_up_without_drifting():
    in_order_sec = np.arange(0, 40, 0.04)
    coded_sec = in_order_sec.reshape(-1, 4)[:, [0, 3, 1, 2]].ravel()
    _, times_sec = present_all(coded_sec)
    assert (np.diff(times_sec) > 0).all()
    np.testing.assert_allclose(times_sec, in_order_sec, atol=0.12)


@pytest.mark.parametrize(("nominal_fps", "step_sec"), [(25, 1 / 25), (1000, 1 / 30), (0, 1 / 30), (float("nan"), 1 / 30)])
def test_implausible_rate_in_the_header_is_not_believed(nominal_fps, step_sec):
    clock, times_sec = present_all([0.0, 0.0], nominal_fps)
    assert times_sec == [0.0, step_sec]
    assert clock.mean_step_sec == pytest.approx(step_sec)


def test_single_frame_is_a_video(tmp_path):
    frames, times_sec, facts = decode_whole(draw_video(tmp_path / "a.mp4", 1))
    assert (len(frames), times_sec.tolist()) == (1, [0.0])
    assert (facts.fps, facts.duration_sec) == (pytest.approx(30), pytest.approx(1 / 30))
    assert not facts.truncated


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".mkv", ".mp4", ".webm"])
def test_video_cut_short_is_read_as_far_as_it_goes(tmp_path, suffix):
    path = draw_video(tmp_path / f"a{suffix}", 90, draw=numbered)
    content = (make_streamable(path) if suffix == ".mp4" else path).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    frames, _, facts = decode_whole(path)
    assert 30 < len(frames) < 70
    assert [number_of(frame) for frame in frames[:-1]] == list(range(len(frames) - 1))
    assert facts.truncated


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".mkv", ".mp4"])
def test_video_that_breaks_off_near_its_end_is_flagged(tmp_path, suffix):
    path = draw_video(tmp_path / f"a{suffix}", 900)
    content = (make_streamable(path) if suffix == ".mp4" else path).read_bytes()
    assert not decode_whole(path)[2].truncated
    path.write_bytes(content[: len(content) * 9 // 10])
    assert decode_whole(path)[2].truncated


@pytest.mark.parametrize(
    ("suffix", "codec", "first_sec", "sound_sec"),
    [
        (".mkv", "ffv1", 0, 5),
        (".flv", "flv1", 0, 5),
        (".wmv", "wmv2", 0, 5),
        (".mkv", "ffv1", 10, 0),
        (".webm", "libvpx", 10, 0),
        (".flv", "flv1", 10, 0),
    ],
)
def test_sound_that_goes_on_and_a_late_start_are_no_truncation(tmp_path, suffix, codec, first_sec, sound_sec):
    path = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec, first_sec=first_sec, sound_sec=sound_sec)
    frames, times_sec, facts = decode_whole(path)
    assert (len(frames), times_sec[0]) == (60, 0)
    assert facts.duration_sec == pytest.approx(2, abs=0.01)
    assert not facts.truncated


def test_a_last_frame_that_is_held_is_no_truncation(tmp_path):
    path = set_steps(draw_video(tmp_path / "a.mp4", 30), [1 / 30] * 29 + [3.0])
    assert not decode_whole(path)[2].truncated


def test_frames_that_the_decoder_made_up_are_flagged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 240, 320, 3)).astype(np.uint8)
    path = draw_video(tmp_path / "a.ts", 60, size=(320, 240), draw=lambda index: noise[index])
    assert not decode_whole(path)[2].truncated
    packets = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188)
    path.write_bytes(np.delete(packets, np.arange(20, len(packets), 40), axis=0).tobytes())
    frames, _, facts = decode_whole(path)
    assert len(frames) == 60
    assert facts.truncated


@pytest.mark.parametrize("first_sec", [(100.0, 1.4), (1.4, 100.0), (0.0, 20_000.0)])
def test_recordings_that_were_joined_are_as_long_as_both(tmp_path, first_sec):
    parts = [encode_streams(tmp_path / f"{sec}.ts", [range(60)], "mpeg2video", first_sec=sec) for sec in first_sec]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, times_sec, facts = decode_whole(tmp_path / "a.ts")
    assert [number_of(frame) for frame in frames] == [*range(60), *range(60)]
    np.testing.assert_allclose(times_sec, np.arange(120) / 30, atol=0.002)
    assert (facts.fps, facts.truncated) == (pytest.approx(30), False)


def test_video_without_its_index_is_named(tmp_path):
    path = draw_video(tmp_path / "a.mp4", 90)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert code_of(path) is FailureCode.NOT_A_VIDEO


def test_video_goes_on_after_damage(tmp_path):
    path = draw_video(tmp_path / "a.mkv", 90, draw=numbered)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(content)
    frames, _, facts = decode_whole(path)
    assert [number_of(frames[0]), number_of(frames[-1])] == [0, 89]
    assert facts.decoded_frames == len(frames) == 89
    assert facts.truncated


def test_edit_list_that_hides_most_is_no_truncation(tmp_path):
    path = set_edit_sec(draw_video(tmp_path / "a.mp4", 300), 2.0)
    frames, _, facts = decode_whole(path)
    assert len(frames) == 60
    assert not facts.truncated


def test_empty_file_is_named(tmp_path):
    (tmp_path / "a.mp4").touch()
    assert code_of(tmp_path / "a.mp4") is FailureCode.EMPTY_FILE


def test_missing_file_is_gone(tmp_path):
    assert code_of(tmp_path / "a.mp4") is FailureCode.GONE


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_a_read_error(tmp_path, make):
    make(tmp_path / "a.mp4")
    assert code_of(tmp_path / "a.mp4") is FailureCode.READ_ERROR


@pytest.mark.parametrize(
    "content",
    [b"\0", b"\0" * 10_000, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"<html></html>", os.urandom(5000)],
    ids=["one byte", "zeros", "git lfs pointer", "page", "noise"],
)
def test_what_is_no_video_is_named(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert code_of(tmp_path / "a.mp4") is FailureCode.NOT_A_VIDEO


def test_video_that_got_no_frame_is_named(tmp_path):
    path = draw_video(tmp_path / "a.avi", 30)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    assert code_of(path) is FailureCode.NO_FRAMES


@pytest.mark.parametrize(
    "name", ["img_%03d.mp4", "concat:a.mp4", "new\nline.mp4", "-i.mp4", "http:..mp4", os.fsdecode(b"\xff.mp4")]
)
def test_name_means_nothing_to_the_decoder(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert len(decode_whole(name)[0]) == 80


@pytest.fixture
def server_hits():
    """Port of a server on this machine, and the paths that were asked of it."""
    hits = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_error(404)

        def log_message(self, format, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1], hits
        server.shutdown()
        thread.join()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".mpd", ".sdp"])
@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
def test_playlist_opens_no_file_and_no_address(clip, tmp_path, server_hits, kind, suffix):
    port, hits = server_hits
    for target in (str(clip), clip.name, f"http://127.0.0.1:{port}/a.ts"):
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
        path = tmp_path / f"playlist{suffix}"
        path.write_text(PLAYLISTS[kind].format(target=target))
        assert code_of(path) is FailureCode.NOT_A_VIDEO
    assert hits == []


def test_picture_sequence_is_not_opened(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"img_{index:03d}.png"), numbered(index))
    assert code_of(tmp_path / "img_%03d.png") is FailureCode.GONE
    assert code_of(tmp_path / "img_000.png") is FailureCode.NOT_A_VIDEO


def test_damaged_file_prints_nothing(tmp_path, capfd):
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    code_of(tmp_path / "a.mp4")
    assert capfd.readouterr() == ("", "")


def open_files():
    for path in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the folder itself is closed by now
            yield os.readlink(path)


def test_files_are_closed(clip, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    code_of(tmp_path / "bad.mp4")
    decode(clip)
    code_of(tmp_path / "bad.mp4")
    unfinished = decode_video(str(clip), NOWHERE, DecodingOptions(chunk_frames=10))
    next(unfinished)
    del unfinished
    gc.collect()
    assert not [name for name in open_files() if name in (str(clip), str(tmp_path / "bad.mp4"))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_fps": 0}, "max_fps .* Received: 0"),
        ({"max_fps": float("inf")}, "max_fps .* Received: inf"),
        ({"chunk_frames": 0}, "chunk_frames .* Received: 0"),
        ({"decoder_threads": -1}, "decoder_threads .* Received: -1"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**options)


def test_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError(FailureCode.GONE, "why")))
    assert (error.code, str(error)) == (FailureCode.GONE, "why")


def test_local_file_is_read_in_place(clip):
    with local_file(look_up(clip)) as path:
        assert path == str(clip)


def test_file_that_was_replaced_is_gone(clip, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    video = look_up(path)
    os.utime(path, ns=(0, video.generation + 1))
    with pytest.raises(DecodeError, match="replaced") as caught, local_file(video):
        pass
    assert caught.value.code is FailureCode.GONE


def copy_of(clip, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    return path, look_up(path)


def test_file_that_is_replaced_between_looking_and_opening_is_gone(clip, tmp_path):
    path, video = copy_of(clip, tmp_path)

    def read_late(file, options):
        os.utime(path, ns=(0, video.generation + 1))
        return read_video(file, options)

    (failure,) = decoding.decode_or_fail(video, DecodingOptions(), read_late)
    assert failure == Failure(video, Stage.DECODE, FailureCode.GONE, decoding._REPLACED)


def test_file_that_is_written_to_while_it_is_decoded_is_gone(clip, tmp_path):
    path, video = copy_of(clip, tmp_path)
    items = decoding.decode_or_fail(video, DecodingOptions(chunk_frames=50))
    assert isinstance(next(items), FrameChunk)
    os.utime(path, ns=(0, video.generation + 1))
    (failure,) = items
    assert failure == Failure(video, Stage.DECODE, FailureCode.GONE, decoding._REPLACED)


def test_file_that_another_takes_the_place_of_is_read_to_its_end(clip, tmp_path):
    path, video = copy_of(clip, tmp_path)
    items = decoding.decode_or_fail(video, DecodingOptions(chunk_frames=50))
    next(items)
    (tmp_path / "new.mp4").write_bytes(b"new")
    (tmp_path / "new.mp4").rename(path)
    (last,) = items
    assert isinstance(last, FrameChunk)
    assert [number_of(frame) for frame in last.frames] == list(range(50, 80))


@pytest.fixture
def shelf(clip, monkeypatch, tmp_path):
    monkeypatch.setattr(ShelfFileSystem, "shelf", {"shelf://gym/a[1].mp4": (clip.read_bytes(), 7.0)})
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_remote_file_is_copied_and_leaves_nothing_behind(shelf, clip):
    with local_file(look_up("shelf://gym/a[1].mp4")) as path:
        assert Path(path).read_bytes() == clip.read_bytes()
        assert len(decode_whole(path)[0]) == 80
        assert list(shelf.iterdir()) == []
    assert not Path(path).exists()


def test_remote_file_that_changed_or_went_is_gone(shelf):
    video = look_up("shelf://gym/a[1].mp4")
    ShelfFileSystem.shelf["shelf://gym/a[1].mp4"] = (b"other", 8.0)
    with pytest.raises(DecodeError, match="replaced"), local_file(video):
        pass
    del ShelfFileSystem.shelf["shelf://gym/a[1].mp4"]
    with pytest.raises(DecodeError, match="deleted"), local_file(video):
        pass


@pytest.mark.usefixtures("shelf")
def test_remote_file_that_is_replaced_while_it_is_copied_is_gone(monkeypatch):
    video = look_up("shelf://gym/a[1].mp4")

    def replace(video, copy, max_bytes):
        ShelfFileSystem.shelf["shelf://gym/a[1].mp4"] = (b"other", 8.0)

    monkeypatch.setattr(decoding, "_copy", replace)
    with pytest.raises(DecodeError, match="replaced"), local_file(video):
        pass


@pytest.mark.usefixtures("shelf")
def test_missing_temporary_folder_does_not_make_a_video_gone(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(DecodeError, match="FileNotFoundError") as caught, local_file(look_up("shelf://gym/a[1].mp4")):
        pass
    assert caught.value.code is FailureCode.READ_ERROR


class BrokenStream(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        raise ConnectionError("the line\nis down")


@pytest.mark.usefixtures("shelf")
def test_remote_file_that_cannot_be_read_is_a_read_error(monkeypatch):
    monkeypatch.setattr(ShelfFileSystem, "open", lambda self, path, mime_type="", compression_type="": BrokenStream())
    with pytest.raises(DecodeError) as caught, local_file(look_up("shelf://gym/a[1].mp4")):
        pass
    assert caught.value.code is FailureCode.READ_ERROR
    assert caught.value.message == "ConnectionError: the line is down"


@pytest.mark.usefixtures("shelf")
def test_full_disk_is_a_read_error_of_the_video(monkeypatch):
    def fail(video, copy, max_bytes):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoding, "_copy", fail)
    with pytest.raises(DecodeError, match="No space left on device") as caught, local_file(look_up("shelf://gym/a[1].mp4")):
        pass
    assert caught.value.code is FailureCode.READ_ERROR


class StepClock:
    """Passes 100 ms each time it is read."""

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
    ORDER.append(outline(item))


def same_as(expected):
    def check(actual):
        assert sorted(actual, key=str) == sorted(expected, key=str)

    return check


def test_pipeline_gives_chunks_of_good_videos_and_failures_of_bad_ones(clip, tmp_path):
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


def test_time_spent_on_the_chunks_downstream_is_not_decoding(clip):
    clock = StepClock()

    def dawdle(item):
        clock.now_sec += 1000
        return item

    decode_fn = decoding._DecodeFn(DecodingOptions(chunk_frames=40), read_video, clock)
    decode_fn.setup()
    measured: list[int] = []
    decode_fn._decode_msec = type("Distribution", (), {"update": staticmethod(measured.append)})
    for item in decode_fn.process([look_up(clip)]):
        dawdle(item)
    assert measured == [300]


def test_error_that_nobody_thought_of_fails_its_video_only(clip):
    def read_badly(file, options):
        yield Samples(np.zeros((1, 112, 112, 3), np.uint8), np.zeros(1))
        raise RuntimeError("who\nknows")

    (chunk, failure) = decoding.decode_or_fail(look_up(clip), DecodingOptions(), read_badly)
    assert isinstance(chunk, FrameChunk)
    assert failure == Failure(look_up(clip), Stage.DECODE, FailureCode.READ_ERROR, "RuntimeError: who knows")


def test_error_is_told_in_one_line_and_traced_for_those_who_debug(clip, caplog):
    def read_badly(file, options):
        raise RuntimeError("who\nknows")

    caplog.set_level("DEBUG", logger="transforms.decoding.decode_videos")
    list(decoding.decode_or_fail(look_up(clip), DecodingOptions(), read_badly))
    line, trace = caplog.records
    assert (line.levelname, line.exc_info) == ("INFO", None)
    assert line.getMessage() == f"Decoding {str(clip)!r} failed: RuntimeError: who knows"
    assert trace.levelname == "DEBUG"
    assert trace.exc_info


@pytest.mark.parametrize("ahead", [False, True])
def test_the_order_of_a_videos_chunks_is_kept_with_and_without_looking_ahead(clip, tmp_path, ahead):
    paths = [clip, *(draw_video(tmp_path / f"{number}.mp4", 70 + number, draw=numbered) for number in range(5))]
    (tmp_path / "empty.mp4").touch()

    def check(decoded):
        _ = decoded | beam.Map(remember)

    ORDER.clear()
    run_decoding([*paths, tmp_path / "empty.mp4"], check, options=DecodingOptions(chunk_frames=50), ahead=ahead)
    expected = [
        chunk
        for path, frames in zip(paths, (80, 70, 71, 72, 73, 74), strict=True)
        for chunk in ((path.name, 0, 50, False), (path.name, 1, frames - 50, True))
    ]
    assert [*expected, ("empty.mp4", Stage.DECODE, FailureCode.EMPTY_FILE)] == ORDER


def test_no_video_is_no_work():
    metrics = run_decoding([], lambda decoded: assert_that(decoded, is_empty()))
    assert metrics == {}


def labels():
    with (REALSET / "labels.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.skipif(not REALSET.exists(), reason="the development set is not here")
def test_real_clips_have_the_frames_rates_and_sizes_of_their_labels():
    for label in labels():
        frames, times_sec, facts = decode_whole(REALSET / "clips" / label["file"])
        name, rotation_degrees = label["file"], int(label["rotation"])
        assert (name, facts.decoded_frames) == (name, int(label["n_frames"]))
        assert (name, facts.fps) == (name, pytest.approx(float(label["fps"]), abs=0.02))
        assert (name, facts.duration_sec) == (name, pytest.approx(float(label["duration_s"]), abs=0.05))
        size = (int(label["width"]), int(label["height"]))
        assert (name, facts.width, facts.height) == (name, *(size if rotation_degrees == 0 else size[::-1]))
        assert (name, facts.rotation_degrees) == (name, rotation_degrees)
        assert (name, len(frames)) == (name, 394 if facts.fps > 59 else facts.decoded_frames)
        assert (np.diff(times_sec) > 0).all()
        assert (name, facts.truncated) == (name, False)
        assert (name, facts.variable_frame_rate) == (name, name.endswith(".webm"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("zero_bytes.avi", FailureCode.EMPTY_FILE),
        ("avi_header_only.avi", FailureCode.NO_FRAMES),
        ("git_lfs_pointer.mp4", FailureCode.NOT_A_VIDEO),
        ("appledouble.gif", FailureCode.NOT_A_VIDEO),
    ],
)
@pytest.mark.skipif(not REALSET.exists(), reason="the development set is not here")
def test_real_file_that_is_broken_is_named(name, code):
    assert code_of(REALSET / "odd" / name) is code


@pytest.mark.skipif(not REALSET.exists(), reason="the development set is not here")
def test_real_video_with_a_bad_packet_is_read_on_behind_it():
    frames, _, facts = decode_whole(REALSET / "odd" / "corrupt_half_way.mp4")
    assert len(frames) == 49
    assert facts.truncated


LIMITS = [
    ({"max_bytes": 1000}, FailureCode.TOO_LARGE, "the file has .* bytes, more than 1,000"),
    ({"max_pixels": 3000}, FailureCode.TOO_LARGE, "a frame of 64×48 has more than 3,000 pixels"),
    ({"max_sec": 2.0}, FailureCode.TOO_LONG, "the video is longer than 2 s"),
    ({"max_frames": 70}, FailureCode.TOO_LONG, "the video has more than 70 frames"),
]


@pytest.mark.parametrize(("limit", "code", "message"), LIMITS, ids=lambda value: str(value)[:20])
def test_a_video_beyond_a_limit_is_named(clip, limit, code, message):
    with pytest.raises(DecodeError, match=message) as caught:
        decode(clip, **limit)
    assert caught.value.code is code


@pytest.mark.usefixtures("shelf")
def test_a_remote_file_that_is_too_large_is_not_copied(monkeypatch):
    video = look_up("shelf://gym/a[1].mp4")
    monkeypatch.setattr(decoding, "_copy", None)
    with pytest.raises(DecodeError, match="more than 100") as caught, local_file(video, max_bytes=100):
        pass
    assert caught.value.code is FailureCode.TOO_LARGE


@pytest.mark.usefixtures("shelf")
def test_a_remote_file_that_is_larger_than_listed_is_not_copied_to_its_end():
    video = dataclasses.replace(look_up("shelf://gym/a[1].mp4"), size_bytes=1)
    with pytest.raises(DecodeError, match="more than 100") as caught, local_file(video, max_bytes=100):
        pass
    assert caught.value.code is FailureCode.TOO_LARGE


def test_the_first_stream_with_frames_is_read(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [[], range(40, 60), range(70)])
    frames, _, facts = decode_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(40, 60))
    assert facts.decoded_frames == 20


@pytest.mark.parametrize(
    ("suffix", "codec", "name", "pixels"),
    [
        (".mp4", "libx264", "h264", "yuv420p"),
        (".mp4", "libx264", "h264", "yuv420p10le"),
        (".avi", "libx264", "h264", "yuv420p"),
        (".ts", "libx264", "h264", "yuv422p"),
        (".mov", "libx265", "hevc", "yuv420p"),
        (".mov", "libx265", "hevc", "yuv420p10le"),
        (".webm", "libvpx-vp9", "vp9", "yuv420p"),
        (".webm", "libsvtav1", "av1", "yuv420p10le"),
        (".mkv", "mpeg2video", "mpeg2video", "yuv420p"),
    ],
)
def test_codec_of_phones_and_browsers_is_read(tmp_path, suffix, codec, name, pixels):
    path = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec, pixels)
    frames, times_sec, facts = decode_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(times_sec, np.arange(60) / 30, atol=2e-3)
    assert (facts.codec, facts.decoded_frames, facts.truncated) == (name, 60, False)


def test_a_title_in_another_alphabet_is_no_hindrance(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(20)], title="A" * 8)
    content = path.read_bytes()
    assert b"A" * 8 in content
    path.write_bytes(content.replace(b"A" * 8, b"\xff" * 8))
    assert len(decode_whole(path)[0]) == 20


@pytest.mark.parametrize("suffix", sorted(SOUNDS))
def test_a_file_of_sound_is_named(tmp_path, suffix):
    assert code_of(record_silence(tmp_path / f"sound.{suffix}")) is FailureCode.NO_VIDEO_STREAM


def test_an_object_is_read_from_its_bucket_and_leaves_nothing_behind(cloud, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = cloud.upload("day/a b#1.mp4", clip.read_bytes())
    with local_file(look_up(uri)) as path:
        assert Path(path).read_bytes() == clip.read_bytes()
        assert len(decode_whole(path)[0]) == 80
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_went_while_it_was_looked_at_is_gone(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=404, reason="notFound")
    with pytest.raises(DecodeError, match="replaced") as caught, local_file(video):
        pass
    assert caught.value.code is FailureCode.GONE
    (request,) = (request for request in cloud.storage.requests if "alt=media" in request.path)
    assert f"generation={video.generation}" in request.path


def test_an_object_that_may_not_be_read_is_a_read_error(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=403, reason="forbidden")
    with pytest.raises(DecodeError, match="Forbidden") as caught, local_file(video):
        pass
    assert caught.value.code is FailureCode.READ_ERROR


def test_a_download_that_breaks_off_for_a_moment_goes_on(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=503, times=2)
    with local_file(video) as path:
        assert Path(path).read_bytes() == clip.read_bytes()


class TestAhead:
    def test_an_error_comes_to_who_takes_the_items(self):
        def items():
            yield 1
            raise KeyError("who knows")

        with decoding._started(items()) as ahead:
            assert next(ahead) == 1
            with pytest.raises(KeyError, match="who knows"):
                next(ahead)

    def test_the_next_item_is_fetched_and_no_more(self):
        fetched = []

        def items():
            for number in range(5):
                fetched.append(number)
                yield number

        with decoding._started(items()) as ahead:
            assert next(ahead) == 0
            time.sleep(0.3)
            assert fetched == [0, 1, 2]
            assert list(ahead) == [1, 2, 3, 4]

    def test_who_takes_no_more_ends_the_fetching(self):
        closed = []

        def items():
            try:
                while True:
                    yield 1
            finally:
                closed.append(True)

        with decoding._started(items()) as ahead:
            next(ahead)
        assert closed == [True]
