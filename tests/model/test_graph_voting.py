"""The vote inside a graph gives what the vote in NumPy gives: votes, path and periods."""

import math

import numpy as np
import pytest
import tensorflow as tf

from model import graph_voting, voting
from model.graph_voting import GraphVotes
from tests.support.graphs import in_graph, random_logits


@pytest.mark.parametrize("strides", [(1, 2, 3, 4, 6, 8, 12), (3,), (4, 1)])
def test_votes_are_those_of_numpy(strides):
    logits = random_logits(1, strides, 90, repeats=2)
    expected = voting.collect_votes(logits, 90, 1, 2)
    found = graph_voting.collect_votes(in_graph(logits), tf.constant(90), 1, tf.constant(2))
    np.testing.assert_allclose(found.votes, expected.votes, atol=1e-7)
    np.testing.assert_allclose(2**found.octaves, expected.periods)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 60])
@pytest.mark.parametrize("rest_vote", [-math.inf, 0.0, 0.3, 0.9])
def test_the_path_is_that_of_numpy(num_steps, rest_vote):
    rng = np.random.default_rng(num_steps)
    for scale in (0.3, 1.0, 20.0):
        votes = (scale * rng.random((num_steps, 30)) ** 4).astype(np.float32)
        expected = voting.find_path(votes, rest_vote)
        found = graph_voting.find_path(tf.constant(votes), tf.constant(rest_vote, tf.float64))
        np.testing.assert_array_equal(found, expected)


def test_paths_that_tie_are_chosen_as_numpy_does():
    votes = np.zeros((40, 50), np.float32)
    votes[:15, 10], votes[10:, 13], votes[20:30, 5] = 0.5, 0.5, 0.5
    for rest_vote in (-math.inf, 0.25, 0.5):
        expected = voting.find_path(votes, rest_vote)
        found = graph_voting.find_path(tf.constant(votes), tf.constant(rest_vote, tf.float64))
        np.testing.assert_array_equal(found, expected)


def test_periods_are_refined_as_in_numpy_also_at_the_ends_of_the_axis():
    votes = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    octaves = 1.5 + np.arange(40) / voting.BINS_PER_OCTAVE
    expected = voting.refine_periods(voting.Votes(votes, 2**octaves, 120), np.arange(40))
    found = graph_voting.refine_periods(GraphVotes(tf.constant(votes), octaves), tf.range(40))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("rest_vote", [-math.inf, 0.2])
@pytest.mark.parametrize(
    ("runs", "repeating"),
    [
        ([(10, None), (30, 10), (9, None), (30, 13), (20, None)], 69),  # a hold
        ([(30, 13), (9, None), (30, 10)], 69),
        ([(30, 10), (30, None), (30, 12), (9, None), (30, 30)], 90),  # too long, and too different
        ([(10, None), (7, 10), (40, None)], 0),  # too little evidence
        ([(3, None)], 0),
        ([(1, 10)], 0),
    ],
)
def test_sets_with_their_holds_and_the_evidence_they_need_are_those_of_numpy(runs, repeating, rest_vote):
    places = [place for length, place in runs for _ in range(length)]
    votes = (0.01 * np.random.default_rng(0).random((len(places), 40))).astype(np.float32)
    for step, place in enumerate(places):
        if place is not None:
            votes[step, place] = 0.8
    octaves = 5 + np.arange(40) / voting.BINS_PER_OCTAVE
    expected = voting.find_sets(voting.Votes(votes, 2**octaves, 3 * len(places)), rest_vote)
    found = graph_voting.find_sets(GraphVotes(tf.constant(votes), octaves), tf.constant(rest_vote, tf.float64))
    np.testing.assert_array_equal(found, expected)
    assert (expected >= 0).sum() == (repeating if rest_vote > 0 else len(places))
