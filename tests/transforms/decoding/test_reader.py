"""Every frame of a video is read once, upright and at its time; a file that is not a video says why."""

import ast
import csv
import dataclasses
import http.server
import os
import re
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.decoding import read_error, read_samples, read_whole
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
from transforms.decoding import reader
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_pictures
from transforms.decoding.samples import DecodeError
from transforms.decoding.video_facts import VideoHeader
from transforms.failure_codes import FailureCode

ROOT = Path(__file__).parents[3]

THUMBNAILS = ROOT / "pipeline" / "report" / "thumbnails.py"

REPEATED_FRAMES = Path(__file__).with_name("repeated_frames.ogv")
"""The start of a Theora video: 24 frames, of which nine empty packets repeat the one before."""

REALSET = ROOT.parent / "shared" / "realset"


def test_all_frames_arrive_in_order(clip):
    frames, times_sec, facts = read_whole(clip)
    assert frames.shape == (80, 112, 112, 3)
    assert frames.dtype == np.uint8
    assert [number_of(frame) for frame in frames] == list(range(80))
    np.testing.assert_allclose(times_sec, np.arange(80) / 30, atol=1e-3)
    assert facts == dataclasses.replace(facts, width=64, height=48, codec="mpeg4", rotation_degrees=0, decoded_frames=80)
    assert facts.fps == pytest.approx(30)
    assert facts.duration_sec == pytest.approx(80 / 30)
    assert not facts.truncated
    assert not facts.variable_frame_rate


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_the_header_tells_size_codec_rate_and_duration(tmp_path, suffix):
    path = draw_video(tmp_path / f"a{suffix}", 120)
    _, _, facts = read_whole(path)
    with open(path, "rb") as file:
        header = reader.read_header(file)
    assert header == VideoHeader(64, 48, facts.codec, 30.0, pytest.approx(4.0, abs=0.3))


def test_the_header_is_that_of_the_stream_that_is_read(tmp_path):
    path = encode_streams(tmp_path / "a.mp4", [[5], range(90), range(30)], "mpeg4", default=1)
    with open(path, "rb") as file:
        assert reader.read_header(file).duration_sec == pytest.approx(3.0, abs=0.1)


def test_no_frame_behind_the_header_is_needed(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    (tmp_path / "a.mp4").write_bytes(data)
    with open(tmp_path / "a.mp4", "rb") as file:
        assert reader.read_header(file).duration_sec == pytest.approx(80 / 30)


def test_a_file_that_declares_no_duration_has_a_header_without_one(tmp_path):
    path = encode_streams(tmp_path / "a.m4v", [range(30)], "mpeg4", container_format="m4v")
    with open(path, "rb") as file:
        assert reader.read_header(file).duration_sec == 0.0


@pytest.mark.parametrize(("content", "code"), [(b"no video", FailureCode.NOT_A_VIDEO), (b"fLaC", FailureCode.NO_VIDEO_STREAM)])
def test_a_file_without_a_video_has_no_header(tmp_path, content, code):
    (tmp_path / "a.mp4").write_bytes(content)
    with open(tmp_path / "a.mp4", "rb") as file, pytest.raises(DecodeError) as caught:
        reader.read_header(file)
    assert caught.value.code is code


def test_a_frame_is_resized_as_the_authors_of_repnet_do(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 6)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    path = draw_video(tmp_path / "a.mkv", 1, size=(160, 90), draw=lambda index: picture)
    (frame,), _, _ = read_whole(path)
    reference = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_LINEAR).astype(float)
    expected = reference.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert np.abs(frame - expected).mean() < 3  # the error of coding in YUV


