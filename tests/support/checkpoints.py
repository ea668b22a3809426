"""A small network, and checkpoints saved as TensorFlow 2 saves objects."""

import dataclasses
import json

import h5py
import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.autotrackable import AutoTrackable

from model import storage, weights_file
from model.counting_options import CountingOptions, StrideRule
from model.presets import Preset
from tests.support import training

TINY = dataclasses.replace(training.TINY, num_periods=8)

TINY_PRESET = Preset(
    name="tiny",
    config=TINY,
    description="for tests",
    strides=(1, 5),
    counting=CountingOptions(stride_rule=StrideRule.NOTEBOOK, frame_threshold=0.25),
)


def tree(values):
    """Returns trackable objects that hold `values`, {path of edges: array, or an object}."""
    root = AutoTrackable()
    for path, value in values.items():
        *parents, leaf = path.split("/")
        node = root
        for part in parents:
            if getattr(node, part, None) is None:
                setattr(node, part, AutoTrackable())
            node = getattr(node, part)
        setattr(node, leaf, tf.Variable(value) if isinstance(value, np.ndarray) else value)
    return root


def save(values, prefix, **beside):
    """Writes an object-based checkpoint of a model; returns its prefix.

    Args:
      values: Content of the model, {path of edges: array, or an object}.
      prefix: Path without ".index".
      beside: Other objects in the checkpoint.
    """
    return tf.train.Checkpoint(model=tree(values), **beside).write(str(prefix))


def random_arrays(network, seed=0):
    """Returns {canonical name: array} with random values for every variable."""
    rng = np.random.default_rng(seed)
    return {name: rng.random(tuple(v.shape), np.float32) + 0.5 for name, v in network.variables_by_name().items()}


def save_old_weights(path, config, arrays, metadata):
    """Writes weights in the previous format, NAME.weights.h5 and NAME.json; returns the path."""
    with h5py.File(path, "w") as file:
        for name, array in sorted(arrays.items()):
            file.create_dataset(name, data=array)
    sidecar = {**metadata, "config": dataclasses.asdict(config), "sha256": storage.file_sha256(path)}
    weights_file.sidecar_path(path).write_text(json.dumps(sidecar, indent=2) + "\n")
    return path
