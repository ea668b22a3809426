"""Options become frozen configurations; those that are not given are the model's own."""

from model.config import LITE
from model.counting import CountingOptions
from model.presets import PRESETS, LoadedModel
from pipeline.main import parse
from pipeline.options import make_counting, make_model


def test_a_models_path_means_the_same_from_any_folder(tmp_path, monkeypatch):
    args = parse(["run", "--input", "x", "--output", "duckdb:x", "--model", "weights/my.safetensors"])
    monkeypatch.chdir(tmp_path)
    assert make_model(args, LoadedModel(PRESETS["lite"], None, "0")).name == f"{tmp_path}/weights/my.safetensors"


def test_the_models_own_counting_is_kept_where_nothing_is_said():
    args = parse(["run", "--input", "x", "--output", "duckdb:x", "--frame_threshold", "0.4"])
    loaded = LoadedModel(PRESETS["lite"], None, "0")
    assert make_counting(args, loaded) == CountingOptions(
        **{**vars(PRESETS["lite"].counting), "frame_threshold": 0.4},
    )
    assert loaded.preset.config == LITE