def test_channels_are_red_green_blue(tmp_path):
    colour = np.broadcast_to(np.array([200, 100, 30], np.uint8), (48, 64, 3))
    frames, _, _ = read_whole(draw_video(tmp_path / "a.mp4", 3, draw=lambda index: colour))
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 2)), [200, 100, 30], atol=6)


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_every_container_is_read(tmp_path, suffix):
    frames, times_sec, facts = read_whole(draw_video(tmp_path / f"a{suffix}", 60, draw=numbered))
    assert [number_of(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(times_sec, np.arange(60) / 30, atol=2e-3)
    assert facts.fps == pytest.approx(30, abs=0.05)
    assert not facts.truncated
    assert not facts.variable_frame_rate


def test_a_gif_is_read(tmp_path):
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(numbered(index), cv2.COLOR_RGB2BGRA) for index in range(20)]
    animation.durations = [100] * 20
    cv2.imwriteanimation(str(tmp_path / "a.gif"), animation)
    frames, _, facts = read_whole(tmp_path / "a.gif")
    assert [number_of(frame) for frame in frames] == list(range(20))
    assert (facts.codec, facts.fps) == ("gif", pytest.approx(10))


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "FFV1")])
def test_grey_becomes_three_equal_channels(tmp_path, suffix, codec):
    path = draw_video(tmp_path / f"a{suffix}", 5, codec=codec, draw=lambda index: np.full((48, 64), 90, np.uint8))
    frames, _, _ = read_whole(path)
    assert frames.shape == (5, 112, 112, 3)
    np.testing.assert_allclose(frames, 90, atol=4)


@pytest.mark.parametrize("size", [(2, 2), (1920, 16), (16, 1080), (66, 50), (640, 480)])
def test_any_size_becomes_the_size_of_the_network(tmp_path, size):
    frames, _, facts = read_whole(draw_video(tmp_path / "a.mkv", 4, size=size))
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
        ((0.7, 0.7, -0.7, 0.7), [0, 0]),  # tilted: ignored
        ((0, 0, 0, 0), [0, 0]),
    ],
    ids=str,
)
def test_a_mirrored_picture_is_turned_upright(tmp_path, matrix, corner):
    frames, _, facts = read_whole(set_display_matrix(draw_video(tmp_path / "a.mp4", 3, draw=corner_marked), *matrix))
    assert red_corner(frames[0]) == corner
    assert (facts.width, facts.height) == ((48, 64) if matrix[1] in (1, -1) else (64, 48))


@pytest.mark.parametrize(("degrees", "red_row", "red_column"), [(0, 0, 0), (90, 0, 1), (180, 1, 1), (270, 1, 0)], ids=str)
def test_rotation_is_applied_once(tmp_path, degrees, red_row, red_column):
    path = set_rotation(draw_video(tmp_path / "a.mp4", 3, draw=corner_marked), degrees)
    frames, _, facts = read_whole(path)
    assert red_corner(frames[0]) == [red_row, red_column]
    assert facts.rotation_degrees == degrees
    assert (facts.width, facts.height) == ((48, 64) if degrees in (90, 270) else (64, 48))


def test_frames_are_sampled_by_time_if_the_rate_varies(tmp_path):
    steps_sec = [1 / 60] * 60 + [1 / 15] * 30
    path = set_steps(draw_video(tmp_path / "a.mp4", 90, draw=numbered), steps_sec)
    frames, times_sec, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == [*range(0, 60, 2), *range(60, 90)]
    np.testing.assert_allclose(times_sec, np.cumsum([0, *steps_sec])[:90][[*range(0, 60, 2), *range(60, 90)]], atol=1e-3)
    assert facts.decoded_frames == 90
    assert facts.variable_frame_rate
    assert facts.fps == pytest.approx(90 / 3, rel=0.02)
    assert not facts.truncated


def test_a_higher_max_fps_keeps_all_frames(tmp_path):
    path = draw_video(tmp_path / "a.mp4", 60, fps=60, draw=numbered)
    assert len(read_whole(path, max_fps=240)[0]) == 60
    frames, _, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(0, 60, 2))
    assert facts.fps == pytest.approx(60)


def test_a_single_frame_is_a_video(tmp_path):
    frames, times_sec, facts = read_whole(draw_video(tmp_path / "a.mp4", 1))
    assert (len(frames), times_sec.tolist()) == (1, [0.0])
    assert (facts.fps, facts.duration_sec) == (pytest.approx(30), pytest.approx(1 / 30))
    assert not facts.truncated


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".mkv", ".mp4", ".webm"])
def test_a_video_that_was_cut_is_read_as_far_as_it_goes(tmp_path, suffix):
    path = draw_video(tmp_path / f"a{suffix}", 90, draw=numbered)
    content = (make_streamable(path) if suffix == ".mp4" else path).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    frames, _, facts = read_whole(path)
    assert 30 < len(frames) < 70
    assert [number_of(frame) for frame in frames[:-1]] == list(range(len(frames) - 1))
    assert facts.truncated


