"""Options become frozen configurations; those that are not given are the model's own."""

import pytest

from model.config import LITE
from model.counting import CountingOptions
from model.precision import ActivationRanges
from model.presets import PRESETS, ModelFacts
from pipeline.command_line import UsageError
from pipeline.main import parse
from pipeline.options import make_counting, make_decoding, make_model
from transforms.defaults import default_options

CALIBRATED = ModelFacts(PRESETS["lite"], "0", ActivationRanges({"layer": 1.0}))


def parse_precision(*words):
    return parse(["count", *words, "x.mp4"])


def test_nothing_said_means_the_options_that_fit_the_model():
    args = parse(["count", "x.mp4"])
    model = make_model(args, CALIBRATED)
    assert (model, make_decoding(args, model.strides, CALIBRATED), make_counting(args, CALIBRATED)) == default_options(
        "lite", CALIBRATED
    )


def test_a_number_format_that_is_asked_for_is_chosen():
    assert make_model(parse_precision("--precision", "float16"), CALIBRATED).precision == "float16"


@pytest.mark.parametrize(
    ("words", "loaded", "said"),
    [
        ((), ModelFacts(PRESETS["lite"], "0"), "needs a model whose weights file has activation ranges, such as lite"),
        (("--require_gpu",), CALIBRATED, "is for processors. Received: --require_gpu"),
    ],
)
def test_numbers_of_8_bits_are_refused_without_ranges_and_for_a_gpu(words, loaded, said):
    with pytest.raises(UsageError, match=f"--precision int8 {said}"):
        make_model(parse_precision("--precision", "int8", *words), loaded)


def test_a_models_path_means_the_same_from_any_folder(tmp_path, monkeypatch):
    args = parse(["run", "--input", "x", "--output", "duckdb:x", "--model", "weights/my.safetensors"])
    monkeypatch.chdir(tmp_path)
    assert make_model(args, ModelFacts(PRESETS["lite"], "0")).name == f"{tmp_path}/weights/my.safetensors"


def test_the_models_own_counting_is_kept_where_nothing_is_said():
    args = parse(["run", "--input", "x", "--output", "duckdb:x", "--frame_threshold", "0.4"])
    loaded = ModelFacts(PRESETS["lite"], "0")
    assert make_counting(args, loaded) == CountingOptions(
        **{**vars(PRESETS["lite"].counting), "frame_threshold": 0.4},
    )
    assert loaded.preset.config == LITE
