"""A required GPU that is missing is an error; memory of a GPU is allocated as needed."""

import pytest
import tensorflow as tf

from model.devices import NoGpuError, prepare_gpus


@pytest.fixture
def gpus(monkeypatch):
    """The GPUs that TensorFlow sees, and the calls that set their memory growth."""
    seen, calls = [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(seen))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grows: calls.append((gpu, grows)))
    return seen, calls


def test_none_is_no_matter_unless_it_is_required(gpus):
    assert not prepare_gpus()
    with pytest.raises(NoGpuError, match="TensorFlow sees none"):
        prepare_gpus(require=True)


def test_memory_is_taken_as_it_is_needed(gpus):
    seen, calls = gpus
    seen += ["gpu 0", "gpu 1"]
    assert prepare_gpus(require=True)
    assert calls == [("gpu 0", True), ("gpu 1", True)]


def test_a_gpu_that_is_in_use_already_stays_as_it_is(gpus, monkeypatch):
    def refuse(gpu, grows):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    gpus[0].append("gpu 0")
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    assert prepare_gpus()