@pytest.mark.parametrize("decoder_threads", [2, 4])
def test_more_threads_read_the_same_frames_of_a_video_that_was_cut(tmp_path, decoder_threads):
    path = make_streamable(encode_streams(tmp_path / "a.mp4", [range(90)], "libx264"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    frames, times_sec, facts = read_whole(path, chunk_frames=16, decoder_threads=1)
    assert facts.truncated
    parallel_frames, parallel_times_sec, parallel_facts = read_whole(path, chunk_frames=16, decoder_threads=decoder_threads)
    np.testing.assert_array_equal(parallel_frames, frames)
    np.testing.assert_array_equal(parallel_times_sec, times_sec)
    assert parallel_facts == facts
    with path.open("rb") as file:
        pictures = list(read_pictures(file, DecodingOptions(decoder_threads=decoder_threads)))
    np.testing.assert_array_equal([picture.time_sec for picture in pictures], times_sec)


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".mkv", ".mp4"])
def test_a_video_cut_near_its_end_is_flagged(tmp_path, suffix):
    path = draw_video(tmp_path / f"a{suffix}", 900)
    content = (make_streamable(path) if suffix == ".mp4" else path).read_bytes()
    assert not read_whole(path)[2].truncated
    path.write_bytes(content[: len(content) * 9 // 10])
    assert read_whole(path)[2].truncated


@pytest.mark.parametrize(
    ("suffix", "codec", "first_sec", "sound_sec"),
    [
        (".mkv", "ffv1", 0, 5),
        (".flv", "flv1", 0, 5),
        (".wmv", "wmv2", 0, 5),
        (".mkv", "ffv1", 10, 0),
        (".mkv", "ffv1", 10, 8),
        (".mkv", "ffv1", 10, 16),
        (".wmv", "wmv2", 10, 0),
        (".wmv", "wmv2", 10, 8),
        (".flv", "flv1", 10, 8),
        (".mp4", "mpeg4", 10, 16),
        (".ts", "mpeg2video", 10, 0),
        (".ts", "mpeg2video", 10, 16),
        (".webm", "libvpx", 10, 0),
        (".flv", "flv1", 10, 0),
    ],
)
def test_longer_sound_and_a_late_start_are_not_flagged(tmp_path, suffix, codec, first_sec, sound_sec):
    path = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec, first_sec=first_sec, sound_sec=sound_sec)
    frames, times_sec, facts = read_whole(path)
    assert (len(frames), times_sec[0]) == (60, 0)
    assert facts.duration_sec == pytest.approx(2, abs=0.01)
    assert facts.first_frame_sec == pytest.approx(first_sec if sound_sec else 0, abs=0.1)  # players begin with the first stream
    assert not facts.truncated


def test_a_long_last_frame_is_not_flagged(tmp_path):
    path = set_steps(draw_video(tmp_path / "a.mp4", 30), [1 / 30] * 29 + [3.0])
    assert not read_whole(path)[2].truncated


def test_frames_that_the_decoder_guessed_are_flagged(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 240, 320, 3)).astype(np.uint8)
    path = draw_video(tmp_path / "a.ts", 60, size=(320, 240), draw=lambda index: noise[index])
    assert not read_whole(path)[2].truncated
    packets = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188)
    path.write_bytes(np.delete(packets, np.arange(20, len(packets), 40), axis=0).tobytes())
    frames, _, facts = read_whole(path)
    assert len(frames) == 60
    assert facts.truncated


@pytest.mark.parametrize("first_sec", [(100.0, 1.4), (1.4, 100.0), (0.0, 20_000.0)])
def test_joined_recordings_are_as_long_as_both(tmp_path, first_sec):
    parts = [encode_streams(tmp_path / f"{sec}.ts", [range(60)], "mpeg2video", first_sec=sec) for sec in first_sec]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, times_sec, facts = read_whole(tmp_path / "a.ts")
    assert [number_of(frame) for frame in frames] == [*range(60), *range(60)]
    np.testing.assert_allclose(times_sec, np.arange(120) / 30, atol=0.002)
    assert (facts.fps, facts.truncated) == (pytest.approx(30), False)


