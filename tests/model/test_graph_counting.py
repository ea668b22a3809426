"""Counting inside a graph gives what counting in NumPy gives, with every option."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from model import counting
from model.counting_options import CountingOptions, StrideRule
from model.graph_counting import count_repetitions, rounded_count
from model.graph_curves import GraphLogits
from model.logits import StrideLogits
from model.presets import PRESETS
from tests.support.golden_cases import GOLDEN_CASES, golden_case
from tests.support.graphs import frozen_in_graph, in_graph, random_logits
from tests.support.logits import NUM_PERIODS, logits_of
from tests.support.marks import slow

VOTE = PRESETS["lite"].counting
OPTIONS = {
    "real frames": CountingOptions(),
    "no median": CountingOptions(median_filter=False, frame_threshold=0.3),
    "notebook": CountingOptions(StrideRule.NOTEBOOK, video_threshold=0.0),
    "notebook, one window a batch": CountingOptions(StrideRule.NOTEBOOK, batch_windows=1),
    "one speed": CountingOptions(constant_speed=True, video_threshold=0.0),
    "all frames": CountingOptions(fully_periodic=True),
    "own peak": CountingOptions(peak_share=0.8, frame_threshold=0.1),
    "between classes": CountingOptions(interpolate_periods=True, frame_threshold=0.2),
    "high threshold": CountingOptions(video_threshold=1.0),
    "vote": VOTE,
    "vote, one speed": dataclasses.replace(VOTE, constant_speed=True),
    "vote, all frames": dataclasses.replace(VOTE, fully_periodic=True),
    "vote, high threshold": dataclasses.replace(VOTE, video_threshold=1.0),
    "vote without certainty": dataclasses.replace(VOTE, certainty=()),
    "vote that rests": dataclasses.replace(VOTE, frame_threshold=1.0),
}
LENGTHS = [(1, 1), (2, 1), (63, 1), (64, 1), (200, 1), (431, 1), (50, 3)]


@functools.cache
def traced(strides, offset, options):
    """Counting as a graph, which takes a video of any length."""
    specs = [GraphLogits(tf.TensorSpec((None, None)), tf.TensorSpec((None,)))] * len(strides)

    @tf.function(input_signature=[specs, specs, tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)])
    def count(logits, frozen, num_frames, repeats):
        logits = [GraphLogits(tf.ensure_shape(one.period, (None, NUM_PERIODS)), one.periodicity) for one in logits]
        return results(
            dict(zip(strides, logits, strict=True)),
            num_frames,
            offset,
            options,
            repeats,
            dict(zip(strides, frozen, strict=True)),
        )

    return count


def results(*arguments):
    counted = count_repetitions(*arguments)
    return {field.name: getattr(counted, field.name) for field in dataclasses.fields(counted)}


def count_in_graph(logits, num_frames, offset, options, repeats=1):
    """Counts inside a graph and returns the results as arrays, by name."""
    parts = list(in_graph(logits).values()), list(frozen_in_graph(logits).values())
    found = traced(tuple(logits), offset, options)(*parts, tf.constant(num_frames), tf.constant(repeats))
    return {name: value.numpy() for name, value in found.items()}


def assert_equal(logits, num_frames, offset, options, repeats=1):
    expected = counting.count_repetitions(logits, num_frames, offset, options, repeats)
    found = count_in_graph(logits, num_frames, offset, options, repeats)
    assert found["count"] == pytest.approx(expected.count, abs=1e-6)
    assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
    assert found["stride"] == expected.stride
    assert found["certainty"] == pytest.approx(
        math.nan if expected.certainty is None else expected.certainty, abs=1e-6, nan_ok=True
    )
    for name in ("per_frame_count", "periodicity", "period_frames_curve", "is_periodic", "repetition_frames"):
        wanted = getattr(expected, name)
        assert found[name].dtype == wanted.dtype, name
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6, atol=1e-6, err_msg=name)


QUICK = ("notebook", "real frames", "vote")


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        *((name, 1) for name in QUICK),
        *slow(*((name, 1) for name in OPTIONS if name not in QUICK), ("real frames", 0), ("one speed", 0), ("vote", 0)),
    ],
)
def test_a_graph_counts_as_numpy_does(name, offset):
    options = OPTIONS[name]
    for seed, (num_frames, repeats) in enumerate(LENGTHS):
        logits = random_logits(seed, (1, 2, 3, 4), num_frames, repeats)
        assert_equal(logits, num_frames, offset, options, repeats)


@pytest.mark.parametrize(("year", "case"), GOLDEN_CASES)
def test_a_graph_counts_golden_cases_like_the_authors_code(year, case):
    logits, num_frames, offset, options, golden = golden_case(year, case)
    parts = in_graph(logits), tf.constant(num_frames), offset, options, tf.constant(1), frozen_in_graph(logits)
    # Each case has its own options, and is not worth a graph.
    found = {name: value.numpy() for name, value in results(*parts).items()}
    assert found["stride"] == golden["chosen_stride"]
    assert found["count"] == pytest.approx(golden["per_frame_counts"].sum(), abs=1e-6)
    assert found["confidence"] == pytest.approx(float(golden["pred_score"]), abs=1e-6)
    np.testing.assert_allclose(found["per_frame_count"], golden["per_frame_counts"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [OPTIONS["real frames"], VOTE], ids=["real frames", "vote"])
def test_one_stride_alone_counts(options):
    assert_equal(random_logits(3, (2,), 150), 150, 1, options)


def test_what_does_not_repeat_counts_zero_without_a_certainty():
    logits = {stride: logits_of([20] * 100, [0.0] * 100, stride) for stride in (1, 2)}
    found = count_in_graph(logits, 100, 1, VOTE)
    assert found["count"] == 0
    assert math.isnan(found["certainty"])
    assert len(found["repetition_frames"]) == 0


def test_scores_that_tie_leave_the_count_to_the_first_stride():
    one = logits_of([12] * 128, [0.9] * 128, 1)
    assert_equal({4: StrideLogits(one.period[:64], one.periodicity[:64]), 2: one}, 256, 1, CountingOptions())


def test_classes_that_tie_mean_the_shorter_period():
    flat = StrideLogits(np.zeros((64, 32), np.float32), np.full(64, 5.0, np.float32))
    assert_equal({1: flat}, 64, 5, CountingOptions(fully_periodic=True, video_threshold=0.0))


def test_the_notebook_rule_needs_a_frozen_window():
    logits = {1: logits_of([12] * 64, [0.9] * 64, 1)}
    with pytest.raises(ValueError, match="frozen window"):
        count_repetitions(in_graph(logits), tf.constant(64), 1, OPTIONS["notebook"], tf.constant(1))


@pytest.mark.parametrize(("count", "rounded"), [(0.0, 0), (0.5, 1), (2.49, 2), (2.5, 3)])
def test_halves_are_rounded_up(count, rounded):
    assert rounded_count(tf.constant(count, tf.float64)) == rounded
