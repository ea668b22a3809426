"""A file that is appended to another one is noticed where players leave it out, without reading the contents of either."""

import io
import struct

import pytest

from tests.support.decoding import read_whole
from tests.support.videos import encode_streams, make_streamable, number_of
from transforms.decoding import joined_files
from transforms.decoding.joined_files import has_second_file

KINDS = [(".mp4", "libx264"), (".mov", "mpeg4"), (".flv", "flv1"), (".wmv", "wmv2")]


@pytest.mark.parametrize(
    ("suffix", "codec", "sound_sec"), [*((*kind, 0) for kind in KINDS), (".mp4", "mpeg4", 2), (".flv", "flv1", 2)]
)
def test_a_joined_file_counts_its_first_part_and_says_so(tmp_path, suffix, codec, sound_sec):
    parts = [encode_streams(tmp_path / f"{i}{suffix}", [range(i, i + 60)], codec, sound_sec=sound_sec) for i in (0, 100)]
    assert [read_whole(part)[2].trailing_data for part in parts] == [False, False]
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, _, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(60))
    assert (facts.trailing_data, facts.truncated) == (True, False)


def test_a_joined_file_with_its_index_first_says_so(tmp_path):
    path = make_streamable(encode_streams(tmp_path / "a.mp4", [range(60)], "mpeg4"))
    path.write_bytes(2 * path.read_bytes())
    assert read_whole(path)[2].trailing_data


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "ffv1"), (".webm", "libvpx"), (".avi", "mpeg4"), (".ts", "mpeg2video")])
def test_a_joined_file_that_is_read_whole_is_not_flagged(tmp_path, suffix, codec):
    parts = [encode_streams(tmp_path / f"{i}{suffix}", [range(i, i + 60)], codec) for i in (0, 100)]
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, _, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == [*range(60), *range(100, 160)]
    assert not facts.trailing_data


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "cmaf"])
def test_a_fragmented_file_is_not_flagged_unless_it_is_joined(tmp_path, flags):
    path = encode_streams(tmp_path / "a.mp4", [range(60)], "mpeg4", options={"movflags": flags})
    assert not read_whole(path)[2].trailing_data
    path.write_bytes(2 * path.read_bytes())
    assert read_whole(path)[2].trailing_data


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
@pytest.mark.parametrize("rest", [b"\0" * 1000, b"\xff" * 1000, b"Lavc" * 250], ids=["zeros", "ones", "text"])
def test_other_bytes_after_a_video_are_not_a_file(tmp_path, suffix, codec, rest):
    path = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec)
    path.write_bytes(path.read_bytes() + rest)
    assert not read_whole(path)[2].trailing_data


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_a_video_that_is_cut_anywhere_has_no_second_file(tmp_path, suffix, codec):
    content = encode_streams(tmp_path / f"a{suffix}", [range(60)], codec).read_bytes()
    assert not any(has_second_file(io.BytesIO(content[:length])) for length in range(0, len(content), 37))


class CountedFile(io.BytesIO):
    """A file that counts the bytes read from it."""

    num_read = 0

    def read(self, size=-1):
        content = super().read(size)
        self.num_read += len(content)
        return content


def test_the_contents_of_a_large_file_are_not_read():
    box = struct.pack(">I4sQ", 1, b"mdat", 1 << 24) + bytes((1 << 24) - 16)
    file = CountedFile(struct.pack(">I4s", 8, b"ftyp") + box + struct.pack(">I4sI4s", 8, b"moov", 8, b"ftyp"))
    assert has_second_file(file)
    assert file.num_read < 100


@pytest.mark.parametrize(
    "part", [struct.pack(">I4s", 8, b"free"), b"FLV\x01\5\0\0\0\x09\0\0\0\0" + bytes([8, 0, 0, 0] + [0] * 11)]
)
def test_a_file_of_endless_small_parts_ends_the_search(monkeypatch, part):
    monkeypatch.setattr(joined_files, "_MAX_PARTS", 10)
    file = CountedFile(part + part[-15:] * 100 if part.startswith(b"FLV") else part * 100)
    assert not has_second_file(file)
    assert file.num_read < 200