def test_an_empty_packet_of_theora_repeats_the_frame_before_it():
    frames, times_sec, facts = read_whole(REPEATED_FRAMES)
    assert len(frames) == 24
    np.testing.assert_allclose(times_sec, np.arange(24) / 30, atol=1e-3)
    is_repeated = (frames[1:] == frames[:-1]).all(axis=(1, 2, 3))
    assert is_repeated.sum() == 9
    assert (facts.decoded_frames, facts.truncated, facts.variable_frame_rate) == (24, False, False)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mkv", "ffv1"), (".webm", "libvpx"), (".mp4", "libx264"), (".mov", "mpeg4"), (".flv", "flv1"), (".wmv", "wmv2")],
)
@pytest.mark.parametrize(("frame", "jump_sec"), [(1, 20_000.0), (45, 20_000.0), (45, 600.0)])
def test_a_clock_that_jumps_changes_neither_duration_nor_rate(tmp_path, suffix, codec, frame, jump_sec):
    path = encode_streams(tmp_path / f"a{suffix}", [range(90)], codec, jumps_sec={frame: jump_sec})
    frames, times_sec, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(90))
    np.testing.assert_allclose(times_sec, np.arange(90) / 30, atol=0.01)
    assert facts.duration_sec == pytest.approx(3, abs=0.01)
    assert (facts.truncated, facts.variable_frame_rate) == (False, False)


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "ffv1"), (".mp4", "libx264"), (".mov", "mpeg4")])
def test_a_pause_is_part_of_the_duration(tmp_path, suffix, codec):
    path = encode_streams(tmp_path / f"a{suffix}", [range(90)], codec, jumps_sec={45: 100.0})
    frames, times_sec, facts = read_whole(path)
    assert len(frames) == 90
    assert (times_sec[44], times_sec[45]) == (pytest.approx(44 / 30, abs=0.01), pytest.approx(101.5, abs=0.01))
    assert facts.duration_sec == pytest.approx(103, abs=1.2)
    assert (facts.truncated, facts.variable_frame_rate) == (False, True)


def test_a_video_without_its_index_is_reported(tmp_path):
    path = draw_video(tmp_path / "a.mp4", 90)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert read_error(path) is FailureCode.NOT_A_VIDEO


def test_reading_continues_after_damage(tmp_path):
    path = draw_video(tmp_path / "a.mkv", 90, draw=numbered)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(content)
    frames, _, facts = read_whole(path)
    assert [number_of(frames[0]), number_of(frames[-1])] == [0, 89]
    assert facts.decoded_frames == len(frames) == 89
    assert facts.truncated


def test_frames_hidden_by_an_edit_list_are_not_flagged(tmp_path):
    path = set_edit_sec(draw_video(tmp_path / "a.mp4", 300), 2.0)
    frames, _, facts = read_whole(path)
    assert len(frames) == 60
    assert not facts.truncated


