"""A bounded number of evenly spaced frames is kept, however long the video and however it is divided into chunks."""

import numpy as np
import pytest

from pipeline.kept_frames import MOST_FRAMES, KeptFrames
from tests.support.samples import make_video
from transforms.records import FrameChunk


def keep(num_frames, chunk_frames):
    """Returns the kept frames of a video whose frames have their own number as value, in tiny pictures."""
    kept = KeptFrames()
    numbers = np.arange(num_frames)
    for index, first in enumerate(range(0, num_frames, chunk_frames)):
        part = numbers[first : first + chunk_frames]
        frames = np.broadcast_to(part.astype(np.uint32)[:, None, None, None], (len(part), 2, 2, 3))
        kept.add(FrameChunk(make_video(), index, frames, part / 30.0))
    return kept


@pytest.mark.parametrize("chunk_frames", [1, 64, 1000])
@pytest.mark.parametrize("num_frames", [1, 2, MOST_FRAMES, MOST_FRAMES + 1, 5000])
def test_kept_frames_are_evenly_spaced_and_bounded(num_frames, chunk_frames):
    kept = keep(num_frames, chunk_frames)
    shown = kept.frames[:, 0, 0, 0]
    assert len(shown) <= MOST_FRAMES
    assert len(shown) >= min(num_frames, MOST_FRAMES // 2)
    np.testing.assert_array_equal(shown, np.arange(0, num_frames, kept.step))
    np.testing.assert_allclose(kept.times_sec, shown / 30.0)


def test_no_chunk_is_held_by_a_frame_of_it():
    chunk = FrameChunk(make_video(), 0, np.zeros((500, 2, 2, 3), np.uint8), np.arange(500) / 30)
    kept = KeptFrames()
    kept.add(chunk)
    assert not any(np.shares_memory(frame, chunk.frames) for frame in kept._frames)


def test_before_the_first_chunk_there_is_none():
    assert KeptFrames().frames.shape == (0, 112, 112, 3)
