"""The fake decoder and model of the benchmarks produce a video that counts."""

import pytest

from benchmarks.instant_parts import InstantScorer, decode
from model.counting import count_repetitions
from model.counting_options import CountingOptions
from tests.support.samples import make_video


def test_a_video_of_two_seconds_has_three_repetitions():
    chunk = decode(make_video())
    logits = InstantScorer().score(chunk.frames)
    assert chunk.facts is not None
    assert count_repetitions(logits, len(chunk.frames), 1, CountingOptions()).count == pytest.approx(3)
