"""Videos keep their values between workers, and Beam may group by them."""

import datetime

import apache_beam as beam
import pytest

from transforms.coders import VideoRefCoder
from transforms.records import VideoRef


def ref(uri="a.mp4", generation=2**62):
    return VideoRef(uri, generation, 2**40, datetime.datetime(2025, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC))


@pytest.mark.parametrize("uri", ["gs://gym/a.mp4", "späť/🏋.mp4", 'quo"te\n.mp4', "not-utf8-\udcff.mp4", ""])
def test_the_coder_returns_the_video_that_was_encoded(uri):
    coder = VideoRefCoder()

    assert coder.decode(coder.encode(ref(uri))) == ref(uri)


def test_the_coder_distinguishes_generations():
    coder = VideoRefCoder()

    assert coder.encode(ref(generation=7)) == coder.encode(ref(generation=7))
    assert coder.encode(ref(generation=7)) != coder.encode(ref(generation=8))


def test_beam_finds_the_coder_and_may_group_by_it():
    coder = beam.coders.registry.get_coder(VideoRef)

    assert isinstance(coder, VideoRefCoder)
    assert coder.is_deterministic()
