"""Trains the network of configuration `LITE` on drawn clips, with `keras.Model.fit`.

Every batch has its own seeds. So the settings alone determine a run, and a resumed run continues with the clips that the
interrupted one would have seen; only its dropout masks differ. Besides the weights, a run keeps its settings and a CSV log.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import itertools
import json
import multiprocessing
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import keras
from keras import ops

from model import weights_file
from model.config import FRAME_SIZE, LITE, WINDOW_FRAMES, RepNetConfig
from model.network import RepNet, Tensor
from model.presets import PRESETS, save_weights
from model.training.clips import PARTS, Batch, draw_batch

_SEED_STRIDE = 10_000_000
"""Runs with different seeds share no clip if they draw fewer clips than this."""

_PREFETCH_BATCHES = 4
"""Batches to prefetch per drawing process; one is 38 MB."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings that determine a training run.

    Attributes:
      steps: Total number of batches; a multiple of `steps_per_epoch`.
      batch_size: Clips per batch.
      views_per_clip: Windows shown of every clip, see `model.training.views`.
      learning_rate: Peak learning rate, reached after `warmup_steps`; it then falls to 1 % of the peak along a cosine.
      warmup_steps: Batches over which the learning rate rises.
      weight_decay: Weight decay of AdamW.
      periodicity_weight: Weight of the periodicity loss; the period loss has 1.
      average_decay: Decay of the running average of the weights, which is what is saved.
      seed: Seed of the initial weights, the dropout and the clips.
      steps_per_epoch: Batches per line of the log and per checkpoint.
      frame_policy: Keras dtype policy of the encoder and the taps. "mixed_bfloat16" is faster than "float32" on machines that
        multiply bfloat16 matrices, and several times slower on others.
      initial_weights: Path of a weights file to start from. Variables with the same name and shape are taken from it. Empty:
        start from random numbers.
      without: Parts of `clips.PARTS` to leave out of the clips, separated by commas, for ablation.
      whole_periods: Whether to teach only the class nearest to the period instead of two, for ablation.
      frozen_encoder: Whether to keep the encoder and the taps of `initial_weights` fixed; a step is then three times as fast.
    """

    steps: int = 6000
    batch_size: int = 16
    views_per_clip: int = 3
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    periodicity_weight: float = 2.0
    average_decay: float = 0.998
    seed: int = 0
    steps_per_epoch: int = 100
    frame_policy: str = "float32"
    initial_weights: str = ""
    without: str = ""
    whole_periods: bool = False
    frozen_encoder: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if the run is not a whole number of epochs, or `without` has unknown parts."""
        if self.steps < 1 or self.steps % self.steps_per_epoch:
            raise ValueError(f"steps must be a positive multiple of {self.steps_per_epoch}. Received: {self.steps}")
        if unknown := self.parts_left_out - frozenset(PARTS):
            raise ValueError(f"without must list any of {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")

    @property
    def parts_left_out(self) -> frozenset[str]:
        """The parts in `without`."""
        return frozenset(part for part in self.without.split(",") if part)


Example = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def draw_examples(settings: TrainingSettings, first_batch: int, workers: int) -> Iterator[Example]:
    """Yields `((frames, views), (period, periodic), (weight, weight))` of each `Batch`, in order and without end.

    Other processes prefetch the batches. Keras multiplies the losses by the weights, position by position.

    Args:
      settings: Settings of the run; they determine the seeds of each batch.
      first_batch: Index of the first batch to yield.
      workers: Number of drawing processes.
    """
    # Spawned, not forked: the parent runs threads of TensorFlow.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        prefetched: deque[Future[Batch]] = deque()
        for number in itertools.count(first_batch):
            first_seed = settings.seed * _SEED_STRIDE + number * settings.batch_size
            prefetched.append(
                pool.submit(draw_batch, first_seed, settings.batch_size, settings.views_per_clip, settings.parts_left_out)
            )
            if len(prefetched) > _PREFETCH_BATCHES * workers:
                batch = prefetched.popleft().result()
                yield (batch.frames, batch.views), (batch.period, batch.periodic), (batch.weight, batch.weight)


