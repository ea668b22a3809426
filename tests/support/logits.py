"""Logits of a network that is sure of given periods and scores."""

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
