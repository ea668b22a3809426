"""`repcount serve` checks its options before it loads the model, and ends with one line if the model cannot be loaded."""

import pytest

from model.presets import WeightsError
from pipeline.main import main


def no_model(args):
    raise WeightsError("there is no such model")


@pytest.mark.parametrize("words", [["--host", "0.0.0.0"], ["--base", "/no/such/folder"], ["--port", "70000"]])
def test_an_invalid_option_ends_with_one_line(words, capsys):
    assert main(["serve", *words], load_counter=no_model) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Received:" in captured.err


def test_a_model_that_cannot_be_loaded_ends_the_server(capsys):
    assert main(["serve", "--quiet", "--port", "0"], load_counter=no_model) == 2
    assert capsys.readouterr().err == "repcount serve: there is no such model\n"
