"""Work that no kept frame needs is saved, and nothing else changes."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.support.decoding import read_whole
from tests.support.videos import draw_video, encode_streams, moving_square
from transforms.decoding.options import DecodingOptions
from transforms.decoding.stream_reader import StreamReader

CODECS = {"libx264": {"bf": "3"}, "libx265": {"x265-params": "bframes=4:log-level=error"}, "mpeg4": {"bf": "1"}}


def encode(
    path,
    num_frames=240,
    fps=60,
    codec="libx264",
    options=None,
    size=(320, 240),
    first_frame=0,
    repeats_time=lambda index: False,
):
    """Encodes a moving square with B-frames, which no other frame refers to."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=CODECS[codec] if options is None else options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(num_frames):
            image = moving_square(index, period_frames=40, size=size)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = first_frame + index, Fraction(1, fps)
            for packet in stream.encode(frame):
                if repeats_time(index):
                    packet.pts = packet.dts = packet.pts - round(1 / fps / packet.time_base)
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def decode(path, **options):
    """Returns time and presence of each frame."""
    with av.open(str(path)) as container:
        decoder = StreamReader(container, container.streams.video[0], DecodingOptions(**options))
        found = [(time_sec, frame is not None) for time_sec, frame in decoder.frames(lambda: None)]
        return found, decoder


def assert_same_as_exact(path, max_fps, **options):
    """Asserts that times and facts are those of exact decoding, and frames nearly; returns how many frames are kept."""
    frames, times_sec, facts = read_whole(path, max_fps=max_fps, **options)
    exact_frames, exact_times_sec, exact_facts = read_whole(path, max_fps=max_fps, exact=True)
    assert facts == exact_facts
    np.testing.assert_array_equal(times_sec, exact_times_sec)
    assert np.abs(frames.astype(int) - exact_frames).mean() < 0.5
    return len(frames)


def assert_some_are_skipped(path, num_kept, max_fps):
    found, _ = decode(path, max_fps=max_fps)
    assert num_kept <= sum(is_decoded for _, is_decoded in found) < 0.9 * len(found)


@pytest.mark.parametrize("decoder_threads", [1, 2])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("max_fps", [7.0, 15.0, 30.0])
def test_frames_that_are_not_kept_are_skipped_and_facts_and_times_stay(tmp_path, codec, max_fps, decoder_threads):
    path = encode(tmp_path / "a.mp4", codec=codec)
    assert_some_are_skipped(path, assert_same_as_exact(path, max_fps, decoder_threads=decoder_threads), max_fps)


