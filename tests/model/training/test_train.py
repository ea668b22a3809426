"""A run keeps a record, resumes as if it had not been interrupted, is not run twice, and is exported as it was trained."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest

from model import presets, weights_file
from model.calibration import quantized_layers
from model.config import LITE
from model.errors import WeightsError
from model.network import RepNet
from model.presets import PRESETS
from model.training import photographs
from model.training import train as training
from model.training.checkpoints import Progress, held
from model.training.learner import Learner
from model.training.settings import TrainingSettings
from model.training.train import Clock, export, train
from model.training.votes import VideoLearner
from tests.support import checkpoints
from tests.support.training import SETTINGS, TINY


class InterruptionError(Exception):
    """Raised instead of a step."""


@pytest.fixture(autouse=True)
def few_calibration_frames(monkeypatch):
    """Calibrates exported weights on a few frames at random. Drawing videos takes longer than a test."""
    frames = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3)).astype(np.uint8)
    monkeypatch.setattr(training, "calibration_frames", lambda: frames)


def interrupt(folder, monkeypatch, settings=SETTINGS, after=1, step_of=(Learner, "step")):
    """Trains for a number of steps, with a checkpoint after each."""
    step, steps = getattr(*step_of), []

    def interrupted_step(self, *args):
        if len(steps) == after:
            raise InterruptionError
        steps.append(step(self, *args))
        return steps[-1]

    with monkeypatch.context() as patch:
        patch.setattr(*step_of, interrupted_step)
        with pytest.raises(InterruptionError):
            train(settings, folder, TINY, workers=1, checkpoint_sec=0)


def run(folder, settings=SETTINGS):
    """Trains to the end, or resumes."""
    return train(settings, folder, TINY, workers=1, checkpoint_sec=0)


def log(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same(network, other, **tolerance):
    arrays = presets.network_arrays(other)
    for name, array in presets.network_arrays(network).items():
        np.testing.assert_allclose(array, arrays[name], err_msg=name, **tolerance)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(drawn, eagerly, tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, steps=4, buffer_clips=3, group_clips=1)
    expected = run(tmp_path / "undisturbed", settings)
    interrupt(tmp_path / "resumed", monkeypatch, settings, after=2)
    assert_same(run(tmp_path / "resumed", settings), expected, atol=1e-6)
    assert [line["step"] for line in log(tmp_path / "resumed")] == ["1", "2", "3", "4"]
    for line, other in zip(log(tmp_path / "resumed"), log(tmp_path / "undisturbed"), strict=True):
        for name in ("share", "clips_drawn", "learning_rate"):
            assert line[name] == other[name]
        assert float(line["period_loss"]) == pytest.approx(float(other["period_loss"]), rel=1e-4)


@pytest.mark.slow
def test_a_resumed_run_draws_again_only_what_was_waiting(drawn, eagerly, tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, steps=6, replay=2.0, buffer_clips=3)
    interrupt(tmp_path, monkeypatch, settings, after=4)
    plan = training.Plan(settings)
    for _ in range(4):
        plan.next_step()
    drawn.clear()
    run(tmp_path, settings)
    waiting = list(plan.waiting)
    assert 0 < len(waiting) < 4
    assert drawn[: len(waiting)] == waiting
    assert drawn[len(waiting) :] == list(range(plan.drawn, plan.drawn + len(drawn) - len(waiting)))


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(drawn, eagerly, tmp_path):
    network = run(tmp_path)
    before = (tmp_path / "log.csv").read_bytes()
    drawn.clear()
    assert_same(network, run(tmp_path), atol=0)
    assert drawn == []
    assert (tmp_path / "log.csv").read_bytes() == before


@pytest.mark.slow
def test_a_run_that_diverges_ends_with_an_error_and_keeps_what_it_had(drawn, eagerly, tmp_path, monkeypatch):
    step = Learner.step

    def diverging_step(self, *args):
        losses = step(self, *args)
        variable = self.network.trainable_variables[0]
        variable.assign(np.full(variable.shape, np.nan))
        return losses

    interrupt(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", diverging_step)
        settings = dataclasses.replace(SETTINGS, steps=3)
        training.checkpoints.write_record(tmp_path / "settings.json", training._describe(settings, TINY))
        with pytest.raises(RuntimeError, match=r"the loss must be finite: lower learning_rate\. Received: \[nan, .* at step 2"):
            train(settings, tmp_path, TINY, workers=1, checkpoint_sec=1e9)
    progress, values = training.checkpoints.read(tmp_path)
    assert progress.step == 1
    assert all(np.isfinite(value).all() for value in values.values())


@pytest.mark.slow
def test_a_run_by_time_ends_with_its_time_and_resumes_where_its_schedule_was(drawn, eagerly, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training.Clock.__init__, "__defaults__", (lambda: now[0],))
    step = Learner.step

    def timed_step(self, *args):
        now[0] += 20
        return step(self, *args)

    monkeypatch.setattr(Learner, "step", timed_step)
    settings = dataclasses.replace(SETTINGS, minutes=1.0)
    interrupt(tmp_path, monkeypatch, settings, after=2)
    now[0] += 1000  # between the interruption and the resumption
    run(tmp_path, settings)
    shares = [float(line["share"]) for line in log(tmp_path)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert float(log(tmp_path)[-1]["seconds"]) == pytest.approx(60, abs=20)


@pytest.mark.slow
def test_an_unfinished_run_is_exported_with_its_record(drawn, eagerly, tmp_path, monkeypatch):
    interrupt(tmp_path, monkeypatch)
    monkeypatch.setattr(training, "PRESETS", {"lite": dataclasses.replace(PRESETS["lite"], config=TINY)})
    path = tmp_path / "exported.safetensors"
    sha256 = export(tmp_path, path)

    loaded = presets.load_model(str(path))
    assert (loaded.sha256, loaded.preset.name, loaded.preset.config) == (sha256, "lite", TINY)
    assert list(loaded.activation_ranges.layers) == quantized_layers(loaded.network)
    assert loaded.preset.counting.certainty == ()  # that of the preset was fitted to other weights
    export(tmp_path, path, certainty=[1.0, 2.0, 3.0, 4.0, -5.0])
    assert presets.load_model(str(path)).preset.counting.certainty == (1.0, 2.0, 3.0, 4.0, -5.0)
    progress, values = training.checkpoints.read(tmp_path)
    np.testing.assert_array_equal(loaded.network.trainable_variables[0], values["average/000"])
    record = weights_file.read_metadata(path)["training"]
    assert (record["steps_done"], record["clips_drawn"]) == (1, progress.clips_drawn)
    assert record["settings"] | {"initial_weights": ""} == dataclasses.asdict(SETTINGS)
    assert record["initial"] is None
    assert record["last_losses"]["period_loss"] > 0
    assert record["machine"] == {
        "device": "cpu",
        "backend": keras.backend.backend(),
        "frame_policy": "float32",
        "drawing_processes": 1,
    }


def checkpointed(folder):
    """Leaves the folder of a run with a checkpoint of random weights."""
    described = {"settings": dataclasses.asdict(SETTINGS), "network": dataclasses.asdict(TINY)}
    (folder / "settings.json").write_text(json.dumps(described))
    (folder / "machine.json").write_text("{}")
    training.checkpoints.write(folder, Progress(1, 0.5), Learner(SETTINGS, TINY).values())


def test_a_run_of_another_network_is_not_exported_as_the_preset_s(tmp_path):
    checkpointed(tmp_path)
    with pytest.raises(WeightsError, match="have the preset's configuration"):
        export(tmp_path, tmp_path / "exported.safetensors")


def test_a_run_from_random_numbers_has_no_initial_weights_to_mix_in(tmp_path, monkeypatch):
    checkpointed(tmp_path)
    with pytest.raises(ValueError, match="initial_share is for runs that started from weights"):
        export(tmp_path, tmp_path / "exported.safetensors", initial_share=0.5)


def test_a_run_whose_settings_are_lost_is_not_exported(tmp_path):
    checkpointed(tmp_path)
    for content in ("{}", "[]"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(ValueError, match=r"(and the network of the run|a JSON object).* Received: "):
            export(tmp_path, tmp_path / "exported.safetensors")


@pytest.mark.parametrize("part", ["settings", "network"])
def test_a_run_of_another_version_is_not_exported(part, tmp_path):
    checkpointed(tmp_path)
    record = json.loads((tmp_path / "settings.json").read_text())
    record[part]["former_option"] = 1
    (tmp_path / "settings.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"the run is of another version of the program\. Received: "):
        export(tmp_path, tmp_path / "exported.safetensors")


def test_settings_of_which_no_network_can_be_made_leave_no_run(tmp_path):
    with pytest.raises(ValueError, match="float12"):
        run(tmp_path, dataclasses.replace(SETTINGS, frame_policy="float12"))
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_not_exported(tmp_path):
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match=r"the run must have a checkpoint; .* Received: "):
        export(tmp_path, tmp_path / "exported.safetensors")


def test_a_run_with_other_settings_is_refused(tmp_path):
    checkpointed(tmp_path)
    with pytest.raises(ValueError, match="has a run with other settings"):
        run(tmp_path, dataclasses.replace(SETTINGS, steps=3))


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    checkpointed(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with held(tmp_path), pytest.raises(ValueError, match=r"another process trains in .*: wait for it"):
        run(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with held(tmp_path):
        pass


def test_photographs_that_are_missing_leave_no_run(tmp_path, monkeypatch):
    def fail():
        raise photographs.PhotographsError("photographs need scikit-image")

    monkeypatch.setattr(photographs, "load", fail)
    with pytest.raises(ValueError, match="photographs need scikit-image"):
        run(tmp_path / "run", dataclasses.replace(SETTINGS, photographs=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_frozen_encoder_stays_as_it_was_and_other_weights_of_the_same_name_are_refused(drawn, eagerly, tmp_path):
    before, path = RepNet(TINY), tmp_path / "first.safetensors"
    for name, array in checkpoints.random_arrays(before).items():
        before.variables_by_name()[name].assign(array)
    presets.save_weights(path, before, dataclasses.replace(PRESETS["lite"], config=TINY))
    settings = dataclasses.replace(SETTINGS, initial_weights=str(path), frozen_encoder=True)
    arrays, expected = presets.network_arrays(run(tmp_path / "run", settings)), presets.network_arrays(before)
    initial = json.loads((tmp_path / "run" / "initial.json").read_text())
    assert (initial["file"], initial["sha256"]) == ("first.safetensors", weights_file.read_metadata(path)["sha256"])
    frozen = {name for name in arrays if name.startswith(("base_model/", "temporal_")) and "moving" not in name}
    assert all(np.array_equal(arrays[name], expected[name]) for name in frozen)
    assert not all(np.array_equal(arrays[name], expected[name]) for name in arrays.keys() - frozen)

    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    (tmp_path / "run" / "initial.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has a run from other weights.* Received: first\.safetensors"):
        run(tmp_path / "run", settings)


@pytest.mark.slow
def test_a_run_on_videos_resumes_and_is_exported(tmp_path, monkeypatch):
    before, path = RepNet(TINY), tmp_path / "first.safetensors"
    preset = dataclasses.replace(PRESETS["lite"], config=TINY, strides=(2, 8))
    monkeypatch.setattr(training, "PRESETS", {"lite": preset})
    presets.save_weights(path, before, preset)
    settings = dataclasses.replace(
        SETTINGS, steps=3, videos=2, batch_videos=1, frozen_encoder=True, initial_weights=str(path), photographs=True
    )
    expected = run(tmp_path / "undisturbed", settings)
    interrupt(tmp_path / "resumed", monkeypatch, settings, after=2, step_of=(VideoLearner, "step_on_videos"))
    assert_same(run(tmp_path / "resumed", settings), expected, atol=1e-6)
    for line in log(tmp_path / "resumed"):
        assert float(line["path_loss"]) > 0
        assert line["clips_drawn"] == "2"

    sha256 = export(tmp_path / "resumed", tmp_path / "exported.safetensors")
    assert sha256 == presets.load_model(str(tmp_path / "exported.safetensors")).sha256
    metadata = weights_file.read_metadata(tmp_path / "exported.safetensors")
    record = metadata["training"]
    assert metadata["source"] == {"made_by": "model.training, on drawn videos"}
    assert (record["steps_done"], record["settings"]["videos"]) == (3, 2)
    assert record["initial"]["sha256"] == weights_file.read_metadata(path)["sha256"]
    assert record["last_losses"].keys() == {"period_loss", "periodicity_loss", "path_loss"}

    export(tmp_path / "resumed", tmp_path / "mixed.safetensors", initial_share=0.25)
    mixed, first, last = (weights_file.read(tmp_path / f"{name}.safetensors")[1] for name in ("mixed", "first", "exported"))
    for name, array in mixed.items():
        np.testing.assert_allclose(array, 0.25 * first[name] + 0.75 * last[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert weights_file.read_metadata(tmp_path / "mixed.safetensors")["training"]["initial_share"] == 0.25
    with pytest.raises(ValueError, match=r"initial_share must be 0 to 1\. Received: 1\.5"):
        export(tmp_path / "resumed", tmp_path / "mixed.safetensors", initial_share=1.5)
    other = dataclasses.replace(preset, config=dataclasses.replace(TINY, num_periods=40))
    presets.save_weights(path, RepNet(other.config), other)
    initial = tmp_path / "resumed" / "initial.json"
    recorded = initial.read_text()
    initial.write_text(json.dumps(training.describe_initial(settings)))
    with pytest.raises(ValueError, match=r"initial_share needs initial weights of the same network\. Received: others for fc_"):
        export(tmp_path / "resumed", tmp_path / "mixed.safetensors", initial_share=0.5)
    initial.write_text(recorded)
    presets.save_weights(path, expected, preset)
    with pytest.raises(ValueError, match="the run started from other weights of this name"):
        export(tmp_path / "resumed", tmp_path / "mixed.safetensors", initial_share=0.5)


@pytest.mark.slow
def test_a_run_of_our_own_network_leaves_weights_and_a_record(tmp_path):
    settings = dataclasses.replace(SETTINGS, frame_policy="auto")
    network = train(settings, tmp_path)
    assert network.config == LITE
    assert [line["step"] for line in log(tmp_path)] == ["2"]
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["steps"] == 2
    assert (
        export(tmp_path, tmp_path / "weights.safetensors") == presets.load_model(str(tmp_path / "weights.safetensors")).sha256
    )


class TestClock:
    """A clock whose time is a list of one number."""

    def clock(self, done=None, **settings):
        now = [100.0]
        return now, Clock(TrainingSettings(**settings), done or Progress(), lambda: now[0])

    def test_by_steps_the_share_is_that_of_the_steps(self):
        _, clock = self.clock(steps=8)
        assert [clock.share(step) for step in (0, 2, 8)] == [0, 0.25, 1]

    def test_by_time_the_share_grows_from_the_end_of_the_first_step(self):
        now, clock = self.clock(minutes=10)
        now[0] += 100
        assert clock.share(1) == 0
        clock.begin()
        now[0] += 250
        assert clock.share(2) == pytest.approx(0.5)
        now[0] += 250
        assert clock.share(3) == 1
        assert clock.seconds == 600

    def test_a_resumed_schedule_goes_on_and_ends_with_the_whole_time(self):
        now, clock = self.clock(Progress(step=5, share=0.4, seconds=300), minutes=10)
        assert clock.share(5) == 0.4
        now[0] += 50
        clock.begin()
        now[0] += 125
        assert clock.share(6) == pytest.approx(0.7)
        now[0] += 125
        assert clock.share(7) == 1

    def test_a_first_step_longer_than_the_time_ends_the_run(self):
        now, clock = self.clock(minutes=1)
        now[0] += 100
        clock.begin()
        now[0] += 0.01
        assert clock.share(1) == 1
