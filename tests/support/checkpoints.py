"""Small checkpoints: a network that builds in a moment, saved the way TensorFlow 2 saves objects."""

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.autotrackable import AutoTrackable

from model.config import RepNetConfig
from model.counting_options import CountingOptions, StrideRule
from model.presets import Preset

TINY = RepNetConfig(
    encoder="small",
    encoder_channels=(2, 2, 2),
    embedding_channels=4,
    head_channels=4,
    num_heads=2,
    position_channels=4,
    num_periods=8,
    period_offset=1,
    similarity_channels=2,
)

TINY_PRESET = Preset(
    name="tiny",
    config=TINY,
    description="for tests",
    strides=(1, 5),
    counting=CountingOptions(stride_rule=StrideRule.NOTEBOOK, frame_threshold=0.25),
)


def tree(values):
    """Returns trackable objects that hold {path of edges: array, or an object}."""
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
    """Writes a model of {path of edges: array, or an object} as an object-based checkpoint; returns its prefix.

    Args:
      values: what the model holds.
      prefix: path without ".index".
      beside: what the checkpoint holds beside the model.
    """
    return tf.train.Checkpoint(model=tree(values), **beside).write(str(prefix))


def random_arrays(network, seed=0):
    """Returns {canonical name: array} with other values for every variable."""
    rng = np.random.default_rng(seed)
    return {name: rng.random(tuple(v.shape), np.float32) + 0.5 for name, v in network.variables_by_name().items()}
