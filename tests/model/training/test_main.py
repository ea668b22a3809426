"""Errors of the training command are one line with exit code 2."""

import dataclasses
import os
import re
import sys

import pytest

from model.config import LITE
from model.training import __main__ as command
from model.training import train as training
from model.training.settings import TrainingSettings

TRAIN = ("train", "{folder}", "--no-photographs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{folder}", "--workers", "0"], "workers must be at least 1. Received: 0"),
        (["train", "{folder}", "--steps", "0"], "steps must be at least 1, and finite. Received: 0"),
        ([*TRAIN, "--initial_weights", "{folder}/none.safetensors"], "cannot read the weights: No such file"),
        ([*TRAIN, "--initial_weights", "{folder}/none.weights.h5"], "weights are two files"),
        (["train", "{folder}", "--similarity", "relative"], "layout_channels needs similarity 'kernels'"),
        (["export", "{folder}", "{folder}/x.safetensors"], "No such file"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    words = [word.format(folder=tmp_path / "run") for word in arguments]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_damaged_weights_to_start_from_are_one_line_and_leave_no_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.safetensors").write_bytes(b"junk")
    words = ["train", str(tmp_path / "run"), "--no-photographs", "--initial_weights", str(tmp_path / "bad.safetensors")]
    monkeypatch.setattr(sys, "argv", ["training", *words])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 2
    assert "the weights are damaged" in capsys.readouterr().err
    assert list((tmp_path / "run").iterdir()) == []


def test_switches_are_off_unless_given(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(training, "train", lambda *args, workers: taken.append((args[0], args[2], workers)))
    monkeypatch.setattr(sys, "argv", ["training", "train", str(tmp_path), "--seed", "4"])
    command.main()
    words = ["--frozen_encoder", "--initial_weights", "a.safetensors", "--no-augment", "--workers", "2"]
    monkeypatch.setattr(sys, "argv", ["training", "train", str(tmp_path), *words])
    command.main()
    assert [(settings.seed, settings.frozen_encoder, settings.augment, workers) for settings, _, workers in taken] == [
        (4, False, True, None),
        (0, True, False, 2),
    ]
    assert [config for _, config, _ in taken] == [LITE, LITE]


def test_parts_of_the_network_can_be_left_out(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(training, "train", lambda *args, workers: taken.append(args[2]))
    words = ["--similarity", "relative", "--layout_channels", "0", "--similarity_rows", "absolute"]
    monkeypatch.setattr(sys, "argv", ["training", "train", str(tmp_path), *words])
    command.main()
    changes = {"similarity": "relative", "layout_channels": 0, "similarity_rows": "absolute"}
    assert taken == [dataclasses.replace(LITE, **changes)]


@pytest.mark.parametrize(("installed", "backend"), [(True, None), (False, "jax")])
def test_jax_trains_where_tensorflow_is_not_installed(installed, backend, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *args, workers: None)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "argv", ["training", "train", str(tmp_path)])
    command.main()
    assert os.environ.get("KERAS_BACKEND") == backend


def test_the_help_says_what_each_setting_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training", "train", "--help"])
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(TrainingSettings):
        assert re.search(rf" --{field.name},? .{{20,}}?\. Default: ", told), field.name
    assert "It then falls to 0.5 % of the peak along a cosine. Default: 0.0015" in told


def test_every_default_is_that_of_the_settings(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(training, "train", lambda *args, workers: taken.append(args[0]))
    monkeypatch.setattr(sys, "argv", ["training", "train", str(tmp_path)])
    command.main()
    assert taken == [TrainingSettings()]


def test_weights_are_exported_as_those_of_a_preset_of_our_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "export", lambda folder, path, **options: f"{path.name}, {options}")
    for words, share, certainty in (
        (["a.safetensors"], 0.0, ()),
        (["a.safetensors", "--preset", "lite", "--initial_share", "0.5", "--certainty", "3.1", "-2"], 0.5, [3.1, -2.0]),
    ):
        monkeypatch.setattr(sys, "argv", ["training", "export", str(tmp_path), *words])
        command.main()
        expected = {"preset": "lite", "initial_share": share, "certainty": certainty}
        assert capsys.readouterr().out == f"a.safetensors, {expected}\n"
    monkeypatch.setattr(sys, "argv", ["training", "export", str(tmp_path), "a.safetensors", "--preset", "repnet-2020"])
    with pytest.raises(SystemExit):
        command.main()
