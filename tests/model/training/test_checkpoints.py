"""A checkpoint is read as it was written, and is whole or not there; the log ends where a run resumes."""

import csv

import numpy as np
import pytest

from model.training import checkpoints
from model.training.checkpoints import Progress

PROGRESS = Progress(7, 0.5, 12.5, 640, 1e-3, 1.5, 0.25)
VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "seed": np.array([1, 2], np.uint32), "n": np.array(3)}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    assert checkpoints.read(tmp_path) is None
    checkpoints.write(tmp_path, PROGRESS, VALUES)
    progress, values = checkpoints.read(tmp_path)
    assert progress == PROGRESS
    assert values.keys() == VALUES.keys()
    for name, value in VALUES.items():
        np.testing.assert_array_equal(values[name], value)
        assert values[name].dtype == value.dtype
        assert values[name].shape == value.shape


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoints.write(tmp_path, PROGRESS, VALUES)

    def fill_disk(self, data):
        self.open("wb").write(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Path, "write_bytes", fill_disk)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.write(tmp_path, Progress(8), VALUES)
    assert checkpoints.read(tmp_path)[0] == PROGRESS
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_weights_that_are_not_finite_leave_the_checkpoint_before(tmp_path):
    checkpoints.write(tmp_path, PROGRESS, VALUES)
    with pytest.raises(RuntimeError, match=r"no longer finite; lower learning_rate\. Received: a at step 8"):
        checkpoints.write(tmp_path, Progress(8), VALUES | {"a": np.array([1, np.nan], np.float32)})
    assert checkpoints.read(tmp_path)[0] == PROGRESS


@pytest.mark.parametrize("content", ["", "step,share\n7,0.5\n\n8,0", "step,share\n7,0.5\nstep\n"])
def test_a_log_that_a_full_disk_has_cut_short_goes_on(tmp_path, content):
    (tmp_path / "log.csv").write_text(content)
    checkpoints.cut_log(tmp_path, 10)
    checkpoints.append_log(tmp_path, Progress(9))
    with (tmp_path / "log.csv").open(newline="") as file:
        assert [line["step"] for line in csv.DictReader(file)] == (["7", "9"] if content else ["9"])


def test_a_damaged_record_is_named(tmp_path):
    checkpoints.write_record(tmp_path / "settings.json", {"a": 1})
    assert checkpoints.read_record(tmp_path / "settings.json") == {"a": 1}
    (tmp_path / "settings.json").write_text("")
    with pytest.raises(ValueError, match=r"record of the run is damaged .*: choose another folder\. R.*settings\.json"):
        checkpoints.read_record(tmp_path / "settings.json")


def test_a_checkpoint_of_another_version_is_not_called_damaged(tmp_path):
    checkpoints.write(tmp_path, PROGRESS, VALUES)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"path_loss", b"vote_loss"))
    with pytest.raises(checkpoints.OtherVersionError, match=r"of another version of the program.* Received: .*checkpoint"):
        checkpoints.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"the checkpoint is damaged .*: delete it to start anew. Received: .*checkpoint"):
        checkpoints.read(tmp_path)


def test_the_log_ends_where_a_run_resumes(tmp_path):
    checkpoints.cut_log(tmp_path, 0)
    assert not list(tmp_path.iterdir())
    for step in (50, 100, 150):
        checkpoints.append_log(tmp_path, Progress(step))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("20")  # killed while writing a line
    checkpoints.cut_log(tmp_path, 100)
    checkpoints.append_log(tmp_path, Progress(140))
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0].startswith("step,share,seconds,clips_drawn,")
    assert [line.split(",")[0] for line in lines[1:]] == ["50", "100", "140"]
