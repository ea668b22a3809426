"""The options of a model fit it and each other: its chunks, its frame rate, and the machine's number format."""

import pytest

from model.logits import chunk_frames
from model.precision import ActivationRanges
from model.presets import PRESETS, ModelFacts
from transforms import defaults
from transforms.defaults import default_options


@pytest.mark.parametrize("name", PRESETS)
def test_decoding_and_counting_fit_the_model(name):
    preset = PRESETS[name]
    model, decoding, counting = default_options(name, ModelFacts(preset, "0"))
    assert (model.name, model.sha256, model.overlap_from) == (name, "0", preset.overlap_from)
    assert model.strides == tuple(sorted(preset.strides))
    assert model.period_offset == preset.config.period_offset
    assert decoding.chunk_frames == chunk_frames(preset.strides)
    assert decoding.repeat_below_fps == preset.repeat_below_fps
    assert counting == preset.counting


def test_chunks_fit_other_strides():
    model, decoding, _ = default_options("lite", ModelFacts(PRESETS["lite"], "0"), (5, 2))
    assert (model.strides, decoding.chunk_frames) == ((2, 5), 640)


@pytest.mark.parametrize(("has_gpu", "is_calibrated"), [(False, True), (True, False)])
def test_where_a_gpu_scores_numbers_of_8_bits_are_not_chosen(monkeypatch, has_gpu, is_calibrated):
    monkeypatch.setattr(defaults, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setattr(defaults, "best_precision", lambda is_calibrated: f"calibrated: {is_calibrated}")
    model, _, _ = default_options("lite", ModelFacts(PRESETS["lite"], "0", ActivationRanges({"layer": 1.0})))
    assert model.precision == f"calibrated: {is_calibrated}"


def test_a_models_path_means_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _, _ = default_options("weights/my.safetensors", ModelFacts(PRESETS["lite"], "0"))
    assert model.name == f"{tmp_path}/weights/my.safetensors"
