"""Headers are read side by side, within bounds; a bad video costs only its own header."""

import dataclasses
import functools
import os

import pytest

from tests.support.decoding import look_up
from tests.support.in_memory_fs import InMemoryFileSystem
from tests.support.videos import draw_video, encode_streams
from transforms.decoding import header_sample, sandbox
from transforms.decoding.header_sample import read_headers
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess

pytestmark = pytest.mark.usefixtures("patient_header_sample")

OPTIONS = DecodingOptions()

make_faulty = functools.partial(DecoderProcess, "tests.support.faulty_decoder_child")

make_hostile = functools.partial(DecoderProcess, "tests.support.hostile_decoder_child")


def seconds(headers):
    return {os.path.basename(video.uri): pytest.approx(header.duration_sec, abs=0.1) for video, header in headers.items()}


@pytest.fixture
def videos(tmp_path):
    """Six videos of one to six seconds."""
    return [look_up(draw_video(tmp_path / f"{number}.mp4", 30 * number)) for number in range(1, 7)]


def test_the_duration_of_each_video_is_read(videos):
    assert seconds(read_headers(videos, OPTIONS)) == {f"{number}.mp4": number for number in range(1, 7)}


def test_a_broken_or_missing_video_costs_only_itself(videos, tmp_path, caplog):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "6.mp4").read_bytes()[:1000])
    os.unlink(videos[0].uri)
    with caplog.at_level("INFO"):
        headers = read_headers([look_up(tmp_path / "text.mp4"), look_up(tmp_path / "cut.mp4"), *videos], OPTIONS)
    assert seconds(headers) == {f"{number}.mp4": number for number in range(2, 7)}
    assert "text.mp4' cannot be read: the file is in no video format" in caplog.text
    assert "1.mp4' cannot be read: the video was deleted" in caplog.text


@pytest.mark.parametrize("fault", ["CRASH", "HANG", "EXIT"])
def test_a_video_that_ends_or_stops_its_decoder_costs_only_itself(videos, tmp_path, fault):
    (tmp_path / "bad.mp4").write_text(f"{fault}\n")
    options = dataclasses.replace(OPTIONS, timeout_sec=5.0 if fault == "HANG" else 60.0)
    headers = read_headers([look_up(tmp_path / "bad.mp4"), *videos], options, make_faulty)
    assert seconds(headers) == {f"{number}.mp4": number for number in range(1, 7)}


@pytest.mark.skipif(not sandbox.has_seccomp(), reason="needs a system that filters system calls, as Linux does")
def test_headers_are_read_in_the_sandbox(videos, tmp_path, caplog):
    (tmp_path / "bad.mp4").write_text(f"ATTACK read\n{tmp_path / '1.mp4'}")
    with caplog.at_level("INFO"):
        headers = read_headers([look_up(tmp_path / "bad.mp4"), *videos[:1]], OPTIONS, make_hostile)
    assert seconds(headers) == {"1.mp4": 1}
    assert "bad.mp4' cannot be read: EPERM" in caplog.text


def test_without_a_required_sandbox_no_header_is_read(videos, caplog):
    make_decoder = functools.partial(DecoderProcess, "tests.support.unconfined_decoder_child")
    assert read_headers(videos, dataclasses.replace(OPTIONS, require_sandbox=True), make_decoder) == {}
    assert "No header can be read: a sandbox is required" in caplog.text


def test_a_header_without_a_duration_is_not_read(tmp_path, caplog):
    path = encode_streams(tmp_path / "a.m4v", [range(30)], "mpeg4", container_format="m4v")
    with caplog.at_level("INFO"):
        assert read_headers([look_up(path)], OPTIONS) == {}
    assert "a.m4v' cannot be read: it names no duration" in caplog.text


def test_no_header_is_read_after_the_time_is_over(videos, monkeypatch):
    monkeypatch.setattr(header_sample, "_SAMPLE_SEC", 0.0)
    assert read_headers(videos, OPTIONS) == {}


def test_each_header_gets_a_process_of_its_own_and_none_stays(videos):
    made = []

    def make_decoder():
        made.append(DecoderProcess())
        return made[-1]

    assert len(read_headers(videos, OPTIONS, make_decoder)) == len(made) == 6
    assert [decoder.pid for decoder in made] == [None] * 6


def test_a_video_that_takes_its_decoder_over_cannot_falsify_another_one(videos, tmp_path):
    lie = b'[0, {"header": {"width": 1, "height": 1, "codec": "h264", "fps": 30.0, "duration_sec": 9e9}}]'
    bad = []
    for number in range(4):
        (tmp_path / f"bad{number}.mp4").write_bytes(b"ATTACK send\n" + lie)
        bad.append(look_up(tmp_path / f"bad{number}.mp4"))
    headers = read_headers([*bad, *videos], OPTIONS, make_hostile)
    assert headers.keys() == {*bad, *videos}
    assert seconds({video: headers[video] for video in videos}) == {f"{number}.mp4": number for number in range(1, 7)}


def test_headers_of_remote_videos_are_read(videos, monkeypatch):
    files = {}
    for video in videos[:2]:
        with open(video.uri, "rb") as file:
            files[f"memory://gym/{os.path.basename(video.uri)}"] = (file.read(), 7.0)
    monkeypatch.setattr(InMemoryFileSystem, "files", files)
    assert seconds(read_headers([look_up(uri) for uri in files], OPTIONS)) == {"1.mp4": 1, "2.mp4": 2}
