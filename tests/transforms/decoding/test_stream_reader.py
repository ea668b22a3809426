"""Work that no kept frame needs is saved, and nothing else changes."""

import itertools

import av
import numpy as np
import pytest

from tests.support.decoding import read_whole
from tests.support.videos import draw_video, encode_streams, moving_square
from transforms.decoding.options import DecodingOptions
from transforms.decoding.stream_reader import StreamReader

CODECS = {"libx264": {"bf": "3"}, "libx265": {"x265-params": "bframes=4:log-level=error"}, "mpeg4": {"bf": "1"}}


def encode(path, num_frames=240, fps=60, codec="libx264", options=None, size=(320, 240)):
    """Encodes a moving square with B-frames, which no other frame refers to."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=CODECS[codec] if options is None else options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(num_frames):
            image = moving_square(index, period_frames=40, size=size)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def decode(path, **options):
    """Returns time and presence of each frame."""
    with av.open(str(path)) as container:
        decoder = StreamReader(container, container.streams.video[0], DecodingOptions(**options))
        found = [(time_sec, frame is not None) for time_sec, frame in decoder.frames(lambda: None)]
        return found, decoder


@pytest.mark.parametrize("decoder_threads", [1, 2])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("max_fps", [7.0, 15.0, 30.0])
def test_frames_that_are_not_kept_are_skipped_and_facts_and_times_stay(tmp_path, codec, max_fps, decoder_threads):
    path = encode(tmp_path / "a.mp4", codec=codec)
    frames, times_sec, facts = read_whole(path, max_fps=max_fps, decoder_threads=decoder_threads)
    exact_frames, exact_times_sec, exact_facts = read_whole(path, max_fps=max_fps, exact=True)
    assert facts == exact_facts
    np.testing.assert_array_equal(times_sec, exact_times_sec)
    assert np.abs(frames.astype(int) - exact_frames).mean() < 0.5
    decoded = sum(is_decoded for _, is_decoded in decode(path, max_fps=max_fps)[0])
    assert len(frames) <= decoded < 0.9 * facts.decoded_frames


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


def test_a_part_of_a_video_is_the_same_part(tmp_path):
    path = encode(tmp_path / "a.mp4")
    for part in ({"start_frame": 50, "end_frame": 130}, {"start_sec": 1.0, "end_sec": 2.5}):
        _, times_sec, facts = read_whole(path, **part)
        _, exact_times_sec, exact_facts = read_whole(path, exact=True, **part)
        np.testing.assert_allclose(times_sec, exact_times_sec, atol=1.5 / 60)
        assert facts == exact_facts


def test_the_time_of_the_last_frame_is_known(tmp_path):
    _, decoder = decode(draw_video(tmp_path / "a.mp4", 10))
    assert decoder.last_frame_sec == pytest.approx(1 / 30)
    assert not decoder.is_damaged


def test_lossless_frames_of_slow_videos_are_all_there(tmp_path):
    found, _ = decode(encode_streams(tmp_path / "a.mkv", [range(20)]))
    assert [is_decoded for _, is_decoded in found] == [True] * 20
    assert all(first < second for (first, _), (second, _) in itertools.pairwise(found))
