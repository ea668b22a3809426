"""Scoring inside a graph gives the logits of `Scorer`, whatever a video's length."""

import numpy as np
import pytest
import tensorflow as tf

from model.graph_scoring import GraphScorer, in_batches
from model.logits import chunk_frames
from model.scoring import Scorer
from tests.reference.synthetic_clip import synthetic_clip
from tests.support.logits import concatenate

STRIDES = (1, 2)
OVERLAP_FROM = 2
TOLERANCE = 5e-3


@pytest.fixture(scope="module")
def scorers(tiny_network):
    return (
        GraphScorer(tiny_network, STRIDES, batch_frames=16, overlap_from=OVERLAP_FROM),
        Scorer(tiny_network, STRIDES, overlap_from=OVERLAP_FROM),
    )


def score_in_graph(scorer, frames, repeats=1):
    """Scores inside a traced function; returns the logits by stride, and those of the frozen window."""

    @tf.function(input_signature=[tf.TensorSpec((None, 112, 112, 3)), tf.TensorSpec((), tf.int32)])
    def score(frames, repeats):
        def between(first, last):
            return frames[first:last]

        num_frames = tf.shape(frames)[0]
        return scorer.score_all(between, num_frames, repeats), scorer.score_frozen(between, num_frames)

    return score(tf.constant(frames, tf.float32), tf.constant(repeats))


@pytest.mark.parametrize(
    ("num_frames", "repeats"), [(1, 1), (63, 1), (65, 1), (50, 3), (150, 3), (chunk_frames(STRIDES) + 5, 1)]
)
def test_a_graph_scores_as_the_scorer_does(scorers, num_frames, repeats):
    in_graph, scorer = scorers
    frames = synthetic_clip(3, num_frames, 11)
    length = chunk_frames(STRIDES)
    chunks = [frames[first : first + length] for first in range(0, num_frames, length)]
    expected = concatenate([scorer.score(chunk, is_last=chunk is chunks[-1], repeats=repeats) for chunk in chunks])
    found, frozen = score_in_graph(in_graph, frames, repeats)
    for stride in STRIDES:
        np.testing.assert_allclose(found[stride].period, expected[stride].period, rtol=1e-4, atol=TOLERANCE)
        np.testing.assert_allclose(found[stride].periodicity, expected[stride].periodicity, rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(frozen.period, expected[1].frozen_period, rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(frozen.periodicity, expected[1].frozen_periodicity, rtol=1e-4, atol=TOLERANCE)


def test_no_batch_holds_more_frames_than_its_size(scorers):
    asked = []

    def between(first, last):
        asked.append(int(last - first))
        return tf.zeros((last - first, 112, 112, 3))

    scorers[0].score_all(between, tf.constant(70), tf.constant(1))  # eagerly, so that the sizes are seen
    assert asked == [16, 16, 16, 16, 6]


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_batches_are_concatenated_in_order(count):
    specs = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 2), tf.int32)]
    ranges, pairs = in_batches(
        lambda first, last: (tf.range(first, last), tf.ones((last - first, 2), tf.int32)), tf.constant(count), 4, specs
    )
    assert ranges.numpy().tolist() == list(range(count))
    assert pairs.shape == (count, 2)
