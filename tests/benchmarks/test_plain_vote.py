"""The vote without shortcuts, which the fast one is compared with, finds the path with the highest score."""

import itertools

import numpy as np
import pytest

from benchmarks import plain_vote
from model.voting import BINS_PER_OCTAVE, CHANGE_COST, OCTAVE_COST


def worth(path, votes, rest_vote):
    total = sum(rest_vote if state < 0 else votes[t, state] for t, state in enumerate(path))
    for before, after in itertools.pairwise((-1, *path, -1)):
        if (before < 0) != (after < 0):
            total -= CHANGE_COST
        elif before >= 0:
            total -= abs(after - before) * OCTAVE_COST / BINS_PER_OCTAVE
    return total


@pytest.mark.parametrize("scale", [1.0, 4.0, 12.0])
def test_no_path_has_a_higher_score(scale):
    rng = np.random.default_rng(0)
    for _ in range(5):
        votes, rest_vote = rng.random((4, 3)) * scale, float(rng.random() * scale)
        best = max(worth(path, votes, rest_vote) for path in itertools.product(range(-1, 3), repeat=4))
        assert worth(plain_vote.find_path(votes, rest_vote), votes, rest_vote) == pytest.approx(best)
