"""Sound is read from a position of its own, in order and no further than asked."""

import contextlib
import io
import os

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


def test_a_video_without_sound_has_none(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(5)])
    with open(path, "rb") as file, contextlib.ExitStack() as opened:
        sound = Sound(file, opened)
        assert (sound.stream, sound.left_out, sound.start_sec) == (None, "", None)
        assert not list(sound.until(float("inf")))
