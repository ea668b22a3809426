"""Logits of a network that is sure of given periods and scores, or of some that agree more or less; and how counts differ."""

import dataclasses

import numpy as np

from model.logits import StrideLogits, window_frames

NUM_PERIODS = 32


def logits_of(frame_periods, frame_scores, stride, *, padding_score=0.0, num_periods=NUM_PERIODS, offset=1):
    """Returns logits that give each position the period, in frames, and the periodicity score of its frame."""
    num_frames = len(frame_periods)
    shown = window_frames(num_frames, stride).reshape(-1)
    scores = np.asarray(frame_scores, float)[shown]
    scores[-(-num_frames // stride) :] = padding_score
    periods = np.asarray(frame_periods)[shown] // stride
    return logits_of_positions(periods - offset, scores, num_periods)


def logits_of_positions(classes, scores, num_periods=NUM_PERIODS):
    """Returns logits that are sure of one class at each position, with the periodicity logits that lead to `scores`."""
    period = np.zeros((len(classes), num_periods), np.float32)
    period[np.arange(len(classes)), np.clip(classes, 0, num_periods - 1)] = 60.0
    squares = np.clip(np.square(scores), 1e-30, 1 - 1e-12)
    return StrideLogits(period, np.log(squares / (1 - squares)).astype(np.float32))


def random_logits(rng, num_shown, strides, num_classes=NUM_PERIODS):
    """Logits of strides that mostly agree on a period that wanders, with noise, where something repeats."""
    period = 24 * 2 ** np.cumsum(rng.normal(0, 0.02, num_shown))
    repeats = np.sin(np.arange(num_shown) / rng.uniform(20, 90)) * 6
    logits = {}
    for stride in strides:
        shown = np.minimum(window_frames(num_shown, stride).reshape(-1), num_shown - 1)
        octaves_off = np.log2(np.arange(1, num_classes + 1)) - np.log2(period[shown] / stride)[:, None]
        classes = -rng.uniform(1, 20) * octaves_off**2 + rng.normal(0, 1, octaves_off.shape)
        periodicity = repeats[shown] + rng.normal(0, 1, len(shown))
        logits[stride] = StrideLogits((4 * classes).astype(np.float32), periodicity.astype(np.float32))
    return logits


def differences(counted, expected):
    """The largest difference of each field of two `Counted`, fields that are equal left out."""
    found = {}
    for field in dataclasses.fields(counted):
        one, other = getattr(counted, field.name), getattr(expected, field.name)
        if field.name == "segments":
            one, other = ([dataclasses.astuple(segment) for segment in segments] for segments in (one, other))
        elif field.name == "stride_scores":
            one, other = list(one.items()), list(other.items())
        elif one is None or other is None:
            assert one is other, field.name
            continue
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert one.shape == other.shape, field.name
        if not np.array_equal(one, other):
            found[field.name] = float(np.abs(one - other).max())
    return found


def chunk_of(logits, num_shown, first_shown, chunk_shown):
    """Returns the logits of a stretch of a video, which begins at a shown frame and has at most `chunk_shown` of them."""
    length = min(chunk_shown, num_shown - first_shown)
    chunk = {}
    for stride, of_stride in logits.items():
        first = first_shown // stride
        positions = slice(first, first + window_frames(length, stride).size)
        chunk[stride] = StrideLogits(of_stride.period[positions], of_stride.periodicity[positions])
    return chunk


def concatenate(chunks):
    """Returns the logits of a whole video from those of its chunks, in order."""
    return {
        stride: StrideLogits(
            period=np.concatenate([chunk[stride].period for chunk in chunks]),
            periodicity=np.concatenate([chunk[stride].periodicity for chunk in chunks]),
            frozen_period=chunks[-1][stride].frozen_period,
            frozen_periodicity=chunks[-1][stride].frozen_periodicity,
        )
        for stride in chunks[0]
    }