@pytest.mark.parametrize(
    "content",
    [b"\0", b"\0" * 10_000, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"<html></html>", os.urandom(5000)],
    ids=["one byte", "zeros", "git lfs pointer", "page", "noise"],
)
def test_content_that_is_not_a_video_is_reported(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert read_error(tmp_path / "a.mp4") is FailureCode.NOT_A_VIDEO


def test_a_video_without_frames_is_reported(tmp_path):
    path = draw_video(tmp_path / "a.avi", 30)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    assert read_error(path) is FailureCode.NO_FRAMES


@pytest.fixture
def server_hits():
    """Port of a local server, and the list of paths requested from it."""
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
def test_a_playlist_opens_no_file_and_no_url(clip, tmp_path, server_hits, kind, suffix):
    port, hits = server_hits
    for target in (str(clip), clip.name, f"http://127.0.0.1:{port}/a.ts"):
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
        path = tmp_path / f"playlist{suffix}"
        path.write_text(PLAYLISTS[kind].format(target=target))
        assert read_error(path) is FailureCode.NOT_A_VIDEO
    assert hits == []


def test_a_picture_is_not_a_video(tmp_path):
    cv2.imwrite(str(tmp_path / "img_000.png"), numbered(0))
    assert read_error(tmp_path / "img_000.png") is FailureCode.NOT_A_VIDEO


def test_a_damaged_file_prints_nothing(tmp_path, capfd):
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    read_error(tmp_path / "a.mp4")
    assert capfd.readouterr() == ("", "")


def labels():
    with (REALSET / "labels.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.skipif(not REALSET.exists(), reason="needs the development set in ../shared/realset, which is missing")
def test_real_clips_have_the_frames_rates_and_sizes_of_their_labels():
    for label in labels():
        frames, times_sec, facts = read_whole(REALSET / "clips" / label["file"])
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
        ("avi_header_only.avi", FailureCode.NO_FRAMES),
        ("git_lfs_pointer.mp4", FailureCode.NOT_A_VIDEO),
        ("appledouble.gif", FailureCode.NOT_A_VIDEO),
    ],
)
@pytest.mark.skipif(not REALSET.exists(), reason="needs the development set in ../shared/realset, which is missing")
def test_a_broken_real_file_is_reported(name, code):
    assert read_error(REALSET / "odd" / name) is code


@pytest.mark.skipif(not REALSET.exists(), reason="needs the development set in ../shared/realset, which is missing")
def test_reading_a_real_video_continues_after_a_bad_packet():
    frames, _, facts = read_whole(REALSET / "odd" / "corrupt_half_way.mp4")
    assert len(frames) == 49
    assert facts.truncated


LIMITS = [
    ({"max_pixels": 3000}, FailureCode.TOO_LARGE, "a frame of 64×48 has more than 3,000 pixels"),
    ({"max_sec": 2.0}, FailureCode.TOO_LONG, "the video is longer than 2 s"),
    ({"max_frames": 70}, FailureCode.TOO_LONG, "the video has more than 70 frames"),
]


@pytest.mark.parametrize(("limit", "code", "message"), LIMITS, ids=lambda value: str(value)[:20])
def test_a_video_over_a_limit_is_reported(clip, limit, code, message):
    with pytest.raises(DecodeError, match=message) as caught:
        read_samples(clip, **limit)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"start_sec": 0.5, "end_sec": 1.0}, range(15, 30)),
        ({"end_sec": 1.0}, range(30)),
        ({"start_sec": 2.0, "end_sec": 99.0}, range(60, 80)),
        ({"start_frame": 10, "end_frame": 25}, range(10, 25)),
        ({"start_frame": 70}, range(70, 80)),
    ],
    ids=str,
)
def test_a_part_of_a_video_has_the_frames_of_that_part_at_their_times(clip, part, expected):
    frames, times_sec, facts = read_whole(clip, chunk_frames=8, **part)
    assert [number_of(frame) for frame in frames] == list(expected)
    np.testing.assert_allclose(times_sec, np.array(expected) / 30, atol=1e-3)
    assert facts.fps == pytest.approx(30)
    assert not facts.truncated


def test_reading_stops_after_the_part(clip):
    _, _, facts = read_whole(clip, start_sec=0.5, end_sec=1.0)
    assert facts.decoded_frames == 31


@pytest.mark.parametrize(
    ("part", "end_sec"),
    [
        ({"end_sec": 1.0}, 1.0),
        ({"start_sec": 0.5, "end_sec": 1.0}, 1.0),
        ({"end_frame": 45}, 1.5),
        ({"end_sec": 99.0}, 80 / 30),
    ],
    ids=str,
)
def test_the_duration_is_up_to_the_end_of_the_part(clip, part, end_sec):
    _, _, facts = read_whole(clip, **part)
    assert facts.duration_sec == pytest.approx(end_sec, abs=1e-3)


def test_a_part_is_sampled_from_its_start(tmp_path):
    path = draw_video(tmp_path / "a.mkv", 120, fps=60.0, draw=numbered)
    frames, _, _ = read_whole(path, start_frame=31, end_frame=61)
    assert [number_of(frame) for frame in frames] == list(range(31, 61, 2))


