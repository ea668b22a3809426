"""The stated probability follows how often such counts are right."""

import dataclasses

import numpy as np
import pytest

from model.certainty import FEATURES, features, fit, probability
from model.frame_counts import FrameCounts


def counts(period=20.0, num_frames=200, confidence=0.5, spread=1.0):
    curve = np.where(np.arange(num_frames) % 2, period * spread, period)
    return FrameCounts(
        confidence=confidence,
        notebook_period_frames=period,
        per_frame_count=1 / curve,
        periodicity=np.full(num_frames, confidence, np.float32),
        period_frames_curve=curve,
        is_periodic=np.ones(num_frames, bool),
    )


def test_features_are_what_their_names_say():
    values = features(counts(), alternative_count=12.0)
    assert values.shape == (len(FEATURES),)
    np.testing.assert_allclose(values, [1.0, 0.0, np.log(10), 0.0, np.log(3)], atol=1e-9)
    assert features(counts(spread=2.0), 7.5)[3] == pytest.approx(0.5)
    assert np.isfinite(features(counts(confidence=1.0), 10.0)).all()


def test_features_leave_out_frames_that_do_not_count_and_are_finite_without_confidence():
    moving, still = counts(), np.arange(200) >= 100
    partly = dataclasses.replace(
        moving,
        per_frame_count=np.where(still, 0.0, moving.per_frame_count),
        period_frames_curve=np.where(still, 70.0, moving.period_frames_curve),
        is_periodic=~still,
    )
    np.testing.assert_allclose(features(partly, alternative_count=3.0), [1.0, 0.0, np.log(5), 0.0, np.log(3)], atol=1e-9)
    assert np.isfinite(features(counts(confidence=0.0), 10.0)).all()


def test_a_probability_is_that_of_its_odds():
    assert probability([0.5, 2.0], np.array([1.0, -0.25])) == 0.5
    assert probability([1.0, 2.0], np.array([0.0, np.log(3) / 2])) == pytest.approx(0.75)  # three to one
    assert probability([1.0], np.array([-1e9])) == pytest.approx(0.0, abs=1e-12)


def test_stated_probabilities_are_those_of_the_data():
    random = np.random.default_rng(0)
    values = np.column_stack([np.ones(20_000), random.normal(size=20_000)])
    is_right = random.random(20_000) < 1 / (1 + np.exp(-(0.5 + 2.0 * values[:, 1])))
    np.testing.assert_allclose(fit(values, is_right), [0.5, 2.0], atol=0.1)


def test_a_feature_that_separates_right_from_wrong_stays_finite():
    values = np.column_stack([np.ones(40), np.arange(40) - 20.0])
    coefficients = fit(values, values[:, 1] > 0)
    assert np.isfinite(coefficients).all()
    misses = (values[:, 1] > 0) - np.array([probability(coefficients, row) for row in values])
    np.testing.assert_allclose(values.T @ misses, coefficients, atol=1e-6)  # what the data pull, the penalty holds
    assert probability(coefficients, values[-1]) > 0.99
    assert probability(coefficients, values[0]) < 0.01
