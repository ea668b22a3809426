"""The losses are 0 for the right answer, split between neighbouring classes, and weighed position by position."""

import numpy as np
import pytest
import tensorflow as tf

from model.training.losses import period_loss, periodicity_loss

ONE = np.ones((1, 1, 1), np.float32)


def logits_of(likelihoods):
    """Of a network with 32 classes, class 0 a period of 1."""
    logits = np.full((1, 1, 1, 32), -30.0, np.float32)
    for positions, likelihood in likelihoods.items():
        logits[..., positions - 1] = np.log(likelihood)
    return logits


def period_loss_of(period, likelihoods, **options):
    # One position of one: the sum over repeating positions is divided by one more than their number.
    return 2 * float(period_loss(period * ONE, logits_of(likelihoods), ONE, 1, **options))


def test_a_sure_right_answer_costs_nothing():
    assert period_loss_of(10, {10: 1.0}) == pytest.approx(0, abs=1e-4)


def test_between_two_classes_both_are_right_by_their_shares():
    shared = period_loss_of(10.25, {10: 0.75, 11: 0.25})
    assert shared == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=1e-4)
    assert shared < period_loss_of(10.25, {10: 0.5, 11: 0.5}) < period_loss_of(10.25, {10: 0.01, 11: 0.99})


@pytest.mark.parametrize(("period", "nearest"), [(32.4, 32), (0.5, 1)])
def test_beyond_the_classes_the_last_one_is_right(period, nearest):
    assert period_loss_of(period, {nearest: 1.0}) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("period", "nearest"), [(10.25, 10), (10.75, 11)])
def test_of_whole_periods_the_nearest_class_is_right(period, nearest):
    assert period_loss_of(period, {nearest: 1.0}, whole_periods=True) == pytest.approx(0, abs=1e-4)


def test_where_nothing_repeats_no_period_is_wrong():
    assert period_loss_of(0, {5: 1.0}) == 0


def losses(logits, weight):
    period = np.full(weight.shape, 7.5, np.float32)
    return {
        "period": period_loss(period, logits, weight, 1),
        "periodicity": periodicity_loss(np.zeros_like(weight), logits[..., 0], weight),
    }


@pytest.mark.parametrize("name", ["period", "periodicity"])
def test_a_label_of_low_weight_moves_the_loss_and_its_gradient_in_proportion(name):
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.standard_normal((1, 2, 64, 32)).astype(np.float32))
    weight = np.ones((1, 2, 64), np.float32)
    weight[0, 1, 10:] = 0.25
    with tf.GradientTape(persistent=True) as tape:
        plain, weighted = losses(logits, np.ones_like(weight))[name], losses(logits, weight)[name]
    expected = weight[..., None] * tape.gradient(plain, logits)
    np.testing.assert_allclose(tape.gradient(weighted, logits), expected, rtol=1e-4, atol=1e-8)
    assert 0 < float(weighted) < float(plain)
