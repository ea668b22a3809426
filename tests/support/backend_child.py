"""Computes in a process of its own, under the backend that KERAS_BACKEND names. TensorFlow cannot be imported under JAX.

`python -m tests.support.backend_child logits FRAMES.npy OUT.npz` scores a window with the shipped weights.
`python -m tests.support.backend_child train FOLDER` trains two small steps twice, the second time with an interruption.
"""

import os
import sys
from pathlib import Path

if os.environ["KERAS_BACKEND"] == "jax":
    sys.modules["tensorflow"] = None  # type: ignore[assignment]

import numpy as np

from model import weights_file
from model.config import RepNetConfig
from model.network import RepNet
from model.presets import PRESETS, network_arrays, weights_path
from model.training import learner as learner_module
from model.training import processes, train
from tests.support import training


def score(frames, out):
    """Writes the logits of the shipped weights for a window."""
    metadata, arrays = weights_file.read(weights_path(PRESETS["lite"]))
    network = RepNet(RepNetConfig.from_json(metadata["config"]))
    for name, variable in network.variables_by_name().items():
        variable.assign(arrays[name])
    period, periodicity = network(np.load(frames))
    np.savez(out, period=np.asarray(period), periodicity=np.asarray(periodicity))


class InterruptionError(Exception):
    """Raised instead of the second step."""


def train_twice(folder):
    """Writes the weights of a run, and of the same run with an interruption after its first step."""
    processes.ProcessPoolExecutor = training.InProcess
    whole = network_arrays(train.train(training.SETTINGS, folder / "whole", training.TINY, checkpoint_sec=0))

    step, steps = learner_module.Learner.step, []

    def interrupted_step(self, *args):
        if steps:
            raise InterruptionError
        steps.append(step(self, *args))
        return steps[-1]

    learner_module.Learner.step = interrupted_step
    try:
        train.train(training.SETTINGS, folder / "interrupted", training.TINY, checkpoint_sec=0)
    except InterruptionError:
        learner_module.Learner.step = step
    resumed = network_arrays(train.train(training.SETTINGS, folder / "interrupted", training.TINY, checkpoint_sec=0))
    np.savez(folder / "whole.npz", **whole)
    np.savez(folder / "resumed.npz", **resumed)


if __name__ == "__main__":
    if sys.argv[1] == "logits":
        score(*sys.argv[2:])
    else:
        train_twice(Path(sys.argv[2]))