class TrainingModel(keras.Model):
    """A network that scores views of clips: maps frames, (B, 64, 112, 112, 3), and views, (B, V, 64), to logits, (B, V, 64, …).

    Attributes:
      network: The network to train.
    """

    def __init__(self, network: RepNet, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.network = network
        self.built = True

    def call(self, inputs: tuple[Tensor, Tensor], training: bool = False) -> tuple[Tensor, Tensor]:
        """Returns period logits, (B, V, 64, num_periods), and periodicity logits, (B, V, 64)."""
        frames, views = inputs
        features = self.network.encode(ops.reshape(frames, (-1, FRAME_SIZE, FRAME_SIZE, 3)), training=training)
        shown = ops.take(self.network.taps(features), ops.reshape(views, (-1, WINDOW_FRAMES)), axis=0)
        period, periodicity = self.network.heads(self.network.embed(shown, training=training), training=training)
        per_clip = views.shape[1]
        return (
            ops.reshape(period, (-1, per_clip, WINDOW_FRAMES, period.shape[-1])),
            ops.reshape(periodicity, (-1, per_clip, WINDOW_FRAMES)),
        )


class PeriodLoss(keras.losses.Loss):
    """Cross-entropy of the period where something repeats. The target is split between the two classes nearest to the period.

    So the mean over the most likely classes is the period itself, fractions included, which counting uses. With `whole_periods`
    the target is the nearest class.
    """

    def __init__(self, period_offset: int, whole_periods: bool = False, **kwargs: Any) -> None:
        super().__init__(reduction="sum", **kwargs)
        self.period_offset = period_offset
        self.whole_periods = whole_periods

    def call(self, period: Tensor, logits: Tensor) -> Tensor:
        """Returns each position's part of the mean loss, (B, V, 64).

        Args:
          period: Periods in positions, (B, V, 64); 0 where nothing repeats.
          logits: Period logits, (B, V, 64, P).
        """
        last = logits.shape[-1] - 1
        place = ops.clip(period - self.period_offset, 0.0, float(last))
        lower = ops.minimum(ops.floor(place), float(last - 1))
        upper_share = ops.round(place - lower) if self.whole_periods else place - lower
        likelihoods = ops.log_softmax(logits, axis=-1)
        index = ops.cast(lower, "int32")
        lower_log = ops.take_along_axis(likelihoods, index[..., None], axis=-1)[..., 0]
        upper_log = ops.take_along_axis(likelihoods, index[..., None] + 1, axis=-1)[..., 0]
        repeats = ops.cast(period > 0, logits.dtype)
        losses = -((1.0 - upper_share) * lower_log + upper_share * upper_log) * repeats
        return losses / (ops.sum(repeats) + 1.0)


class PeriodicityLoss(keras.losses.Loss):
    """Cross-entropy of the periodicity, averaged over the positions, each times its weight."""

    def call(self, periodic: Tensor, logits: Tensor) -> Tensor:
        """Returns the loss of each position, (B, V, 64), for 1 where something repeats, else 0, and for logits, (B, V, 64)."""
        return ops.binary_crossentropy(periodic, logits, from_logits=True)


def _finished_epochs(backup: Path) -> int:
    """Returns how many epochs an interrupted run has finished; `BackupAndRestore` resumes there."""
    metadata = backup / "training_metadata.json"
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.exists() else 0


def _read_log(folder: Path) -> list[dict[str, str]]:
    """Returns the lines of a run's log, each by column."""
    log = folder / "log.csv"
    if not log.exists():
        return []
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def _is_logged(folder: Path, epochs: int) -> bool:
    """Returns whether the log has the run's last epoch. It is written after everything else of the epoch."""
    return any(int(line["epoch"]) == epochs - 1 for line in _read_log(folder))


def compile_model(model: TrainingModel, settings: TrainingSettings) -> None:
    """Sets the losses and the optimizer of a training model."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=settings.steps - settings.warmup_steps,
        warmup_target=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        alpha=0.01,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            weight_decay=settings.weight_decay,
            global_clipnorm=1.0,
            use_ema=True,
            ema_momentum=settings.average_decay,
        ),
        loss=[
            PeriodLoss(model.network.config.period_offset, settings.whole_periods, name="period"),
            PeriodicityLoss(name="periodicity"),
        ],
        loss_weights=[1.0, settings.periodicity_weight],
        jit_compile=True,
    )


def assign_matching(network: RepNet, path: Path) -> int:
    """Assigns the variables of a weights file that the network has with the same name and shape; returns how many.

    Raises:
      WeightsError: The file cannot be read.
    """
    variables, assigned = network.variables_by_name(), 0
    for name, array in weights_file.read(path)[1].items():
        if name in variables and tuple(variables[name].shape) == array.shape:
            variables[name].assign(array)
            assigned += 1
    return assigned


def describe_initial(settings: TrainingSettings) -> dict[str, Any]:
    """Returns the record of the weights that a run starts from: file name, hash, and the record of their own training.

    Raises:
      WeightsError: The file cannot be read, or is damaged.
    """
    path = Path(settings.initial_weights)
    metadata, _ = weights_file.read(path)
    return {"file": path.name, "sha256": metadata["sha256"], "training": metadata.get("training", {})}


def train(settings: TrainingSettings, folder: Path, config: RepNetConfig = LITE, workers: int = 1) -> RepNet:
    """Trains a network and returns it with averaged weights.

    An interrupted run in the same folder is resumed. A finished one is only loaded.

    Args:
      settings: Settings of the run.
      folder: Folder of the run. It gets `settings.json`, `initial.json` if the run starts from weights, `log.csv`, the last two
        epochs' checkpoints while the run lasts, and the averaged weights, `averaged.weights.h5` in Keras' format, after each
        epoch.
      config: Configuration of the network.
      workers: Number of drawing processes.

    Raises:
      ValueError: The folder has a run with other settings, or from other weights of the same name.
      WeightsError: The weights to start from cannot be read.
      RuntimeError: The loss is NaN. The last epoch before that is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "settings.json"
    described = json.dumps({"settings": dataclasses.asdict(settings), "network": dataclasses.asdict(config)}, indent=2)
    if record.exists() and json.loads(record.read_text()) != json.loads(described):
        raise ValueError(f"{folder} has a run with other settings: choose another folder. Received: {settings}")
    backup = folder / "backup"
    epochs = settings.steps // settings.steps_per_epoch
    begins = not (_finished_epochs(backup) or _is_logged(folder, epochs))
    if settings.initial_weights and begins:
        initial, known = folder / "initial.json", describe_initial(settings)
        if initial.exists() and json.loads(initial.read_text()) != known:
            raise ValueError(f"{folder} has a run from other weights: choose another folder. Received: {known['file']}")
        initial.write_text(json.dumps(known, indent=2) + "\n")
    record.write_text(described + "\n")

    keras.utils.set_random_seed(settings.seed)
    network = RepNet(config, settings.frame_policy)
    if settings.initial_weights and begins:
        assign_matching(network, Path(settings.initial_weights))
    if settings.frozen_encoder:
        network.encoder.trainable = network.temporal.trainable = False
    model = TrainingModel(network)
    averaged = folder / "averaged.weights.h5"
    if _is_logged(folder, epochs):
        model.load_weights(averaged)
        return network
    compile_model(model, settings)
    model.fit(
        draw_examples(settings, _finished_epochs(backup) * settings.steps_per_epoch, workers),
        steps_per_epoch=settings.steps_per_epoch,
        epochs=epochs,
        verbose=2,
        callbacks=[
            keras.callbacks.TerminateOnNaN(raise_error=True),  # before any weights of the epoch are saved
            # Two checkpoints, since a run killed while writing one leaves it incomplete.
            keras.callbacks.BackupAndRestore(str(backup), double_checkpoint=True, delete_checkpoint=False),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(str(averaged), save_weights_only=True),
            keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        ],
    )
    if _is_logged(folder, epochs):
        shutil.rmtree(backup)
    else:  # the run was killed after its last checkpoint, before the files that follow
        model.optimizer.finalize_variable_values(model.trainable_variables)
        model.save_weights(averaged)
    return network


def export(folder: Path, path: Path, preset: str = "lite") -> str:
    """Writes the averaged weights of a run as weights of a preset, with the run's record in their metadata.

    Args:
      folder: Folder of a run, finished or not.
      path: File to write; must end with `.safetensors`.
      preset: Name of the preset, whose strides and counting options go into the metadata.

    Returns:
      The hash of the model.

    Raises:
      WeightsError: The file cannot be written, or the run trained another network than the preset's.
    """
    record = json.loads((folder / "settings.json").read_text())
    network = RepNet(RepNetConfig.from_json(record["network"]))
    TrainingModel(network).load_weights(folder / "averaged.weights.h5")
    last = _read_log(folder)[-1]
    initial = folder / "initial.json"
    training = {
        "settings": {name: value for name, value in record["settings"].items() if name != "initial_weights"},
        "initial": json.loads(initial.read_text()) if initial.exists() else None,
        "steps_done": max(int(last["epoch"]) + 1, _finished_epochs(folder / "backup")) * record["settings"]["steps_per_epoch"],
        "last_losses": {name: float(last[name]) for name in ("period_loss", "periodicity_loss")},
        "code_version": importlib.metadata.version("repcount"),
    }
    return save_weights(path, network, PRESETS[preset], {"made_by": "model.training, on drawn clips"}, training)
