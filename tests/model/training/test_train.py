"""Training learns, keeps a record, and goes on where it was stopped."""

import json

import pytest

from model.config import LITE
from model.training.train import TrainingSettings, train

SETTINGS = TrainingSettings(steps=2, batch_size=1, warmup_steps=1, steps_per_epoch=1, frame_policy="float32")


@pytest.mark.slow
def test_a_run_leaves_weights_and_a_record_and_refuses_other_settings(tmp_path):
    network = train(SETTINGS, tmp_path)
    assert network.config == LITE
    assert (tmp_path / "averaged.weights.h5").exists()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["steps"] == 2
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(TrainingSettings(steps=100), tmp_path)


def test_a_run_is_a_whole_number_of_epochs():
    with pytest.raises(ValueError, match="multiple of 100"):
        TrainingSettings(steps=150)
