"""An annotated video has the frames, times, sound and colours of the original, upright and in H.264."""

import io

import av
import numpy as np
import pytest

from tests.support.videos import (
    corner_marked,
    draw_video,
    encode_streams,
    number_of,
    numbered,
    set_display_matrix,
    set_rotation,
    set_steps,
)
from transforms.annotation import rewrite
from transforms.annotation.panel import Colours, Panel
from transforms.annotation.rewrite import annotate
from transforms.annotation.timeline import Timeline
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError

NOTHING = Timeline(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(0), np.empty((0, 2)))


def run(path, timeline=NOTHING, options=None):
    """Returns the annotated video, and what was returned."""
    output = io.BytesIO()
    with open(path, "rb") as file, open(path, "rb") as sound_file:
        left_out = annotate(file, sound_file, timeline, options or DecodingOptions(), output)
    return output, left_out


def opened(source):
    if isinstance(source, io.BytesIO):
        return av.open(io.BytesIO(source.getvalue()))
    return av.open(str(source))


def frames_of(source):
    with opened(source) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def packets_of(source):
    with opened(source) as container:
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def no_panel(monkeypatch):
    monkeypatch.setattr(Panel, "draw", lambda self, planes, shown: None)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm", ".wmv", ".flv", ".ts", ".mov"])
def test_each_frame_is_there_at_its_time(tmp_path, monkeypatch, suffix):
    no_panel(monkeypatch)
    path = draw_video(tmp_path / f"numbers{suffix}", 40, draw=numbered)
    frames = frames_of(run(path)[0])
    assert [number_of(frame) for _, frame in frames] == list(range(40))
    assert [time_sec for time_sec, _ in frames] == pytest.approx([number / 30 for number in range(40)], abs=0.002)


def test_varying_steps_between_frames_are_kept(tmp_path):
    steps = [1 / 30, 0.2, 1 / 30, 0.05, 0.5] * 6
    path = set_steps(draw_video(tmp_path / "vfr.mp4", 30), steps)
    times = [time_sec for time_sec, _ in frames_of(run(path)[0])]
    assert times == pytest.approx(np.cumsum([0, *steps[:-1]]), abs=0.001)


@pytest.mark.parametrize(("fps", "num_frames"), [(5, 10), (240, 120)])
def test_slow_and_fast_videos_keep_their_rate(tmp_path, fps, num_frames):
    with opened(run(draw_video(tmp_path / "a.mp4", num_frames, fps=fps))[0]) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=0.01)
        assert container.duration / av.time_base == pytest.approx(num_frames / fps, rel=0.02)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_video_is_upright_without_a_display_matrix(tmp_path, monkeypatch, degrees):
    no_panel(monkeypatch)
    path = set_rotation(draw_video(tmp_path / "turned.mp4", 10, draw=corner_marked), degrees)
    output = run(path)[0]
    with opened(output) as container:
        frame = next(container.decode(video=0))
        assert not any("DISPLAYMATRIX" in str(data.type) for data in frame.side_data)
        picture = frame.to_ndarray(format="rgb24")
    assert picture.shape[:2] == ((48, 64) if degrees in (0, 180) else (64, 48))
    half_height, half_width = picture.shape[0] // 2, picture.shape[1] // 2
    quarters = {
        (row, column): picture[row * half_height :, column * half_width :][:half_height, :half_width, 0].mean()
        for row in (0, 1)
        for column in (0, 1)
    }
    assert max(quarters, key=quarters.get) == {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}[degrees]


def test_a_mirrored_video_is_mirrored(tmp_path, monkeypatch):
    no_panel(monkeypatch)
    path = set_display_matrix(draw_video(tmp_path / "selfie.mp4", 10, draw=corner_marked), -1, 0, 0, 1)
    picture = frames_of(run(path)[0])[0][1]
    assert picture[:24, 32:, 0].mean() > picture[:24, :32, 0].mean() + 50


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "bgr0"])
def test_odd_sizes_and_any_pixels_become_even_and_common(tmp_path, monkeypatch, pixels):
    no_panel(monkeypatch)
    path = encode_streams(tmp_path / "odd.mkv", [range(5)], pixels=pixels, size=(101, 75))
    output = run(path)[0]
    with opened(output) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.format.name) == (100, 74, "yuv420p")
    difference = np.abs(frames_of(output)[3][1].astype(int) - frames_of(path)[3][1][:74, :100].astype(int))
    assert np.median(difference) < 6


