"""`repcount model` lists, describes, fetches, verifies and exports models."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model import exported, fetch, golden, presets, storage
from model.presets import PRESETS, RemoteFile
from pipeline.commands import model as model_command
from pipeline.main import main, parse
from tests.support import checkpoints
from tests.support.checkpoints import TINY_PRESET

REFERENCE = Path(__file__).parents[2] / "reference"


def repcount(*arguments):
    """Runs `repcount model` and returns its exit code."""
    return main(["model", *arguments])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPCOUNT_CACHE", str(tmp_path))
    return tmp_path


def assert_one_line(capsys, beginning):
    captured = capsys.readouterr()
    assert captured.err.startswith(beginning)
    assert captured.err.count("\n") == 1
    assert not captured.out


def table(text):
    """Returns the cells of the lines of a table, by their first cell; columns are two spaces apart."""
    lines = ([cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines())
    return {cells[0]: cells[1:] for cells in lines if cells}


def test_list_shows_where_the_weights_of_each_model_are(tiny_weights, cache, monkeypatch, capsys):
    published = dataclasses.replace(TINY_PRESET, files=PRESETS["repnet-2020"].files)
    absent, ours = dataclasses.replace(published, name="absent"), dataclasses.replace(TINY_PRESET, name="ours")
    monkeypatch.setattr(model_command, "PRESETS", {preset.name: preset for preset in (published, absent, ours)})
    monkeypatch.setenv("COLUMNS", "300")
    assert repcount("list") == 0
    rows = table(capsys.readouterr().out)
    assert rows["tiny"] == ["for tests", str(tiny_weights)]
    assert rows["absent"] == ["for tests", "repcount model fetch absent"]
    assert rows["ours"] == ["for tests", "not in this installation"]


@pytest.mark.usefixtures("no_home")
def test_list_says_without_a_home_what_fetched_models_need(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert repcount("list") == 0
    rows = table(capsys.readouterr().out)
    assert rows["lite"][1].endswith("lite.safetensors")
    assert rows["repnet-2020"][1] == "set REPCOUNT_CACHE to a folder for fetched models. Received: no home folder"


@pytest.mark.parametrize(
    ("name", "positions", "logits", "total"),
    [("repnet-2020", "64", "16,416", "25,690,081"), ("repnet-2025", "32,768", "32,832", "25,771,905")],
)
def test_the_layers_are_those_of_the_published_table(name, positions, logits, total, capsys):
    assert repcount("summary", name) == 0
    layers = table(capsys.readouterr().out)
    assert {kind: cells[:2] for kind, cells in layers.items() if kind not in ("layer", "total") and "─" not in kind} == {
        "encoder": ["1", "5,209,600"],
        "3-D convolution": ["1", "14,156,288"],
        "batch norm": ["1", "2,048"],
        "2-D convolution": ["1", "320"],
        "input projection": ["2", "1,049,088"],
        "positions": ["2", positions],
        "transformer layer": ["2", "1,577,984"],
        "dense": ["4", "262,656"],
        "dense to period logits": ["1", logits],
        "dense to periodicity logit": ["1", "513"],
    }
    assert layers["total"] == [total]


def test_the_layers_of_a_file_add_up_to_its_parameters(tiny_weights, tiny_network, capsys):
    assert repcount("summary", str(tiny_weights)) == 0
    layers = table(capsys.readouterr().out)
    assert layers["total"] == [f"{tiny_network.count_params():,}"]
    assert "other" not in layers


def test_fetch_prints_where_the_weights_are(monkeypatch, capsys):
    asked = []

    def fake_fetch(preset, destination):
        asked.append((preset.name, destination))
        return fetch.Fetched("/cache/repnet-2020.safetensors", was_there=len(asked) > 1)

    monkeypatch.setattr(fetch, "fetch", fake_fetch)
    assert repcount("fetch", "repnet-2020") == 0
    assert repcount("fetch", "repnet-2020", "--to", "gs://bucket/models") == 0
    assert asked == [("repnet-2020", None), ("repnet-2020", "gs://bucket/models")]
    assert capsys.readouterr().out.splitlines() == [
        "fetched: /cache/repnet-2020.safetensors",
        "up to date: /cache/repnet-2020.safetensors",
    ]


@pytest.mark.parametrize("name", ["lite", "repnet-1999"])
def test_only_published_models_are_fetched(name, capsys):
    assert repcount("fetch", name) == 2
    assert_one_line(capsys, "repcount model fetch: ")


@pytest.fixture
def golden_file(tiny_network, tmp_path):
    """Arrays of a golden file that the tiny network agrees with, and how to save them."""
    frames = golden.golden_clip(1, 64, 12.5)
    scorer = golden.Scorer(tiny_network, (1,))
    logits = scorer.score(frames)[1]
    arrays = {
        "clips": np.array([[1, 64, 12.5]]),
        "embeddings": scorer.embeddings(frames)[None],
        "raw_scores": logits.period[None],
        "within_period_logits": logits.periodicity[None, :, None],
    }

    def save(**changes):
        np.savez(tmp_path / "golden.npz", **(arrays | changes))
        return str(tmp_path / "golden.npz")

    return save


def test_verify_prints_the_largest_differences(tiny_weights, golden_file, tiny_network, capsys):
    assert repcount("verify", str(tiny_weights), "--golden", golden_file()) == 0
    out = capsys.readouterr().out
    assert f"variables with the right names and shapes; {tiny_network.count_params():,} parameters" in out
    assert f"sha256 of configuration and weights: {presets.load_weights(tiny_weights).sha256}" in out
    assert table(out)["period logits"] == ["1", "0.0e+00", "0.001", "equal"]


def test_verify_fails_if_a_number_differs(tiny_weights, golden_file, capsys):
    off = golden_file(embeddings=np.zeros((1, 64, TINY_PRESET.config.embedding_channels), np.float32))
    assert repcount("verify", str(tiny_weights), "--golden", off) == 1
    rows = table(capsys.readouterr().out)
    assert rows["embeddings"][-1] == "NOT EQUAL"
    assert rows["period logits"][-1] == "equal"


def test_verify_without_golden_files_checks_the_weights(tiny_weights, capsys):
    assert repcount("verify", str(tiny_weights)) == 0
    content = tiny_weights.read_bytes()
    tiny_weights.write_bytes(content[:-8])
    capsys.readouterr()
    assert repcount("verify", str(tiny_weights)) == 2
    assert_one_line(capsys, "repcount model verify: the weights are damaged")


def test_verify_refuses_a_golden_file_that_does_not_fit(tiny_weights, tmp_path, capsys):
    for path, message in (
        (REFERENCE / "golden_model_2025.npz", "the golden file "),
        (tmp_path / "absent.npz", "cannot read the golden file: "),
    ):
        assert repcount("verify", str(tiny_weights), "--golden", str(path)) == 2
        assert capsys.readouterr().err.startswith(f"repcount model verify: {message}")


def test_golden_files_may_follow_one_option_or_several():
    args = parse(["model", "verify", "lite", "--golden", "a", "b", "--golden", "c"])
    assert args.golden == [Path("a"), Path("b"), Path("c")]


@pytest.mark.parametrize("command", ["verify", "summary"])
def test_a_missing_model_is_one_line(command, cache, capsys):
    assert repcount(command, "/no/such/ckpt-1") == 2
    assert_one_line(capsys, f"repcount model {command}: a model is one of {', '.join(PRESETS)}, or the path")


def test_verify_names_the_command_that_fetches_a_missing_preset(cache, capsys):
    assert repcount("verify", "repnet-2025") == 2
    assert "run `repcount model fetch repnet-2025`" in capsys.readouterr().err


def test_verify_recognizes_published_files_and_changes_in_them(tiny_network, tmp_path, monkeypatch, capsys):
    prefix = checkpoints.save(checkpoints.random_arrays(tiny_network), tmp_path / "ckpt-1")
    names = ("ckpt-1.index", "ckpt-1.data-00000-of-00001")
    files = tuple(RemoteFile(name, "http://nowhere", 1, storage.file_sha256(tmp_path / name)) for name in names)

    def verify(*published):
        monkeypatch.setattr(presets, "PRESETS", {"tiny": dataclasses.replace(TINY_PRESET, files=published)})
        return repcount("verify", prefix), capsys.readouterr().out.splitlines()[-1]

    assert verify(*files) == (0, "files: published files of tiny, unchanged")
    other = dataclasses.replace(files[1], sha256="0" * 64)
    assert verify(files[0], other) == (1, "files: published files of tiny, DIFFERENT: ckpt-1.data-00000-of-00001")
    other = dataclasses.replace(files[0], sha256="0" * 64)
    assert verify(other, files[1]) == (0, "files: ckpt-1.index is not a published file")


def test_one_differing_case_makes_a_quantity_not_equal(tiny_weights, monkeypatch, capsys):
    differences = [golden.Difference(case, "score", largest, 1e-4) for case, largest in enumerate((0.0, np.nan, 0.0))]
    monkeypatch.setattr(golden, "compare", lambda model, path: differences)
    assert repcount("verify", str(tiny_weights), "--golden", "any.npz") == 1
    assert table(capsys.readouterr().out)["score"][-1] == "NOT EQUAL"


def test_an_exported_model_has_its_options_and_layers_beside_it(tiny_weights, tiny_network, tmp_path, capsys):
    folder = tmp_path / "new" / "exported"
    options = ["--strides", "2,3", "--stride_rule", "vote", "--frame_threshold", "0.1", "--max_fps", "15"]
    assert repcount("export", str(tiny_weights), str(folder), *options, "--overlap_from", "3", "--repeat_below_fps", "10") == 0
    assert capsys.readouterr().out == f"exported: {folder}\n"
    metadata = exported.read_metadata(folder)
    assert metadata["sha256"] == presets.load_weights(tiny_weights).sha256
    assert metadata["parameters"] == tiny_network.count_params()
    assert metadata["precision"] == "float32"
    assert metadata["options"]["strides"] == [2, 3]
    counting = dataclasses.asdict(TINY_PRESET.counting) | {"stride_rule": "vote", "frame_threshold": 0.1}
    del counting["certainty"]
    assert metadata["options"]["counting"] == counting
    names = ("overlap_from", "max_fps", "repeat_below_fps")
    assert [metadata["options"][name] for name in names] == [3, 15.0, 10.0]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["exported"]

    assert repcount("summary", str(tiny_weights)) == 0
    layers = capsys.readouterr().out
    assert repcount("summary", str(folder)) == 0
    assert capsys.readouterr().out == layers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exported", "--strides", "0"], "--strides must be different whole numbers"),
        (["exported", "--max_fps", "0"], "max_fps must be a positive number"),
        (["exported", "--repeat_below_fps", "-1"], "repeat_below_fps must be a number"),
        (["exported", "--frame_threshold", "2"], "frame_threshold must be within 0..1"),
        (["gs://bucket/exported"], "DIR must be a folder of this machine"),
        (["."], "an export needs a new or empty folder"),
        (["tiny.safetensors"], "an export needs a folder that can be written to"),
        (["/proc/none/exported"], "cannot read or write a file"),
    ],
)
def test_an_export_that_cannot_be_is_one_line_and_writes_nothing(arguments, message, tiny_weights, monkeypatch, capsys):
    monkeypatch.chdir(tiny_weights.parent)
    assert repcount("export", str(tiny_weights), *arguments) == 2
    assert_one_line(capsys, f"repcount model export: {message}")
    assert list(tiny_weights.parent.iterdir()) == [tiny_weights]


def test_a_summary_of_a_damaged_export_is_one_line(tmp_path, capsys):
    (tmp_path / exported.METADATA_PATH).parent.mkdir()
    (tmp_path / exported.METADATA_PATH).write_text("{")
    assert repcount("summary", str(tmp_path)) == 2
    assert_one_line(capsys, "repcount model summary: the metadata of an exported model must be JSON")


@pytest.mark.slow
def test_a_summary_leaves_standard_error_empty():
    command = [sys.executable, "-m", "pipeline.main", "model", "summary", "lite"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REFERENCE.parents[1], check=True)
    assert "encoder" in done.stdout
    assert done.stderr == ""


def test_the_help_does_not_import_tensorflow():
    code = (
        "import contextlib, sys; from pipeline.main import parse\n"
        "with contextlib.suppress(SystemExit): parse(['model', 'verify', '--help'])\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REFERENCE.parents[1], capture_output=True)


@pytest.mark.slow
def test_the_published_model_is_verified_by_every_golden_file(standin_2020, capsys):
    assert repcount("verify", standin_2020, "--golden", *map(str, sorted(REFERENCE.glob("golden_*_2020.npz")))) == 0
    assert capsys.readouterr().out.count(" equal") == 14