IN_ORDER = {
    "libx264": {"bf": "0"},
    "libx265": {"x265-params": "bframes=0:log-level=error"},
    "mpeg4": {"bf": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@pytest.mark.parametrize("decoder_threads", [1, 2])
@pytest.mark.parametrize("max_fps", [7.0, 30.0])
@pytest.mark.parametrize("codec", IN_ORDER)
def test_each_frame_of_a_stream_in_which_all_refer_to_each_other_comes_once(tmp_path, codec, max_fps, decoder_threads):
    path = encode(tmp_path / "a.mkv", 60, codec=codec, options=IN_ORDER[codec])
    found, _ = decode(path, max_fps=max_fps, decoder_threads=decoder_threads)
    np.testing.assert_allclose([time_sec for time_sec, _ in found], np.arange(60) / 60, atol=1e-3)
    assert codec != "libx264" or all(is_decoded for _, is_decoded in found)


def times_in_the_order_of_decoding(folder):
    """A WMV file, whose packets have times of their own."""
    return encode(folder / "a.wmv")


def joined(folder):
    """Two recordings, one appended to the other: the clock starts over."""
    first, second = (encode(folder / name, number) for name, number in (("a.ts", 90), ("b.ts", 150)))
    (folder / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    return folder / "c.ts"


def joined_with_a_jump(folder):
    """Two recordings of the same session, an hour apart."""
    first = encode(folder / "a.ts", 90)
    second = encode(folder / "b.ts", 150, first_frame=3600 * 60)
    (folder / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    return folder / "c.ts"


def cut_within_a_group(folder):
    """A recording whose first frames do not decode, since what they refer to is not there."""
    data = encode(folder / "a.ts", options={"bf": "3", "g": "60"}, size=(640, 480)).read_bytes()
    start = len(data) * 3 // 10 // 188 * 188
    (folder / "b.ts").write_bytes(data[: 3 * 188] + data[start:])
    return folder / "b.ts"


def repeated_times(folder):
    """Every tenth frame has the time of the one before."""
    return encode(folder / "a.mkv", options={"bf": "0"}, repeats_time=lambda index: index % 10 == 9)


def damaged(folder):
    """A recording with a hole."""
    data = encode(folder / "a.ts", size=(640, 480)).read_bytes()
    start = len(data) * 6 // 10 // 188 * 188
    (folder / "b.ts").write_bytes(data[:start] + data[start + 7 * 188 :])
    return folder / "b.ts"


UNSAFE = (times_in_the_order_of_decoding, joined, joined_with_a_jump, cut_within_a_group, repeated_times, damaged)


@pytest.mark.parametrize("options", [{"decoder_threads": 1}, {"decoder_threads": 2}, {"decoder": "nvdec"}])
@pytest.mark.parametrize("max_fps", [7.0, 30.0])
@pytest.mark.parametrize("make", UNSAFE)
def test_frames_are_the_same_where_packets_do_not_tell_which_ones_to_skip(tmp_path, make, max_fps, options):
    path = make(tmp_path)
    assert_same_as_exact(path, max_fps, **options)


@pytest.mark.parametrize("decoder_threads", [1, 2])
@pytest.mark.parametrize("max_fps", [7.0, 15.0, 30.0])
def test_hevc_frames_that_only_higher_temporal_layers_refer_to_are_decoded(tmp_path, max_fps, decoder_threads):
    parameters = {"x265-params": "temporal-layers=3:bframes=3:b-adapt=0:b-pyramid=1:log-level=error"}
    path = encode(tmp_path / "a.mp4", codec="libx265", options=parameters)
    changed = mark_as_not_referred_to_in_their_layer(path.read_bytes())
    path.write_bytes(changed)
    assert_some_are_skipped(path, assert_same_as_exact(path, max_fps, decoder_threads=decoder_threads), max_fps)


def mark_as_not_referred_to_in_their_layer(data):
    """Returns an MP4 file with pictures of the middle one of three temporal layers marked so: TSA_R becomes TSA_N.

    Nothing in that layer refers to them; pictures of the highest layer do. See ITU-T H.265, table 7-1.
    """
    changed = bytearray(data)
    at = data.index(b"mdat") + 4
    end = at - 8 + int.from_bytes(data[at - 8 : at - 4], "big")
    number = 0
    while at < end:
        kind, layer = data[at + 4] >> 1 & 63, (data[at + 5] & 7) - 1
        if (kind, layer) == (3, 1):
            changed[at + 4] = data[at + 4] & 0x81 | 2 << 1
            number += 1
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    assert number
    return bytes(changed)


@pytest.mark.parametrize(("fps", "max_fps"), [(60, 15.0), (42, 30.0), (84, 30.0), (126, 25.0), (28, 20.0), (70, 50.0)])
def test_frames_that_are_due_to_the_last_bit_are_the_same(tmp_path, fps, max_fps):
    path = encode(tmp_path / "a.ts", 4 * fps, fps=fps)
    np.testing.assert_array_equal(read_whole(path, max_fps=max_fps)[1], read_whole(path, max_fps=max_fps, exact=True)[1])


def test_hidden_frames_are_none(tmp_path):
    path = encode(tmp_path / "a.ivf", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"})
    facts, exact_facts = (read_whole(path, exact=exact)[2] for exact in (False, True))
    assert facts == exact_facts


def test_no_frame_is_skipped_if_all_are_kept_or_decoding_is_exact(tmp_path):
    path = encode(tmp_path / "a.mp4", num_frames=60)
    for options in ({"max_fps": 60.0}, {"exact": True}):
        found, _ = decode(path, **options)
        assert [is_decoded for _, is_decoded in found] == [True] * 60


def test_frames_come_in_the_order_of_display_and_the_first_is_decoded(tmp_path):
    found, _ = decode(encode(tmp_path / "a.mp4", num_frames=61), max_fps=10.0)
    times_sec = [time_sec for time_sec, _ in found]
    assert found[0][1]
    assert not all(is_decoded for _, is_decoded in found)
    np.testing.assert_allclose(np.diff(times_sec), 1 / 60, atol=1e-4)


def test_exact_decoding_is_what_ffmpeg_decodes(tmp_path):
    path = encode(tmp_path / "a.mp4", num_frames=30, fps=30)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        decoder = StreamReader(container, container.streams.video[0], DecodingOptions(exact=True))
        found = [frame.to_ndarray() for _, frame in decoder.frames(lambda: None)]
    np.testing.assert_array_equal(found, expected)


def test_frames_that_others_refer_to_are_decoded_exactly(tmp_path):
    path = encode(tmp_path / "a.mp4", num_frames=60, fps=30, options={"bf": "0", "g": "250", "crf": "40"})
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        decoder = StreamReader(container, container.streams.video[0], DecodingOptions())
        found = [frame.to_ndarray() for _, frame in decoder.frames(lambda: None)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("first", range(5))
def test_damage_is_noticed_where_it_matters_and_times_stay(tmp_path, first):
    path = encode(tmp_path / "a.ts", num_frames=240)
    data = bytearray(path.read_bytes())
    start = len(data) * (first + 3) // 10 // 188 * 188
    data[start : start + 3 * 188] = np.random.default_rng(first).integers(0, 256, 3 * 188).astype(np.uint8).tobytes()
    path.write_bytes(data)
    _, times_sec, facts = read_whole(path)
    _, exact_times_sec, exact_facts = read_whole(path, exact=True)
    assert facts.duration_sec == pytest.approx(exact_facts.duration_sec, abs=0.1)
    assert len(times_sec) == pytest.approx(len(exact_times_sec), abs=6)
    assert np.all(np.diff(times_sec) > 0)


@pytest.mark.parametrize("max_fps", [15.0, 30.0])
def test_a_part_of_a_video_is_the_same_part(tmp_path, max_fps):
    path = encode(tmp_path / "a.mp4")
    for part in (
        {"start_frame": 35, "end_frame": 130},
        {"start_sec": 1.01, "end_sec": 2.5},
        {"end_frame": 130},
        {"end_sec": 2.5},
    ):
        _, times_sec, facts = read_whole(path, max_fps=max_fps, **part)
        _, exact_times_sec, exact_facts = read_whole(path, max_fps=max_fps, exact=True, **part)
        np.testing.assert_array_equal(times_sec, exact_times_sec)
        assert facts == exact_facts


def test_the_time_of_the_last_frame_is_known(tmp_path):
    _, decoder = decode(draw_video(tmp_path / "a.mp4", 10))
    assert decoder.last_frame_sec == pytest.approx(1 / 30)
    assert not decoder.is_damaged


def test_lossless_frames_of_slow_videos_are_all_there(tmp_path):
    found, _ = decode(encode_streams(tmp_path / "a.mkv", [range(20)]))
    assert [is_decoded for _, is_decoded in found] == [True] * 20
    assert all(first < second for (first, _), (second, _) in itertools.pairwise(found))
