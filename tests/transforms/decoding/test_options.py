"""Invalid decoding options are refused, with the value in the message."""

import pytest

from transforms.decoding.options import DecodingOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_fps": 0}, "max_fps .* Received: 0"),
        ({"max_fps": float("inf")}, "max_fps .* Received: inf"),
        ({"chunk_frames": 0}, "chunk_frames .* Received: 0"),
        ({"decoder_threads": -1}, "decoder_threads .* Received: -1"),
    ],
)
def test_an_invalid_value_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**options)
