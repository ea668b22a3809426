"""Packed frames are smaller, unpack to the same frames, and failures pass unchanged."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from tests.support.samples import make_video
from tests.support.scorers import FakeScorer
from tests.support.videos import moving_square
from transforms.failure_codes import FailureCode, Stage
from transforms.inference import RepNetModelHandler, ScoreChunks
from transforms.packing import pack, unpack
from transforms.records import ChunkScores, Failure, FrameChunk


def chunk_of(frames, index=0):
    return FrameChunk(make_video(), index, frames, np.arange(len(frames)) / 30, None)


FAILURE = Failure(make_video(), Stage.DECODE, FailureCode.EMPTY_FILE, "the file is empty")


@pytest.mark.parametrize("num_frames", [1, 2, 130])
def test_noise_unpacks_to_the_same_frames(num_frames):
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 112, 112, 3)).astype(np.uint8)
    packed = pack(chunk_of(frames, index=7))
    chunk = unpack(packed)
    np.testing.assert_array_equal(chunk.frames, frames)
    assert chunk.frames.dtype == np.uint8
    np.testing.assert_array_equal(chunk.times_sec, np.arange(num_frames) / 30)
    assert (chunk.video, chunk.index, chunk.facts) == (make_video(), 7, None)


def test_frames_with_little_motion_become_small():
    frames = np.stack([moving_square(index, size=(112, 112)) for index in range(128)])
    assert len(pack(chunk_of(frames)).packed) < frames.nbytes / 20


def test_packing_does_not_change_its_input():
    frames = np.stack([moving_square(index, size=(112, 112)) for index in range(5)])
    before = frames.copy()
    pack(chunk_of(frames))
    np.testing.assert_array_equal(frames, before)


def test_failures_pass_unchanged():
    assert pack(FAILURE) is FAILURE
    assert unpack(FAILURE) is FAILURE


@pytest.mark.parametrize("accelerator", ["", "type:nvidia-l4;count:1;install-nvidia-driver"])
def test_scores_are_the_same_with_and_without_an_accelerator(accelerator):
    frames = np.full((64, 112, 112, 3), 90, np.uint8)

    def check(items):
        (scores,) = (item for item in items if isinstance(item, ChunkScores))
        expected = FakeScorer().score(frames)
        np.testing.assert_array_equal(scores.logits[1].period, expected[1].period)
        assert FAILURE in items

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        items = pipeline | beam.Create([chunk_of(frames), FAILURE], reshuffle=False)
        assert_that(items | ScoreChunks(RepNetModelHandler(FakeScorer), accelerator), check)
