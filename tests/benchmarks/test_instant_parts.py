"""The fake decoder and model of the benchmarks produce a video that counts."""

import io

import pytest

from benchmarks.instant_parts import InstantDecoder, InstantScorer
from model.counting import count_repetitions
from model.counting_options import CountingOptions
from transforms.decoding.options import DecodingOptions


def test_any_file_is_a_video_of_two_seconds_with_three_repetitions():
    (read,) = InstantDecoder().read(io.BytesIO(), DecodingOptions())
    assert read.facts is not None
    assert len(read.frames) == len(read.times_sec) == 60
    logits = InstantScorer().score(read.frames)
    assert count_repetitions(logits, len(read.frames), 1, CountingOptions()).count == pytest.approx(3)
