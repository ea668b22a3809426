"""In 8-bit numbers the frame model computes nearly what it does in float32, the same on all processors, and counts stay."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from model.calibration import measure_ranges, quantized_layers
from model.config import FRAME_SIZE
from model.counting import count_repetitions
from model.folding import fold
from model.precision import ActivationRanges, Precision
from model.presets import load_model
from model.quantization import quantize
from model.scoring import Scorer
from model.training.videos import draw_video
from tests.support.marks import slow
from tests.support.networks import make_published


@pytest.fixture(scope="module")
def shipped():
    return load_model("lite")


@pytest.fixture(scope="module")
def frames():
    """Frames of a drawn video, every twelfth."""
    return draw_video(1).frames[::12]


def compute_taps(loaded, frames):
    """Returns taps in 8-bit numbers, (B, 7, 7, 3E)."""
    compute, _ = quantize(loaded.network, loaded.activation_ranges)
    return tf.function(compute)(tf.constant(frames)).numpy()


def float_taps(loaded, frames):
    """Returns taps in float32, (B, 7, 7, 3E)."""
    return ops.convert_to_numpy(fold(loaded.network, "float32")[0](frames.astype(np.float32)))


def test_taps_are_near_those_in_float32(shipped, frames):
    expected, taps = float_taps(shipped, frames), compute_taps(shipped, frames)
    assert (taps.dtype, taps.shape) == (np.float32, expected.shape)
    assert np.sqrt(np.mean((taps - expected) ** 2)) < 0.015 * np.sqrt(np.mean(expected**2))
    np.testing.assert_array_equal(quantize(shipped.network, shipped.activation_ranges)[1], fold(shipped.network, "float32")[1])


def test_the_edges_of_frames_are_padded_as_in_float32(shipped):
    """With other padding, the taps at the edges would be further off than those in the middle."""
    dark = np.full((1, FRAME_SIZE, FRAME_SIZE, 3), 30, np.uint8)
    expected = float_taps(shipped, dark)[0]
    error = np.abs(compute_taps(shipped, dark)[0] - expected).max(axis=-1)
    assert error.max() < 0.1 * np.abs(expected).max()
    assert error[[0, -1]].max() < 1.5 * error[1:-1].max()


@pytest.mark.parametrize("seed", [1, *slow(2, 9)])
def test_counts_stay(shipped, seed):
    video, preset = draw_video(seed), shipped.preset
    counts = []
    for precision in (Precision.FLOAT32, Precision.INT8):
        scorer = Scorer(shipped.network, (2, 4, 8), precision, 64, preset.overlap_from, shipped.activation_ranges)
        logits = scorer.score(video.frames[:512])
        counts.append(count_repetitions(logits, len(video.frames[:512]), preset.config.period_offset, preset.counting).count)
    assert counts[1] == pytest.approx(counts[0], abs=0.1)


def test_frames_in_float32_score_as_their_rounded_values(shipped, frames):
    scorer = Scorer(shipped.network, (1,), Precision.INT8, activation_ranges=shipped.activation_ranges)
    np.testing.assert_array_equal(scorer.score(frames + np.float32(0.3))[1].period, scorer.score(frames)[1].period)


_SAVE_TAPS = """
import sys
import numpy as np
from model.presets import load_model
from tests.model.test_quantization import compute_taps
np.save(sys.argv[2], compute_taps(load_model("lite"), np.load(sys.argv[1])))
"""


@pytest.mark.slow
def test_no_sum_overflows_on_processors_without_vnni(shipped, frames, tmp_path):
    """oneDNN is told to do without; on a processor that has no VNNI anyway, this shows nothing."""
    np.save(tmp_path / "frames.npy", frames)
    expected = compute_taps(shipped, frames)
    for instructions in ("AVX2", "AVX512_CORE"):
        subprocess.run(
            [sys.executable, "-c", _SAVE_TAPS, tmp_path / "frames.npy", tmp_path / "taps.npy"],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
            check=True,
        )
        difference = np.load(tmp_path / "taps.npy") - expected  # some sums are rounded to the other neighbour
        assert np.sqrt(np.mean(difference**2)) < 0.003 * np.sqrt(np.mean(expected**2))


def test_ranges_of_another_network_are_refused(shipped):
    with pytest.raises(ValueError, match=r"activation ranges must be of stage0_down, .*stage2_out\. Received: other$"):
        quantize(shipped.network, ActivationRanges({"other": 1.0}))
    with pytest.raises(ValueError, match=r"8-bit numbers are for the encoder 'small'\. Received: 'resnet50v2'"):
        quantize(make_published("2020"), shipped.activation_ranges)


def test_a_network_without_ranges_does_not_score_in_8_bits(shipped):
    with pytest.raises(ValueError, match="int8 needs the ranges"):
        Scorer(shipped.network, (1,), Precision.INT8)


def test_the_shipped_ranges_are_those_of_drawn_videos(shipped, frames):
    measured = measure_ranges(shipped.network, frames)
    assert list(measured.layers) == quantized_layers(shipped.network) == list(shipped.activation_ranges.layers)
    ratios = np.array(list(measured.layers.values())) / list(shipped.activation_ranges.layers.values())
    assert np.all((ratios > 0.3) & (ratios < 1.7))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_range_is_a_positive_number(value):
    with pytest.raises(ValueError, match=r"an activation range must be a positive number\. Received: "):
        ActivationRanges({"stage0_down": value})
