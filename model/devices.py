"""Prepares the GPUs that TensorFlow sees."""

from __future__ import annotations

import tensorflow as tf


class NoGpuError(RuntimeError):
    """A GPU is required, and TensorFlow sees none."""


def prepare_gpus(*, require: bool = False) -> bool:
    """Makes TensorFlow allocate GPU memory as needed instead of all at once; returns whether there is a GPU.

    Args:
      require: Whether a missing GPU is an error.

    Raises:
      NoGpuError: `require` is set and there is no GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if require and not gpus:
        raise NoGpuError(
            "a GPU is required (--require_gpu, or --gpu on Dataflow), and TensorFlow sees none: check the driver, CUDA and "
            "TensorFlow's own messages"
        )
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # already in use, so the setting cannot change
            break
    return bool(gpus)
