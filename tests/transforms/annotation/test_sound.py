"""Sound is read from a position of its own, in order and no further than asked."""

import contextlib
import io
import os

import av
import pytest

from tests.support.videos import encode_streams
from transforms.annotation.sound import SharedFile, Sound


def test_two_readers_of_one_descriptor_do_not_disturb_each_other(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    with open(tmp_path / "a", "rb") as file:
        shared = io.BufferedReader(SharedFile(file.fileno()))
        assert file.read(3) == b"\x00\x01\x02"
        assert shared.read(2) == b"\x00\x01"
        assert shared.seek(-1, os.SEEK_END) == 99
        assert shared.read() == b"c"
        assert file.read(1) == b"\x03"


def test_packets_come_as_far_as_asked(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(60)], sound_sec=2.0)
    with open(path, "rb") as file, contextlib.ExitStack() as opened:
        sound = Sound(file, opened)
        first = [float(packet.pts * packet.time_base) for packet in sound.until(1.0)]
        rest = [float(packet.pts * packet.time_base) for packet in sound.until(float("inf"))]
    assert sound.start_sec == pytest.approx(0, abs=0.01)
    assert first[-1] < 1.0 <= rest[0]
    assert first + rest == sorted(first + rest)
    assert sound.left_out == ""


def test_a_sound_that_a_file_announces_and_does_not_have_is_none(tmp_path):
    spoken = encode_streams(tmp_path / "a.ts", [range(30)], codec="mpeg2video", sound_sec=1.0).read_bytes()
    packets = [spoken[at : at + 188] for at in range(0, len(spoken), 188)]
    silent = tmp_path / "b.ts"
    silent.write_bytes(b"".join(packet for packet in packets if int.from_bytes(packet[1:3]) & 0x1FFF != 257))
    with av.open(str(silent)) as container:
        assert container.streams.audio[0].codec_context.sample_rate == 0
    with open(silent, "rb") as file, contextlib.ExitStack() as opened:
        sound = Sound(file, opened)
        assert (sound.stream, sound.left_out) == (None, "")


def test_a_video_without_sound_has_none(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(5)])
    with open(path, "rb") as file, contextlib.ExitStack() as opened:
        sound = Sound(file, opened)
        assert (sound.stream, sound.left_out, sound.start_sec) == (None, "", None)
        assert not list(sound.until(float("inf")))
