"""Videos that a GPU decodes have the frames, times and facts that the processor finds, and it decodes what the GPU does not."""

import dataclasses
import math

import av
import numpy as np
import pytest

from tests.support.gpus import SoftwareGpu
from tests.support.videos import corner_marked, encode_streams, moving_square, set_edit_sec, set_rotation, set_steps
from transforms.decoding import nvdec
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_pictures, read_video
from transforms.decoding.samples import DecodeError
from transforms.decoding.video_facts import NvdecUse
from transforms.failure_codes import FailureCode

ENCODERS = {
    "h264": ("libx264", {"bf": "3", "preset": "veryfast"}),
    "hevc": ("libx265", {"x265-params": "bframes=4:log-level=error"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


def encode(path, codec="h264", num_frames=90, fps=30, size=(320, 240), pixels="yuv420p", draw=None, options=None):
    """Encodes a moving square."""
    encoder, defaults = ENCODERS.get(codec, (codec, {}))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=fps, options={**defaults, **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for index in range(num_frames):
            image = draw(index, size=size) if draw else moving_square(index, period_frames=40, size=size)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path


def read(path, gpu=NvdecUse.UNUSED, **options):
    """Returns frames, times and facts; chunks have 20 frames, the last one up to that."""
    with open(path, "rb") as file:
        samples = list(read_video(file, DecodingOptions(**{"chunk_frames": 20, "decoder": "auto", **options}), gpu=gpu))
    assert all(len(part.frames) == 20 for part in samples[:-1])
    frames = np.concatenate([part.frames for part in samples])
    return frames, np.concatenate([part.times_sec for part in samples]), samples[-1].facts


def check_same(path, gpu, use, tolerance=3.0, **options):
    """Checks that a video reads the same with and without a GPU."""
    expected_frames, expected_times_sec, expected_facts = read(path, **options)
    frames, times_sec, facts = read(path, gpu, **options)
    np.testing.assert_array_equal(times_sec, expected_times_sec)
    assert facts == dataclasses.replace(expected_facts, nvdec=use)
    assert np.abs(frames.astype(int) - expected_frames).mean() <= tolerance


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_gpu_decodes_the_frames_that_the_processor_finds(tmp_path, codec, suffix):
    gpu = SoftwareGpu()
    check_same(encode(tmp_path / f"a.{suffix}", codec), gpu, NvdecUse.USED)
    assert gpu.opened == [codec]


def test_frames_above_the_sampling_rate_are_left_out(tmp_path):
    check_same(encode(tmp_path / "a.mp4", fps=60), SoftwareGpu(), NvdecUse.USED, max_fps=20.0)


def test_a_part_of_a_video_is_the_same_part(tmp_path):
    path = encode(tmp_path / "a.mp4")
    check_same(path, SoftwareGpu(), NvdecUse.USED, start_sec=0.5, end_sec=2.0)
    check_same(path, SoftwareGpu(), NvdecUse.USED, start_frame=7, end_frame=61)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_and_size_are_those_of_the_file(tmp_path, degrees):
    path = set_rotation(encode(tmp_path / "a.mp4", num_frames=20, draw=corner_marked, size=(326, 182)), degrees)
    check_same(path, SoftwareGpu(), NvdecUse.USED)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p"])
def test_colours_are_those_that_the_file_declares(tmp_path, pixels):
    options = {"colorspace": "bt709", "color_range": "pc" if pixels == "yuvj420p" else "tv"}
    check_same(encode(tmp_path / "a.mp4", num_frames=20, pixels=pixels, options=options), SoftwareGpu(), NvdecUse.USED)


def test_ten_bits_of_hevc_are_decoded(tmp_path):
    check_same(encode(tmp_path / "a.mp4", "hevc", num_frames=20, pixels="yuv420p10le"), SoftwareGpu(), NvdecUse.USED)


def test_variable_frame_rates_and_edit_lists_keep_their_times(tmp_path):
    varying = set_steps(encode(tmp_path / "a.mp4", num_frames=30, options={"bf": "0"}), [0.02, 0.05, 0.04] * 10)
    check_same(varying, SoftwareGpu(), NvdecUse.USED)
    cut = set_edit_sec(encode(tmp_path / "b.mp4"), 1.5)
    check_same(cut, SoftwareGpu(), NvdecUse.USED)


@pytest.mark.parametrize(
    ("name", "encoding", "use"),
    [
        ("a.mp4", {"codec": "mpeg4"}, NvdecUse.CODEC),
        ("a.webm", {"codec": "vp9"}, NvdecUse.CODEC),
        ("a.avi", {"options": {"bf": "0"}}, NvdecUse.CONTAINER),
        ("a.mp4", {"pixels": "yuv444p"}, NvdecUse.PIXELS),
        ("a.mp4", {"pixels": "yuv422p"}, NvdecUse.PIXELS),
        ("a.mp4", {"pixels": "yuv420p10le"}, NvdecUse.PIXELS),
    ],
)
def test_the_processor_decodes_what_a_gpu_does_not_and_says_why(tmp_path, name, encoding, use):
    gpu = SoftwareGpu()
    check_same(encode(tmp_path / name, num_frames=30, **encoding), gpu, use, tolerance=0)
    assert gpu.opened == []


def test_the_processor_decodes_a_size_that_the_gpu_refuses(tmp_path):
    check_same(encode(tmp_path / "a.mp4"), SoftwareGpu(refuses=True), NvdecUse.NOT_OPENED, tolerance=0)


@pytest.mark.parametrize("number", [0, 1, 20, 50, 89])
def test_frames_after_a_failure_are_the_processors_and_none_comes_twice(tmp_path, number):
    path = encode(tmp_path / "a.mp4")
    check_same(path, SoftwareGpu(fails_after=number), NvdecUse.FAILED)
    check_same(path, SoftwareGpu(leaves_out=number), NvdecUse.FAILED)


def test_damage_is_found_by_the_processor(tmp_path):
    path = encode(tmp_path / "a.mp4", num_frames=120)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    for position in range(start + 3000, start + 3400):
        data[position] ^= 0x5A
    path.write_bytes(data)
    assert read(path)[2].truncated
    check_same(path, SoftwareGpu(), NvdecUse.FAILED)


def test_a_video_that_starts_in_the_middle_is_the_processors(tmp_path):
    path = encode(tmp_path / "a.ts", num_frames=120, options={"g": "60", "keyint_min": "60", "sc_threshold": "0"})
    data = path.read_bytes()
    cut = len(data) // 3 // 188 * 188
    path.write_bytes(data[: 2 * 188] + data[cut:])
    check_same(path, SoftwareGpu(), NvdecUse.IRREGULAR, tolerance=0)


def test_limits_are_the_same(tmp_path):
    path = encode(tmp_path / "a.mp4")
    for options, code in (
        ({"max_pixels": 1000}, FailureCode.TOO_LARGE),
        ({"max_frames": 50}, FailureCode.TOO_LONG),
        ({"max_sec": 1.0}, FailureCode.TOO_LONG),
    ):
        for gpu in (NvdecUse.UNUSED, SoftwareGpu()):
            with pytest.raises(DecodeError) as caught:
                read(path, gpu, **options)
            assert caught.value.code is code


@pytest.mark.parametrize("options", [{"decoder": "cpu"}, {"exact": True}])
def test_the_gpu_is_left_alone_where_the_processor_is_to_decode(tmp_path, options):
    gpu = SoftwareGpu()
    check_same(encode(tmp_path / "a.mp4", num_frames=30), gpu, NvdecUse.UNUSED, tolerance=0, **options)
    assert gpu.opened == []


def test_pictures_of_full_size_come_from_the_processor(tmp_path):
    with open(encode(tmp_path / "a.mp4", num_frames=5), "rb") as file:
        pictures = list(read_pictures(file, DecodingOptions(decoder="nvdec")))
    assert [picture.frame.width for picture in pictures] == [320] * 5


def test_why_there_is_no_gpu_is_noted_of_each_video(tmp_path):
    path = encode(tmp_path / "a.mp4", num_frames=10)
    assert read(path, NvdecUse.NO_GPU)[2].nvdec is NvdecUse.NO_GPU
    assert read(path, NvdecUse.NO_GPU, decoder="cpu")[2].nvdec is NvdecUse.UNUSED


def test_streams_without_times_are_the_processors(tmp_path):
    path = encode_streams(tmp_path / "a.h264", [range(30)], codec="libx264", size=(320, 240))
    check_same(path, SoftwareGpu(), NvdecUse.IRREGULAR, tolerance=0)


def test_every_codec_has_a_decoder_in_ffmpeg_or_none_has():
    assert nvdec.has_decoders() == all(name in av.codecs_available for name in nvdec.CODECS.values())
    assert nvdec.CODECS.keys() == nvdec.PIXEL_FORMATS.keys()
    assert math.isinf(DecodingOptions().end_sec)
