"""Heads learn to vote for the periods of whole videos; what embeds frames stays as it is."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

from model.counting_options import CountingOptions, StrideRule
from model.network import RepNet
from model.training.encoded_videos import EncodedVideo
from model.training.settings import TrainingSettings
from model.training.votes import VideoLearner, join_videos, order_videos
from tests.support.training import TINY

SETTINGS = TrainingSettings(videos=5, batch_videos=2, frozen_encoder=True, initial_weights="first.safetensors", seed=1)
STRIDES = (1, 4)
COUNTING = CountingOptions(stride_rule=StrideRule.VOTE, frame_threshold=0.13, peak_share=0.25)


def video(num_frames, period, seed=0, weight=1.0):
    """A video that repeats from one end to the other, with random embeddings that repeat."""
    rng = np.random.default_rng(seed)
    cycle = rng.random((period, TINY.embedding_channels))
    embeddings = {}
    for stride in STRIDES:
        frames = np.minimum(np.arange(-(-num_frames // (64 * stride)) * 64) * stride, num_frames - 1)
        embeddings[stride] = cycle[frames % period].reshape(-1, 64, cycle.shape[1]).astype(np.float16)
    return EncodedVideo(embeddings, np.ones(num_frames, bool), np.full(num_frames, period, np.float32), weight)


def test_each_time_step_finds_its_position_at_every_stride():
    videos = [video(100, 12, weight=0.5), video(70, 8)]
    example = join_videos(videos)
    assert example.embeddings.shape == (6, 64, 4)  # two windows at stride 1 and one at stride 4, twice
    steps = [np.arange(0, 100, 3), np.arange(0, 70, 3)]
    for stride, positions in zip(STRIDES, example.positions, strict=True):
        expected = [of.embeddings[stride].reshape(-1, 4)[step // stride] for of, step in zip(videos, steps, strict=True)]
        np.testing.assert_array_equal(example.embeddings.reshape(-1, 4)[positions], np.concatenate(expected))
    np.testing.assert_array_equal(example.period_frames, [12] * 34 + [8] * 24)
    np.testing.assert_array_equal(example.num_steps, [34, 24])
    np.testing.assert_array_equal(example.video_weight, np.float32([0.5, 1]))
    np.testing.assert_array_equal(example.weight[:3], 0.5)


def test_at_rest_a_time_step_has_no_period():
    resting = video(100, 12)
    resting.active[30:] = False
    np.testing.assert_array_equal(join_videos([resting]).period_frames, [12] * 10 + [0] * 24)


def test_a_round_shows_each_video_at_most_once_and_a_resumed_run_goes_on():
    shown = list(itertools.islice(order_videos(SETTINGS, 0), 6))
    for first in (0, 2, 4):
        assert len({*shown[first], *shown[first + 1]}) == 4
    assert len({tuple(numbers) for numbers in shown}) > 2
    for done in range(4):
        assert list(itertools.islice(order_videos(SETTINGS, done), 6 - done)) == shown[done:]


@pytest.mark.slow
def test_heads_learn_and_nothing_else_does():
    learner = VideoLearner(SETTINGS, TINY, STRIDES, COUNTING)
    before = {name: variable.numpy() for name, variable in learner.network.variables_by_name().items()}
    example = join_videos([video(200, 9), video(200, 15, seed=1)])
    losses = [learner.step_on_videos(example, 5e-3, 0.5).numpy() for _ in range(80)]
    assert losses[0].shape == (3,)
    period, _, path = np.mean(losses[-5:], axis=0) / np.mean(losses[:5], axis=0)
    assert period < 0.8
    assert path < 0.8
    after = learner.take_averages().variables_by_name()
    changed = {name for name, values in before.items() if not np.array_equal(values, after[name].numpy())}
    assert changed
    assert not [name for name in changed if name.startswith(("base_model/", "temporal_", "layout"))]


def test_layout_is_not_trained():
    config = dataclasses.replace(TINY, similarity="kernels", layout_channels=2)
    learner = VideoLearner(SETTINGS, config, STRIDES, COUNTING)
    assert isinstance(learner.network, RepNet)
    assert not learner.network.layout.trainable


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"videos need Keras' backend tensorflow: set KERAS_BACKEND\. Received: jax"):
        VideoLearner(SETTINGS, TINY, STRIDES, COUNTING)
