"""`repcount serve` checks its options before it loads the model, and ends with one line if the model cannot be loaded."""

import pytest

from model.errors import WeightsError
from pipeline.count_formats import Outcome
from pipeline.main import main
from tests.support.samples import make_video_count
from tests.support.scorers import FAKE_COUNTER
from tests.support.warehouses import read
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


def no_model(args):
    raise WeightsError("there is no such model")


@pytest.mark.parametrize(
    "words",
    [
        ["--host", "0.0.0.0"],
        ["--base", "/no/such/folder"],
        ["--port", "70000"],
        ["--output", "counts.csv"],
        ["--output", "bigquery:my-project.gym"],
        ["--output", "duckdb:/dev/null/counts.duckdb"],
    ],
)
def test_an_invalid_option_ends_with_one_line(words, capsys):
    assert main(["serve", *words], load_counter=no_model) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Received:" in captured.err


def test_a_model_that_cannot_be_loaded_ends_the_server(capsys):
    assert main(["serve", "--quiet", "--port", "0"], load_counter=no_model) == 2
    assert capsys.readouterr().err == "repcount serve: there is no such model\n"


def test_tables_get_the_labels_of_names_below_the_base(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    opened = []
    monkeypatch.setattr("pipeline.serve.server.serve", lambda server, service, listener: opened.append(service._open_keeper))
    tables = ["--output", f"duckdb:{tmp_path}/counts.duckdb", "--label_regex", "^(?P<user>[^/]+)/"]
    assert main(["serve", "--quiet", "--port", "0", "--base", str(tmp_path / "videos"), *tables], load_counter=no_model) == 0
    store = opened[0](FAKE_COUNTER)
    store.add(Outcome(make_video_count(f"{tmp_path}/videos/eve/1.mp4"), FAKE_COUNTER, wall_sec=1.0))
    store.close()
    assert read(DuckDBWarehouse(f"{tmp_path}/counts.duckdb"), "labels", "video_counts") == [
        ([{"name": "user", "value": "eve"}],)
    ]