def test_colours_stay_what_they_are(tmp_path, monkeypatch):
    no_panel(monkeypatch)
    path = draw_video(tmp_path / "full.avi", 5, codec="MJPG")  # full range
    output = run(path)[0]
    difference = np.abs(frames_of(output)[2][1].astype(int) - frames_of(path)[2][1].astype(int))
    assert np.median(difference) < 4
    with opened(output) as container:
        assert next(container.decode(video=0)).color_range == 2


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "aac"), (".mkv", "libopus"), (".mkv", "flac"), (".avi", "libmp3lame")])
def test_sound_that_fits_is_copied_packet_by_packet(tmp_path, suffix, codec):
    path = with_sound(tmp_path / f"sound{suffix}", codec)
    output, left_out = run(path)
    assert left_out == ""
    before, after = packets_of(path), packets_of(output)
    assert [content for _, content in after] == [content for _, content in before]
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=0.05)


def with_sound(path, codec):
    """Encodes a second of video with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=48_000, layout="stereo")
        size = sound.codec_context.frame_size or 1024
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        for number in range(48_000 // size):
            frame = av.AudioFrame(format=sound.format.name, layout="stereo", samples=size)
            for plane in frame.planes:
                plane.update(
                    np.random.default_rng(number).bytes(plane.buffer_size) if codec == "flac" else bytes(plane.buffer_size)
                )
            frame.sample_rate, frame.pts = 48_000, number * size
            container.mux(sound.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def test_sound_that_does_not_fit_is_left_out_by_name(tmp_path):
    output, left_out = run(with_sound(tmp_path / "sound.mkv", "pcm_s16le"))
    assert left_out == "pcm_s16le"
    with opened(output) as container:
        assert not container.streams.audio


def test_a_video_that_starts_after_its_sound_still_does(tmp_path):
    path = encode_streams(tmp_path / "late.mkv", [range(30)], first_sec=0.5, sound_sec=1.5)
    assert frames_of(run(path)[0])[0][0] == pytest.approx(0.5, abs=0.01)


def test_each_frame_shows_what_belongs_to_its_time(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Panel, "draw", lambda self, planes, shown: seen.append(shown.count))
    times_sec = np.arange(60) / 30
    timeline = Timeline(times_sec, times_sec, times_sec, np.array([0.5, 1.0, 1.5]), np.array([[0.0, 2.0]]))
    run(draw_video(tmp_path / "a.mp4", 60), timeline)
    assert seen == [0] * 15 + [1] * 15 + [2] * 15 + [3] * 15


def test_only_the_pixels_below_the_panel_change(tmp_path, monkeypatch):
    path = draw_video(tmp_path / "a.mp4", 3, size=(320, 240))
    monkeypatch.setitem(rewrite.ENCODERS, "libx264", {"qp": "0"})  # without loss
    shown = frames_of(run(path)[0])[1][1].astype(int)
    no_panel(monkeypatch)
    plain = frames_of(run(path)[0])[1][1].astype(int)
    panel = Panel((320, 240), Colours())
    changed = (shown != plain).any(axis=2)
    inside = np.zeros_like(changed)
    inside[panel.top - 1 : panel.top + panel.height + 1, panel.left - 1 : panel.left + panel.width + 1] = True
    assert changed[inside].mean() > 0.9
    assert not changed[~inside].any()


def test_frames_do_not_pile_up_before_they_are_encoded(tmp_path, monkeypatch):
    waiting, most = 0, 0
    real = rewrite.read_pictures

    def counted(*arguments):
        nonlocal waiting, most
        for picture in real(*arguments):
            waiting += 1
            most = max(most, waiting)
            yield picture

    def draw(self, planes, shown):
        nonlocal waiting
        waiting -= 1

    monkeypatch.setattr(rewrite, "read_pictures", counted)
    monkeypatch.setattr(Panel, "draw", draw)
    run(draw_video(tmp_path / "a.mp4", 100))
    assert (waiting, most) == (0, 1)


def test_where_x264_is_missing_another_encoder_is_used(tmp_path, monkeypatch):
    real = av.Codec

    def without(name, mode):
        if name == "libx264":
            raise ValueError(name)
        return real(name, mode)

    monkeypatch.setattr(rewrite.av, "Codec", without)
    path = draw_video(tmp_path / "a.mp4", 30)
    with opened(run(path)[0]) as container:
        assert container.streams.video[0].codec.canonical_name in ("h264", "mpeg4")
        assert sum(1 for _ in container.decode(video=0)) == 30


@pytest.mark.parametrize("content", [b"no video", b"\0" * 5000])
def test_a_file_that_is_no_video_is_a_failure(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DecodeError):
        run(tmp_path / "a.mp4")
