import numpy as np
import pytest
import tensorflow as tf

from model import logits
from model.counting_options import CountingOptions
from model.graph_curves import first_argmax, middle_shown, periodic_probability, score_threshold


def test_the_first_of_equal_maxima_is_found():
    values = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]]
    assert first_argmax(tf.constant(values)).numpy().tolist() == [1, 0, 2]


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_the_middle_showing_stands_for_a_frame(repeats):
    found = middle_shown(tf.constant(7), tf.constant(repeats))
    np.testing.assert_array_equal(found, logits.middle_shown(7, repeats))


def test_a_very_sure_answer_does_not_overflow():
    found = periodic_probability(tf.constant([-1000.0, 0.0, 1000.0]))
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0])


@pytest.mark.parametrize("num_scores", [1, 2, 10, 11, 77])
@pytest.mark.parametrize(
    "options", [CountingOptions(frame_threshold=0.2, peak_share=0.9), CountingOptions(), CountingOptions(fully_periodic=True)]
)
def test_the_threshold_is_that_of_the_options(num_scores, options):
    scores = np.random.default_rng(num_scores).random(num_scores).astype(np.float32)
    assert float(score_threshold(tf.constant(scores), options)) == pytest.approx(options.score_threshold(scores), abs=1e-7)
