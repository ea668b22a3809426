"""The network is the published one: its variables, its numbers; and our own is the same code."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

from model.config import LITE, REPNET_2020, RepNetConfig
from model.folding import fold
from model.network import RepNet, SelfSimilarity, align_lags
from tests.reference import checkpoint_layout
from tests.reference.synthetic_clip import synthetic_clip
from tests.support.networks import make_lite, make_published

RELATIVE = dataclasses.replace(
    LITE, similarity="relative", layout_channels=0, similarity_rows="absolute", similarity_channels=32
)
"""The published structure, but for a similarity that does not depend on the embeddings' scale."""

PARAMETERS = {"2020": 25_690_081, "2025": 25_771_905}


@pytest.fixture(scope="module", params=["2020", "2025"])
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def published(variant):
    return make_published(variant)


def test_has_exactly_the_published_parameters(published, variant):
    assert published.count_params() == PARAMETERS[variant]


def test_has_exactly_the_published_variables(published, variant):
    shapes = {name: tuple(variable.shape) for name, variable in published.variables_by_name().items()}
    assert shapes == checkpoint_layout.canonical_variables(variant)


@pytest.mark.slow
def test_agrees_with_the_golden_outputs(published, variant, golden):
    expected = golden(f"model_{variant}")
    for i, (seed, num_frames, period) in enumerate(expected["clips"]):
        frames = synthetic_clip(int(seed), int(num_frames), period)
        embeddings = published.embed(published.taps(published.encode(frames))[None])
        period_logits, periodicity_logits = published.heads(embeddings)
        np.testing.assert_allclose(embeddings[0], expected["embeddings"][i], atol=1e-3)
        np.testing.assert_allclose(period_logits[0], expected["raw_scores"][i], atol=1e-3)
        np.testing.assert_allclose(periodicity_logits[0], expected["within_period_logits"][i, :, 0], atol=1e-3)


@pytest.mark.parametrize("config", [LITE, RELATIVE])
def test_the_whole_call_equals_its_parts(config):
    network = make_lite(config)
    frames = synthetic_clip(1, 64, 9)[None]
    embeddings = network.embed(network.taps(network.encode(frames[0]))[None])
    for whole, part in zip(network(frames), network.heads(embeddings), strict=True):
        np.testing.assert_allclose(whole, part, atol=1e-5)


def test_a_layout_goes_behind_the_embedding():
    network = make_lite()
    embeddings = network.embed(np.zeros((1, 64, 7, 7, 384), np.float32))
    assert embeddings.shape == (1, 64, network.embedding_width) == (1, 64, 128 + 49 * 8)


def test_lags_line_up():
    similarity = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    aligned = np.asarray(align_lags(similarity))
    assert aligned.shape == (2, 64, 127, 3)
    for frame in (0, 17, 63):
        for other in (0, 17, 40, 63):
            np.testing.assert_array_equal(aligned[:, frame, 63 + other - frame], similarity[:, frame, other])
    assert (aligned[:, 0, :63] == 0).all()
    assert (aligned[:, 63, 64:] == 0).all()


def test_kernels_are_one_for_frames_alike_whatever_the_scale_of_the_embeddings():
    layer = SelfSimilarity(LITE)
    embeddings = np.random.default_rng(0).standard_normal((1, 64, 520)).astype(np.float32)
    embeddings[:, 40] = embeddings[:, 8]
    similarity = np.asarray(layer(embeddings))
    assert similarity.shape == (1, 64, 64, 6)
    np.testing.assert_allclose(similarity[0, 8, 40], 1, atol=1e-3)
    assert similarity[0, 8, 41].max() < 0.5
    np.testing.assert_allclose(np.asarray(layer(embeddings * 100)), similarity, atol=1e-3)


def test_a_layout_needs_kernels():
    with pytest.raises(ValueError, match="layout_channels needs similarity 'kernels'"):
        dataclasses.replace(RELATIVE, layout_channels=8)


@pytest.mark.parametrize("config", [LITE, RELATIVE])
def test_every_variable_has_a_name(config):
    network = RepNet(config)
    assert (
        sum(variable.value.shape.num_elements() for variable in network.variables_by_name().values()) == network.count_params()
    )


@pytest.fixture
def other_defaults():
    """Defaults of Keras as a keras.json may set them."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    keras.config.set_floatx("float16")
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.mark.usefixtures("other_defaults")
def test_layers_built_later_keep_the_defaults():
    RepNet(LITE, frame_policy="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float16"
    assert (keras.config.floatx(), keras.config.image_data_format()) == ("float16", "channels_first")


@pytest.mark.parametrize("make", [make_lite, functools.partial(make_published, "2020")], ids=["lite", "2020"])
def test_the_defaults_of_keras_change_no_taps(make, request):
    frames = synthetic_clip(1, 2, 9) + 0.3

    def compute_taps():
        network = make()
        return [network.taps(network.encode(frames)), fold(network, "float32", convolve_norms=True)[0](frames)]

    expected = compute_taps()
    request.getfixturevalue("other_defaults")
    for got, taps in zip(compute_taps(), expected, strict=True):
        np.testing.assert_array_equal(got, taps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "num_heads must divide head_channels"),
        ({"num_heads": 0}, "num_heads must be whole numbers of at least 1. Received: 0"),
        ({"num_periods": 2.5}, "num_periods must be whole numbers of at least 1. Received: 2.5"),
        ({"encoder": "vgg"}, "encoder must be one of resnet50v2, small. Received: 'vgg'"),
        ({"encoder_channels": ("a", "b", "c")}, "encoder_channels must be whole numbers of at least 1. Received: 'a'"),
        ({"period_offset": "1"}, "period_offset must be a whole number of at least 0. Received: '1'"),
        ({"period_offset": -100}, "period_offset must be a whole number of at least 0. Received: -100"),
        ({"temperature": 0.0}, "temperature must be a positive number. Received: 0.0"),
        ({"position_channels": 7}, "position_channels must be 1 or head_channels"),
        ({"encoder_channels": (1, 2, 3)}, "encoder_channels has three values, for the small encoder only"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes, message):
    fields = {field: getattr(REPNET_2020, field) for field in RepNetConfig.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        RepNetConfig(**(fields | changes))
