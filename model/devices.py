"""The GPUs that TensorFlow sees, and how it is to use them."""

from __future__ import annotations

import tensorflow as tf


class NoGpuError(RuntimeError):
    """A GPU was asked for, and there is none."""


def prepare_gpus(*, require: bool = False) -> bool:
    """Lets TensorFlow take a GPU's memory as it needs it, not all at once; tells whether there is a GPU.

    Args:
      require: raise an error if there is none.

    Raises:
      NoGpuError: there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if require and not gpus:
        raise NoGpuError(
            "a GPU is required (--require_gpu, or --gpu on Dataflow), and TensorFlow sees none: look at the machine's driver, "
            "at CUDA, and at TensorFlow's own messages"
        )
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # it was used before, and keeps what it has
            break
    return bool(gpus)
