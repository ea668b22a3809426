"""Invalid decoding options are refused, with the value in the message."""

import pytest

from model.logits import chunk_frames
from model.presets import DEFAULT_PRESET, PRESETS
from transforms.decoding.options import DecodingOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_fps": 0}, "max_fps .* Received: 0"),
        ({"max_fps": float("inf")}, "max_fps .* Received: inf"),
        ({"chunk_frames": 0}, "chunk_frames .* Received: 0"),
        ({"decoder": "gpu"}, "decoder must be one of cpu, auto, nvdec. Received: 'gpu'"),
        ({"decoder": "nvdec", "exact": True}, "exact decoding needs the decoder cpu or auto. Received: nvdec"),
        ({"decoder_threads": -1}, "decoder_threads .* Received: -1"),
        ({"start_sec": -1.0}, "start_sec must be at least 0 and below end_sec. Received: -1.0 and inf"),
        ({"start_sec": 2.0, "end_sec": 2.0}, "start_sec must be at least 0 and below end_sec. Received: 2.0 and 2.0"),
        ({"start_sec": float("nan")}, "start_sec must be at least 0 and below end_sec. Received: nan and inf"),
        ({"start_frame": 5, "end_frame": 4}, "start_frame must be at least 0 and below end_frame. Received: 5 and 4"),
    ],
)
def test_an_invalid_value_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**options)


def test_chunks_fit_the_strides_of_the_default_model():
    assert DecodingOptions().chunk_frames == chunk_frames(PRESETS[DEFAULT_PRESET].strides)


@pytest.mark.parametrize(
    ("options", "wants_gpu"),
    [({}, False), ({"decoder": "auto"}, True), ({"decoder": "nvdec"}, True), ({"decoder": "auto", "exact": True}, False)],
)
def test_a_gpu_is_wanted_if_it_is_asked_for_and_decoding_is_not_exact(options, wants_gpu):
    assert DecodingOptions(**options).wants_gpu == wants_gpu