def test_a_part_beyond_the_end_is_a_part_without_frames(clip):
    with pytest.raises(DecodeError, match="no frame of the part to count decodes") as caught:
        read_samples(clip, start_sec=60.0)
    assert caught.value.code is FailureCode.NO_FRAMES


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
def test_codecs_of_phones_and_browsers_are_read(tmp_path, suffix, codec, name, pixels):
    path = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec, pixels)
    frames, times_sec, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(60))
    np.testing.assert_allclose(times_sec, np.arange(60) / 30, atol=2e-3)
    assert (facts.codec, facts.decoded_frames, facts.truncated) == (name, 60, False)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="needs a system that tells how it schedules, as Linux does")
def test_encoders_do_not_change_how_the_tests_are_scheduled(tmp_path):
    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    encode_streams(tmp_path / "a.webm", [range(3)], "libsvtav1", "yuv420p10le")
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before


def test_a_title_in_an_unknown_encoding_is_ignored(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(20)], title="A" * 8)
    content = path.read_bytes()
    assert b"A" * 8 in content
    path.write_bytes(content.replace(b"A" * 8, b"\xff" * 8))
    assert len(read_whole(path)[0]) == 20


@pytest.mark.parametrize("suffix", sorted(SOUNDS))
def test_a_sound_file_is_reported(tmp_path, suffix):
    assert read_error(record_silence(tmp_path / f"sound.{suffix}")) is FailureCode.NO_VIDEO_STREAM


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (av.error.InvalidDataError(1, "no\nsuch pixels"), DecodeError, "InvalidDataError: .* no such pixels"),
        (cv2.error("cannot\nresize"), DecodeError, "error: cannot resize"),
        (av.error.MemoryError(12, "Cannot allocate memory"), MemoryError, "Cannot allocate memory"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_ffmpeg_or_opencv_in_a_frame_becomes_one_of_ours(clip, monkeypatch, error, expected, message):
    monkeypatch.setattr(reader, "resize_frame", lambda *args: raise_(error))
    with pytest.raises(expected, match=message) as caught:
        read_samples(clip)
    if expected is DecodeError:
        assert caught.value.code is FailureCode.READ_ERROR
        assert "\n" not in caught.value.message


def test_opencv_without_memory_is_a_memory_error(clip, monkeypatch):
    error = cv2.error("Failed to allocate 1 bytes")
    error.code = cv2.Error.StsNoMem
    monkeypatch.setattr(reader, "resize_frame", lambda *args: raise_(error))
    with pytest.raises(MemoryError, match="Failed to allocate"):
        read_samples(clip)


def raise_(error):
    raise error


def test_only_readers_pixels_annotation_and_thumbnails_import_ffmpeg_and_opencv():
    found = {
        path
        for folder in ("transforms", "pipeline")
        for path in (ROOT / folder).rglob("*.py")
        if imported_packages(path) & {"av", "cv2"}
    }
    decoding = ROOT / "transforms" / "decoding"
    assert {decoding / "pixels.py", decoding / "reader.py"} <= found
    annotation = ROOT / "transforms" / "annotation"
    readers = {decoding / "nvdec.py", decoding / "pixels.py", *decoding.glob("*reader.py")}
    assert found - {THUMBNAILS} <= {*readers, *annotation.glob("*.py")}


def test_thumbnails_only_write_pictures_of_frames_that_the_decoder_sent():
    functions = set(re.findall(r"\bcv2\.([a-z]\w*)", THUMBNAILS.read_text(encoding="utf-8")))
    assert functions == {"cvtColor", "imencode", "resize"}
    assert "av" not in imported_packages(THUMBNAILS)


def test_what_annotates_in_the_pipelines_own_process_imports_neither_ffmpeg_nor_opencv():
    own = [ROOT / "transforms" / "annotation" / "process.py", ROOT / "pipeline" / "count_annotation.py"]
    assert not {name for path in own for name in imported_packages(path)} & {"av", "cv2"}


def imported_packages(path):
    """Returns the top-level packages that a source file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}
