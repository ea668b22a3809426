"""The folded frame model computes what the network's encoder and taps do."""

import numpy as np
import pytest
from keras import ops

from model.config import FRAME_SIZE
from model.folding import Centre, fold
from tests.support.marks import slow
from tests.support.networks import make_lite, make_published


@pytest.fixture(scope="module")
def lite():
    return make_lite()


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).integers(0, 256, (2, FRAME_SIZE, FRAME_SIZE, 3)).astype(np.float32)


def test_the_frame_model_computes_the_networks_taps(lite, frames):
    frame_model, bias = fold(lite, "float32")
    taps = ops.convert_to_numpy(frame_model(frames)).reshape(2, 7, 7, 3, -1)
    scale = ops.convert_to_numpy(lite.temporal.norm.gamma) / np.sqrt(lite.temporal.norm.moving_variance + 1e-3)
    expected = ops.convert_to_numpy(lite.taps(lite.encode(frames))).reshape(taps.shape) * scale
    np.testing.assert_allclose(taps, expected, atol=1e-4 * np.abs(expected).max())
    assert bias.shape == (taps.shape[-1],)


@pytest.mark.parametrize(("policy", "tolerance"), [("float32", 1e-4), *slow(("bfloat16", 3e-2))])
def test_norms_as_convolutions_compute_the_same(frames, policy, tolerance):
    network = make_published("2020")
    expected, got = (
        ops.convert_to_numpy(ops.cast(fold(network, kind, convolve_norms=convolved)[0](frames), "float32"))
        for kind, convolved in (("float32", False), (policy, True))
    )
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


def test_frames_are_centred_without_rounding_in_bfloat16():
    values = np.arange(256, dtype=np.float32)
    centred = Centre(dtype="bfloat16")(ops.cast(values, "bfloat16"))
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.cast(centred, "float32")), values - 127.5)
