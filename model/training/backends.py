"""What differs between Keras' backends in training: compiling a step, and what the device is.

TensorFlow trains on a processor, JAX also on a GPU. Only the one in use is imported.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from model.network import Tensor
from model.training.replay import Example

Losses = Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]], tuple[Tensor, Tensor]]
"""Maps logits and labels to what to lower, a scalar, and to what to report."""


class Update(Protocol):
    """A compiled training step."""

    def __call__(self, example: Example, learning_rate: float, average_decay: float) -> Tensor:
        """Trains on an example; returns what the losses report."""

    def sync(self) -> None:
        """Gives Keras' variables the values that the steps so far have led to."""


def compile_update(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, averages: Sequence[keras.Variable], losses: Losses
) -> Update:
    """Returns the training step of a model.

    Args:
      model: Maps groups and views of an `Example` to logits.
      optimizer: A built optimizer with a variable as its learning rate.
      averages: Running averages of the model's trainable variables.
      losses: What to lower, and to report.

    Raises:
      ValueError: Keras' backend is neither TensorFlow nor JAX.
    """
    return _backend(_TensorFlowUpdate, _JaxUpdate)(model, optimizer, averages, losses)


def _backend(for_tensorflow: Any, for_jax: Any) -> Any:
    """Returns the argument for the backend in use."""
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax"):
        raise ValueError(f"training needs Keras' backend tensorflow or jax: set KERAS_BACKEND. Received: {name}")
    return for_tensorflow if name == "tensorflow" else for_jax


class _TensorFlowUpdate:
    """Changes Keras' variables in place."""

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, averages: Sequence[keras.Variable], losses: Losses
    ) -> None:
        import tensorflow as tf

        def lower(example: Example) -> tuple[Tensor, Tensor]:
            logits = model(example.groups, example.views, training=True)
            return losses(logits, (example.period, example.periodic, example.weight))

        update = functools.partial(update_with_tensorflow, lower, model.trainable_variables, optimizer, averages)
        self._update = tf.function(update, jit_compile=True)

    def __call__(self, example: Example, learning_rate: float, average_decay: float) -> Tensor:
        return self._update(example, np.asarray(learning_rate, np.float32), np.asarray(average_decay, np.float32))

    def sync(self) -> None:
        """Does nothing: the variables are up to date."""


def update_with_tensorflow(
    lower: Callable[[Any], tuple[Tensor, Tensor]],
    trained: Sequence[keras.Variable],
    optimizer: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    example: Any,
    learning_rate: Tensor,
    average_decay: Tensor,
) -> Tensor:
    """Trains variables on an example; to be compiled.

    Args:
      lower: Maps an example to what to lower, a scalar, and to what to report.
      trained: The variables.
      optimizer: A built optimizer with a variable as its learning rate.
      averages: Running averages of the variables.
      example: The example.
      learning_rate: Learning rate of this step.
      average_decay: Decay of the running averages.

    Returns:
      What to report.
    """
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total, reported = lower(example)
    optimizer.learning_rate.assign(learning_rate)
    optimizer.apply(tape.gradient(total, trained), trained)
    for average, variable in zip(averages, trained, strict=True):
        average.assign(average_decay * average + (1.0 - average_decay) * variable)
    return reported


class _JaxUpdate:
    """Keeps the values of Keras' variables itself, as JAX wants, until `sync`."""

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, averages: Sequence[keras.Variable], losses: Losses
    ) -> None:
        import jax

        trained, others = model.trainable_variables, model.non_trainable_variables
        self._variables = (trained, others, optimizer.variables, list(averages))
        self._values = tuple([variable.value for variable in variables] for variables in self._variables)
        rate_at = next(i for i, variable in enumerate(optimizer.variables) if variable is optimizer.learning_rate)

        def lower(
            trained_values: list[Tensor], other_values: list[Tensor], example: Example
        ) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
            logits, changed = model.stateless_call(trained_values, other_values, example.groups, example.views, training=True)
            total, reported = losses(logits, (example.period, example.periodic, example.weight))
            return total, (reported, changed)

        @jax.jit
        def update(values: Any, example: Example, learning_rate: Tensor, average_decay: Tensor) -> Any:
            trained_values, other_values, optimizer_values, average_values = values
            gradients, (reported, other_values) = jax.grad(lower, has_aux=True)(trained_values, other_values, example)
            optimizer_values = [*optimizer_values[:rate_at], learning_rate, *optimizer_values[rate_at + 1 :]]
            trained_values, optimizer_values = optimizer.stateless_apply(optimizer_values, gradients, trained_values)
            average_values = [
                average_decay * average + (1.0 - average_decay) * value
                for average, value in zip(average_values, trained_values, strict=True)
            ]
            return (trained_values, other_values, optimizer_values, average_values), reported

        self._update = update

    def __call__(self, example: Example, learning_rate: float, average_decay: float) -> Tensor:
        self._values, reported = self._update(
            self._values, example, np.asarray(learning_rate, np.float32), np.asarray(average_decay, np.float32)
        )
        return reported

    def sync(self) -> None:
        """Assigns the values to Keras' variables."""
        for variables, values in zip(self._variables, self._values, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def to_device(frames: np.ndarray) -> Tensor:
    """Returns a copy on the device; the array may be overwritten once this returns."""
    return _backend(_to_tensorflow, _to_jax)(frames)


def _to_tensorflow(frames: np.ndarray) -> Tensor:
    return keras.ops.convert_to_tensor(frames.copy())  # a tensor may share an array's memory


def _to_jax(frames: np.ndarray) -> Tensor:
    import jax

    return jax.device_put(frames, may_alias=False).block_until_ready()


def device_name() -> str:
    """Returns the name of the device that trains, such as "NVIDIA H100 80GB HBM3", or "cpu"."""
    return _backend(_tensorflow_gpu, _jax_gpu)()[0]


def gpu_multiplies_bfloat16() -> bool | None:
    """Returns whether the GPU or TPU that trains multiplies bfloat16 matrices, or None if a processor trains."""
    name, capability = _backend(_tensorflow_gpu, _jax_gpu)()
    return None if name == "cpu" else capability >= 8


@functools.cache
def _tensorflow_gpu() -> tuple[str, float]:
    """Returns the name and compute capability of TensorFlow's device."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu", 0.0
    details = tf.config.experimental.get_device_details(gpus[0])
    return details.get("device_name", "GPU"), float(details.get("compute_capability", (0, 0))[0])


@functools.cache
def _jax_gpu() -> tuple[str, float]:
    """Returns the name and compute capability of JAX' device; a TPU counts as one that multiplies bfloat16 matrices."""
    import jax

    device = jax.devices()[0]
    return device.device_kind, float(getattr(device, "compute_capability", "8"))
