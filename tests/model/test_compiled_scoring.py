"""One compiled function for a chunk returns the logits that the parts return, for any length, and gives way where it fails."""

import dataclasses
import logging

import numpy as np
import pytest
import tensorflow as tf

from model.compiled_scoring import CompiledScorer
from model.scoring import Scorer
from tests.reference.synthetic_clip import synthetic_clip
from tests.support.networks import make_lite
from tests.support.training import TINY

STRIDES = (1, 2)
OVERLAP_FROM = 1
BATCH_FRAMES = 16
TOLERANCE = 1e-2
"""Of logits of up to 5. Sharp kernels with weights that were never trained magnify how sums are rounded."""


@pytest.fixture(scope="module")
def network():
    return make_lite(dataclasses.replace(TINY, similarity="kernels", layout_channels=2, similarity_rows="lags"))


@pytest.fixture(scope="module")
def parts(network):
    return Scorer(network, STRIDES, overlap_from=OVERLAP_FROM)


@pytest.fixture(scope="module")
def compiled(network):
    scorer = CompiledScorer(network, STRIDES, batch_frames=BATCH_FRAMES, overlap_from=OVERLAP_FROM)
    scorer.warm_up()
    return scorer


@pytest.fixture
def fresh(network):
    """A scorer that nobody has used, and will not compile for long: each test replaces its function."""
    return CompiledScorer(network, STRIDES, batch_frames=BATCH_FRAMES, overlap_from=OVERLAP_FROM)


def assert_equal(scored, expected):
    for stride in STRIDES:
        np.testing.assert_allclose(scored[stride].period, expected[stride].period, atol=TOLERANCE)
        np.testing.assert_allclose(scored[stride].periodicity, expected[stride].periodicity, atol=TOLERANCE)


@pytest.mark.parametrize(("num_frames", "repeats"), [(1, 1), (20, 1), (100, 1), (128, 1), (40, 3)])
def test_a_chunk_has_the_logits_of_the_parts(compiled, parts, num_frames, repeats):
    frames = synthetic_clip(3, num_frames, 11)
    scored, expected = compiled.score(frames, repeats=repeats), parts.score(frames, repeats=repeats)
    assert_equal(scored, expected)
    np.testing.assert_allclose(scored[2].frozen_period, expected[2].frozen_period, atol=TOLERANCE)
    assert_equal(compiled.score(frames, is_last=False, repeats=repeats), expected)


def test_warming_up_compiles_everything_for_chunks_of_any_length(compiled):
    assert not compiled._is_given_up
    before = compiled._compiled.experimental_get_tracing_count()
    for num_frames in (5, 32, 33, 127):
        compiled.score(synthetic_clip(3, num_frames, 11))
    assert before == compiled._compiled.experimental_get_tracing_count() == 2


@pytest.mark.parametrize("frames", [np.zeros((40, 112, 112, 3), np.float32), np.zeros((140, 112, 112, 3), np.uint8)])
def test_what_the_function_does_not_fit_is_scored_by_the_parts(fresh, parts, frames):
    fresh._compiled = None
    assert_equal(fresh.score(frames), parts.score(frames))


def test_a_function_that_fails_is_given_up_with_a_warning(fresh, parts, caplog):
    tried = []

    def fail(frames, shown):
        tried.append(len(frames))
        raise tf.errors.InternalError(None, None, "libdevice not found")

    fresh._compiled = fail
    frames = synthetic_clip(3, 30, 11)
    with caplog.at_level(logging.WARNING, "model.compiled_scoring"):
        scored = [fresh.score(frames) for _ in range(2)]
    for each in scored:
        assert_equal(each, parts.score(frames))
    assert tried == [32]
    warnings = [record.getMessage() for record in caplog.records if record.name == "model.compiled_scoring"]  # not TensorFlow's
    assert warnings == ["One function for a chunk has failed, and smaller ones score from now on: libdevice not found"]
