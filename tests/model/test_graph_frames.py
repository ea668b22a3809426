"""Sampling, repeats, sizes and times inside a graph are those of the decoder and of the results."""

import math

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf

from model import graph_frames, logits
from transforms.decoding.clock import FrameSampler
from transforms.decoding.pixels import Orientation, resize_frame
from transforms.decoding.video_facts import VideoFacts
from transforms.records import VideoCount

VIDEO_SIZES = [(480, 270), (100, 64), (224, 224), (448, 448), (1280, 720), (63, 501)]


def seconds(values):
    return tf.constant(np.asarray(values, np.float64))


def jittered(fps, num_frames, seed=0):
    """Times of a camera that is up to a third of a step early or late."""
    rng = np.random.default_rng(seed)
    times_sec = np.arange(num_frames) / fps + rng.uniform(-0.33, 0.33, num_frames) / fps
    return times_sec - times_sec[0]


@pytest.mark.parametrize("max_fps", [30.0, 15.0, 7.5])
@pytest.mark.parametrize("fps", [4.0, 24.0, 29.97, 31.4, 50.0, 60.0, 240.0])
def test_the_frames_kept_are_those_of_the_decoder(fps, max_fps):
    for times_sec in (np.arange(200) / fps, jittered(fps, 200)):
        sampler = FrameSampler(max_fps)
        expected = [index for index, time_sec in enumerate(times_sec) if sampler.keeps(time_sec)]
        assert graph_frames.sample(seconds(times_sec), max_fps).numpy().tolist() == expected


@pytest.mark.parametrize("below_fps", [0.0, 20.0])
@pytest.mark.parametrize("fps", [1.0, 4.0, 7.5, 12.0, 19.9, 20.0, 30.0])
def test_repeats_are_those_of_the_pipeline(fps, below_fps):
    for times_sec in ([0.0], np.arange(2) / fps, np.arange(9) / fps, jittered(fps, 50), jittered(fps, 51)):
        expected = logits.slow_repeats(np.asarray(times_sec), below_fps)
        assert graph_frames.slow_repeats(seconds(times_sec), below_fps) == expected


@pytest.mark.parametrize("size", VIDEO_SIZES, ids=str)
def test_pixels_differ_from_the_decoders_by_at_most_one(size):
    width, height = size
    frame = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    frame = cv2.GaussianBlur(frame, (0, 0), 2)
    expected = resize_frame(av.VideoFrame.from_ndarray(frame, format="rgb24"), Orientation()).astype(float)
    difference = np.abs(graph_frames.resize(tf.constant(frame[None]))[0].numpy() - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.2


def test_frames_of_the_networks_size_stay_as_they_are():
    frames = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    np.testing.assert_array_equal(graph_frames.resize(tf.constant(frames)), frames)


def test_resizing_to_twice_the_networks_size_first_changes_nothing():
    frame = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    expected = cv2.resize(frame, (112, 112), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(graph_frames.resize(tf.constant(frame[None]))[0], expected)


@pytest.mark.parametrize("indices", [[0], [4], [1, 2, 3], [0, 2, 4], [0, 1, 3]])
def test_the_frames_asked_for_are_taken(indices):
    frames = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.testing.assert_array_equal(graph_frames.take(tf.constant(frames), tf.constant(indices)), frames[indices])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([5.0, 5.5, 6.0], [0.0, 0.5, 1.0]),
        ([0.0, 0.1, 0.1, 0.3], [0.0, 0.1, 0.2, 0.3]),
        ([0.04, 0.08, 0.12, 0.0], [0.0, 0.04, 0.08, 0.12]),
        ([0.0, 0.1, math.nan, 0.3, math.inf], [0.0, 0.1, 0.2, 0.3, 0.4]),
        ([math.nan, 0.1, 0.2], [0.0, 0.1, 0.2]),
        ([math.nan, math.nan, 100.0, 100.5, 101.0], [0.0, 0.5, 1.0, 1.5, 2.0]),
        ([math.nan, math.nan], [0.0, 1 / 30]),
        ([0.0, 0.0, 0.0], [0.0, 1 / 30, 2 / 30]),
        ([7.0], [0.0]),
    ],
)
def test_a_time_that_does_not_ascend_is_a_usual_step_after_the_frame_before(given, expected):
    np.testing.assert_allclose(graph_frames.ascending(seconds(given)), expected, atol=1e-12)


@pytest.mark.slow
def test_frames_of_more_than_two_gigabytes_are_taken():
    graph_frames.check_input(tf.zeros((346, 1080, 1920, 3), tf.uint8), tf.zeros(346, tf.float64))


@pytest.mark.parametrize(("frames", "times"), [((0, 8, 8, 3), 0), ((2, 8, 8, 3), 3), ((2, 0, 8, 3), 2)])
def test_frames_without_a_time_each_are_refused(frames, times):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must"):
        graph_frames.check_input(tf.zeros(frames, tf.uint8), tf.zeros(times, tf.float64))


@pytest.mark.parametrize(("num_frames", "paused"), [(1, []), (2, []), (40, []), (12, [1]), (40, [1]), (40, [20, 39])])
def test_times_and_periods_are_those_of_a_result(num_frames, paused):
    rng = np.random.default_rng(num_frames)
    steps_sec = rng.uniform(0.01, 0.1, num_frames)
    steps_sec[paused] = 9.0  # before these frames
    times_sec = np.cumsum(steps_sec)
    times_sec -= times_sec[0]
    last_step_sec = np.median(np.diff(times_sec[-32:])) if num_frames > 1 else 1 / 30
    is_periodic, periods = rng.random(num_frames) < 0.7, rng.uniform(1, 60, num_frames)
    counted = type("Counted", (), {"is_periodic": is_periodic, "period_frames_curve": periods})()
    counted.repetition_frames = np.sort(rng.uniform(0, num_frames, 5))
    facts = VideoFacts(8, 8, "h264", 0, 30.0, num_frames, times_sec[-1] + last_step_sec, False, False)
    result = VideoCount(None, facts, counted, times_sec, ())
    edges_sec = graph_frames.frame_edges(seconds(times_sec), seconds(times_sec))
    np.testing.assert_allclose(edges_sec, result.frame_edges_sec)
    lengths_sec = graph_frames.frame_lengths(edges_sec, tf.constant(is_periodic), seconds(periods))
    np.testing.assert_allclose(lengths_sec, result.frame_lengths_sec)
    np.testing.assert_allclose(
        graph_frames.times_at(seconds(counted.repetition_frames), seconds(times_sec), lengths_sec),
        result.repetition_times_sec,
    )
    found = graph_frames.period_seconds(tf.constant(is_periodic), seconds(periods), lengths_sec)
    np.testing.assert_allclose(found, result.period_sec)
