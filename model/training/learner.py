"""A network that learns: its training step under either backend of Keras, and the values to resume with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from model import precision
from model.config import FRAME_SIZE, WINDOW_FRAMES, RepNetConfig
from model.network import RepNet, Tensor
from model.training import backends
from model.training.augmentation import augment
from model.training.losses import period_loss, periodicity_loss
from model.training.replay import Example
from model.training.settings import TrainingSettings


class TrainingModel(keras.Model):
    """A network that scores views of clips.

    Attributes:
      network: The network to train.
      augments: Whether to mirror and recolour clips in training.
      seed: Source of randomness of the augmentation.
    """

    def __init__(self, network: RepNet, augments: bool = False, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.network = network
        self.augments = augments
        self.seed = keras.random.SeedGenerator()
        self.built = True

    def call(self, groups: Sequence[Tensor], views: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Returns period logits, (B, V, 64, num_periods), and periodicity logits, (B, V, 64).

        Args:
          groups: Frames of B clips in groups, each (clips, 64, 112, 112, 3), RGB in 0..255.
          views: Frame that each position of each view shows, numbered across all groups, (B, V, 64).
          training: Whether to drop values out, to augment, and to update the moving averages of batch norm.
        """
        frames = ops.concatenate(groups, axis=0)
        if training and self.augments:
            frames = augment(frames, self.seed)
        features = self.network.encode(ops.reshape(frames, (-1, FRAME_SIZE, FRAME_SIZE, 3)), training=training)
        shown = ops.take(self.network.taps(features), ops.reshape(views, (-1, WINDOW_FRAMES)), axis=0)
        period, periodicity = self.network.heads(self.network.embed(shown, training=training), training=training)
        per_clip = views.shape[1]
        return (
            ops.reshape(period, (-1, per_clip, WINDOW_FRAMES, period.shape[-1])),
            ops.reshape(periodicity, (-1, per_clip, WINDOW_FRAMES)),
        )


def frame_policy(settings: TrainingSettings) -> str:
    """Returns the dtype policy of the encoder and the taps on this device."""
    if settings.frame_policy != "auto":
        return settings.frame_policy
    on_gpu = backends.gpu_multiplies_bfloat16()
    has_bfloat16 = precision.best_precision() == "bfloat16" if on_gpu is None else on_gpu
    return "mixed_bfloat16" if has_bfloat16 else "float32"


class Learner:
    """A network in training, with its optimizer and the running average of its weights.

    Attributes:
      network: The network to train.
    """

    def __init__(self, settings: TrainingSettings, config: RepNetConfig) -> None:
        """Makes a network of random weights.

        Args:
          settings: Settings of the run.
          config: Configuration of the network.
        """
        keras.utils.set_random_seed(settings.seed)
        self._settings = settings
        self.network = RepNet(config, frame_policy(settings))
        if settings.frozen_encoder:
            self.network.encoder.trainable = self.network.temporal.trainable = False
            if self.network.layout:
                self.network.layout.trainable = False
        self._model = TrainingModel(self.network, settings.augment)
        trained = self._model.trainable_variables
        self._optimizer = keras.optimizers.AdamW(0.0, weight_decay=settings.weight_decay, global_clipnorm=1.0)
        self._optimizer.exclude_from_weight_decay(var_list=[variable for variable in trained if len(variable.shape) < 2])
        self._optimizer.build(trained)
        self._averages = [keras.Variable(variable, trainable=False, name="average") for variable in trained]
        self._update: backends.Update | None = None  # compiled by the first step

    def step(self, example: Example, learning_rate: float, average_decay: float) -> Tensor:
        """Trains on an example; returns its losses of period and periodicity, (2,) float32 on the device."""
        if self._update is None:
            self._update = backends.compile_update(self._model, self._optimizer, self._averages, self._losses)
        return self._update(example, learning_rate, average_decay)

    def _losses(self, logits: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns what to lower, a scalar, and its two parts, (2,).

        Args:
          logits: Period and periodicity logits.
          labels: Period, periodic and weight of an `Example`.
        """
        period, periodic, weight = labels
        offset, whole = self.network.config.period_offset, self._settings.whole_periods
        both = ops.stack([period_loss(period, logits[0], weight, offset, whole), periodicity_loss(periodic, logits[1], weight)])
        return both[0] + self._settings.periodicity_weight * both[1], both

    def start_from(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Assigns arrays to the variables with the same canonical name and shape; returns how many.

        Raises:
          ValueError: A variable that is not trained has no array, or no variable has one.
        """
        assigned = 0
        for name, variable in self.network.variables_by_name().items():
            if name in arrays and tuple(variable.shape) == arrays[name].shape:
                variable.assign(arrays[name])
                assigned += 1
            elif self._settings.frozen_encoder and not variable.trainable:
                raise ValueError(f"frozen_encoder needs initial weights of the same encoder. Received: others for {name}")
        if not assigned:
            raise ValueError("initial_weights must be of such a network. Received: weights of which none fits")
        for average, variable in zip(self._averages, self._model.trainable_variables, strict=True):
            average.assign(variable)
        return assigned

    def _variables(self) -> dict[str, keras.Variable]:
        """Returns everything that a step changes, by a name that another process gives it, too."""
        kinds = {"model": self._model.variables, "optimizer": self._optimizer.variables, "average": self._averages}
        return {f"{kind}/{i:03}": variable for kind, variables in kinds.items() for i, variable in enumerate(variables)}

    def values(self) -> dict[str, np.ndarray]:
        """Returns the values of everything that a step changes, by name."""
        if self._update is not None:
            self._update.sync()
        return {name: ops.convert_to_numpy(variable) for name, variable in self._variables().items()}

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Sets the values that `values` returned. Call it before the first step.

        Raises:
          ValueError: They are of another network.
        """
        variables = self._variables()
        found = {name: value.shape for name, value in values.items()}
        if found != {name: tuple(variable.shape) for name, variable in variables.items()}:
            raise ValueError(f"a checkpoint must have the values of this network. Received: {len(found)} arrays")
        for name, variable in variables.items():
            variable.assign(values[name])

    def take_averages(self) -> RepNet:
        """Gives the network its averaged weights, and returns it. The run cannot be continued after that."""
        if self._update is not None:
            self._update.sync()
        for average, variable in zip(self._averages, self._model.trainable_variables, strict=True):
            variable.assign(average)
        return self.network
