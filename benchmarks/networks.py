"""Networks to time. The time does not depend on the values of weights, unless they are special."""

from __future__ import annotations

from model.network import RepNet
from model.precision import ActivationRanges
from model.presets import PRESETS, load_model
from tests.support.networks import make_published


def make_network(model: str) -> RepNet:
    """Returns the network of a preset: with its own weights, or, for a published one, those of the stand-in checkpoint.

    Fresh networks are not timed: TensorFlow leaves out biases of zero and norms that change nothing.
    """
    preset = PRESETS[model]
    if not preset.files:
        return load_model(model).network
    return make_published(model.removeprefix("repnet-"))


def activation_ranges(model: str) -> ActivationRanges | None:
    """Returns the ranges that int8 needs of the network of a preset, if they are known."""
    return None if PRESETS[model].files else load_model(model).activation_ranges
