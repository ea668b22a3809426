"""Of several streams, the one that players show is read, and a stream that continues another one is read after it."""

import datetime
import types

import numpy as np
import pytest

from tests.support.decoding import read_whole
from tests.support.videos import encode_streams, number_of
from transforms.decoding.container_reader import captured_sec, tagged_end_sec


@pytest.mark.parametrize("default", [0, 1])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_the_default_stream_is_read(tmp_path, suffix, default):
    codec = "ffv1" if suffix == ".mkv" else "mpeg4"
    path = encode_streams(tmp_path / f"a{suffix}", [range(20), range(40, 90)], codec, default=default)
    frames, _, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == [list(range(20)), list(range(40, 90))][default]
    assert facts.decoded_frames == [20, 50][default]


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "ffv1"), (".avi", "mpeg4"), (".ts", "mpeg2video")])
def test_the_longest_stream_is_read_if_the_file_names_no_default(tmp_path, suffix, codec):
    path = encode_streams(tmp_path / f"a{suffix}", [range(40, 60), range(70), range(30)], codec)
    assert [number_of(frame) for frame in read_whole(path)[0]] == list(range(70))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mpeg4"), (".mov", "mjpeg"), (".mkv", "mjpeg"), (".avi", "mpeg4")])
@pytest.mark.parametrize("default", [0, 1, None])
@pytest.mark.parametrize("still", [0, 1])
def test_a_still_is_not_the_video(tmp_path, suffix, codec, default, still):
    numbers = [range(100, 170)]
    numbers.insert(still, [5])
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode_streams(tmp_path / f"a{suffix}", numbers, codec, pixels, default=default)
    frames, _, facts = read_whole(path)
    assert [number_of(frame) for frame in frames] == list(range(100, 170))
    assert (facts.decoded_frames, facts.truncated) == (70, False)


def test_a_still_is_read_if_there_is_no_other_video(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [[5], [6]], default=1)
    assert len(read_whole(path)[0]) == 1


def test_the_next_stream_is_read_if_the_default_one_has_no_frames(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", [range(20), []], default=1)
    assert len(read_whole(path)[0]) == 20


def numbers_in(path):
    """Returns the numbers drawn on the frames of a video, after checking its other facts."""
    frames, times_sec, facts = read_whole(path)
    np.testing.assert_allclose(times_sec, np.arange(len(frames)) / 30, atol=2e-3)
    assert (facts.decoded_frames, facts.fps, facts.truncated) == (len(frames), pytest.approx(30, abs=0.1), False)
    return [number_of(frame) for frame in frames]


def stream(path, numbers, pid, codec="mpeg2video", first_sec=0.0, **options):
    """Encodes an MPEG-TS whose video has a packet id, and returns its bytes."""
    options = {name: str(value) for name, value in {"mpegts_start_pid": pid, **options}.items()}
    return encode_streams(path, [numbers], codec, first_sec=first_sec, options=options).read_bytes()


@pytest.mark.parametrize("lengths", [(60, 60), (60, 90), (90, 60), (30, 900)], ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"first_sec": 20_000.0},
        {"mpegts_pmt_start_pid": 5000},
        {"mpegts_service_id": 7},
    ],
    ids=str,
)
def test_a_transport_stream_whose_packet_id_changes_goes_on_with_the_new_one(tmp_path, lengths, changes):
    first, second = range(lengths[0]), range(100, 100 + lengths[1])
    path = tmp_path / "joined.ts"
    path.write_bytes(stream(tmp_path / "a.ts", first, 256) + stream(tmp_path / "b.ts", second, 512, **changes))
    assert numbers_in(path) == [*first, *second]


def test_a_transport_stream_whose_packet_id_changes_twice_is_read_whole(tmp_path):
    parts = [range(40), range(100, 150), range(200, 230)]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(stream(tmp_path / "a.ts", part, 256 + part.start) for part in parts))
    assert numbers_in(path) == [number for part in parts for number in part]


def test_a_transport_stream_goes_on_in_another_codec(tmp_path):
    path = tmp_path / "joined.ts"
    path.write_bytes(stream(tmp_path / "a.ts", range(60), 256) + stream(tmp_path / "b.ts", range(100, 160), 512, "libx264"))
    assert numbers_in(path) == [*range(60), *range(100, 160)]


def test_programs_that_run_side_by_side_are_not_joined(tmp_path):
    path = encode_streams(tmp_path / "a.ts", [range(60), range(100, 190)], "mpeg2video")
    assert numbers_in(path) == list(range(100, 190))


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mpeg4"), (".mov", "mjpeg"), (".mkv", "ffv1")])
def test_the_time_of_recording_is_read(tmp_path, suffix, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    dated = encode_streams(tmp_path / f"a{suffix}", [range(9)], codec, pixels, creation_time="2026-01-31T12:34:56Z")
    recorded = datetime.datetime(2026, 1, 31, 12, 34, 56, tzinfo=datetime.UTC)
    assert read_whole(dated)[2].captured_sec == recorded.timestamp()
    assert read_whole(encode_streams(tmp_path / f"b{suffix}", [range(9)], codec, pixels))[2].captured_sec == 0


def declared(text, of_stream=""):
    container, stream = (types.SimpleNamespace(metadata={"creation_time": tag} if tag else {}) for tag in (text, of_stream))
    return captured_sec(container, stream)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-31T12:34:56.500000Z", "2026-01-31T12:34:56.5"),
        ("2026-01-31 12:34:56", "2026-01-31T12:34:56"),  # without a zone it is UTC, by FFmpeg's convention
        ("2026-01-31T12:34:56+0200", "2026-01-31T10:34:56"),
        ("2026-01-31T12:34:56-05:30", "2026-01-31T18:04:56"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00"),
    ],
)
def test_times_of_recording_are_in_utc(text, utc):
    assert declared(text) == datetime.datetime.fromisoformat(utc).replace(tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "1904-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-31T25:00:00Z",
        "0000-00-00T00:00:00Z",
        "2026-01-31",
        "Sat Jan 31 12:34:56 2026",
        "٢٠٢٦-٠١-٣١T12:34:56Z",
        "2026-01-31T12:34:56Z; DROP TABLE runs",
        "9" * 10_000,
        "\x00\n",
        "",
    ],
)
def test_metadata_that_is_no_time_of_recording_is_none(text):
    assert declared(text) == 0


def test_a_stream_may_tell_what_its_file_does_not():
    assert declared("", "2026-01-31T12:34:56Z") == declared("garbage", "2026-01-31T12:34:56Z") > 0


@pytest.mark.parametrize(
    ("tag", "expected"), [("01:02:03.500000000", 3723.5), ("00:00:05", 5.0), ("", None), ("1:2:3", None), ("00:00:05 ", None)]
)
def test_the_end_of_a_matroska_stream_is_read_in_hours_minutes_and_seconds(tag, expected):
    assert tagged_end_sec(types.SimpleNamespace(metadata={"DURATION": tag})) == expected
