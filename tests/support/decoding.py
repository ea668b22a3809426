"""Reads whole videos for tests, and looks files up as listing does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_video
from transforms.decoding.samples import DecodeError, Samples
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode
from transforms.objects import find_object
from transforms.records import VideoRef


def look_up(uri: str | Path) -> VideoRef:
    """Returns a file or object as listing identifies it now."""
    video = find_object(str(uri))
    assert video is not None
    return video


def read_samples(path: str | Path, **options: float) -> list[Samples]:
    """Returns the samples of a local video; `options` are those of `DecodingOptions`."""
    with open(path, "rb") as file:
        return list(read_video(file, DecodingOptions(**options)))


def read_whole(path: str | Path, **options: float) -> tuple[np.ndarray, np.ndarray, VideoFacts]:
    """Returns the frames, times and facts of a local video."""
    samples = read_samples(path, **options)
    facts = samples[-1].facts
    assert facts is not None
    return np.concatenate([part.frames for part in samples]), np.concatenate([part.times_sec for part in samples]), facts


def read_error(path: str | Path, **options: float) -> FailureCode:
    """Returns the code of the error that reading a local video raises, after checking that its message is one line."""
    with pytest.raises(DecodeError) as caught:
        read_samples(path, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code
