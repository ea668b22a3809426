"""The trainer: learns the configuration `LITE` from drawn clips, with `keras.Model.fit`.

Every batch is drawn from its own seeds, so that a run is told by its settings alone and a resumed run goes on with the clips
that the interrupted one would have seen; only its dropout masks are others. What is kept beside the weights is in
`TrainingSettings` and the CSV log.
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
"""Clips of two seeds never coincide for runs of fewer clips than this."""

_BATCHES_AHEAD = 4
"""Batches that a drawing process is ahead of the network; one is 38 MB."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """What decides a training run.

    Attributes:
      steps: batches in all.
      batch_size: clips a batch.
      views_per_clip: windows that are shown of every clip, see `model.training.views`.
      learning_rate: peak, reached after `warmup_steps`; it then falls to nothing along a cosine.
      warmup_steps: batches over which the learning rate rises.
      weight_decay: of AdamW.
      periodicity_weight: weight of the periodicity loss beside the period loss.
      average_decay: of the running average of the weights, which is what is saved.
      seed: of the initial weights, the dropout and the clips.
      steps_per_epoch: batches between two lines of the log and two checkpoints.
      frame_policy: Keras dtype policy of the frames' part while training; "mixed_bfloat16" where the machine multiplies
        matrices of bfloat16, which is several times slower than "float32" where it does not.
      initial_weights: a `.weights.h5` file of ours to start from instead of from random numbers: every variable that it has in
        the same shape is taken. Empty: none.
      without: which of `clips.PARTS` to draw no clips with, separated by commas, to find out what they gain.
      whole_periods: teach the nearest class of the period only, to find out what teaching two gains.
      frozen_encoder: leave the encoder and the taps as `initial_weights` has them, which makes a step three times as fast.
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
        """Raises ValueError unless the run is a whole number of epochs, and draws without parts that there are."""
        if self.steps < 1 or self.steps % self.steps_per_epoch:
            raise ValueError(f"steps must be a positive multiple of {self.steps_per_epoch}. Received: {self.steps}")
        if unknown := self.parts_left_out - frozenset(PARTS):
            raise ValueError(f"without takes {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")

    @property
    def parts_left_out(self) -> frozenset[str]:
        """Those of `without`."""
        return frozenset(part for part in self.without.split(",") if part)


Example = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def draw_examples(settings: TrainingSettings, first_batch: int, workers: int) -> Iterator[Example]:
    """Yields `((frames, views), (period, periodic))` of `Batch`es for ever, in order, drawn some ahead by other processes.

    Args:
      settings: decide which seeds a batch has.
      first_batch: number of the first batch to yield.
      workers: processes that draw.
    """
    # Spawned, not forked: the parent runs TensorFlow's threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: deque[Future[Batch]] = deque()
        for number in itertools.count(first_batch):
            first_seed = settings.seed * _SEED_STRIDE + number * settings.batch_size
            ahead.append(
                pool.submit(draw_batch, first_seed, settings.batch_size, settings.views_per_clip, settings.parts_left_out)
            )
            if len(ahead) > _BATCHES_AHEAD * workers:
                batch = ahead.popleft().result()
                yield (batch.frames, batch.views), (batch.period, batch.periodic)


class TrainingModel(keras.Model):
    """A network that is shown views of clips: frames (B, 64, 112, 112, 3) and views (B, V, 64) to logits (B, V, 64, …).

    Attributes:
      network: what learns.
    """

    def __init__(self, network: RepNet, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.network = network
        self.built = True

    def call(self, inputs: tuple[Tensor, Tensor], training: bool = False) -> tuple[Tensor, Tensor]:
        """Returns period logits (B, V, 64, num_periods) and periodicity logits (B, V, 64)."""
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
    """Cross-entropy of the period where something repeats, the truth shared out to the two classes that it lies between.

    So the mean over the likeliest classes is the period itself, fractions included, which counting makes use of. With
    `whole_periods` the nearest class is all the truth.
    """

    def __init__(self, period_offset: int, whole_periods: bool = False, **kwargs: Any) -> None:
        super().__init__(reduction="sum", **kwargs)
        self.period_offset = period_offset
        self.whole_periods = whole_periods

    def call(self, period: Tensor, logits: Tensor) -> Tensor:
        """Takes periods (B, V, 64) in positions, 0 for none, and logits (B, V, 64, num_periods); returns the mean, a scalar."""
        last = logits.shape[-1] - 1
        place = ops.clip(period - self.period_offset, 0.0, float(last))
        lower = ops.minimum(ops.floor(place), float(last - 1))
        upper_share = ops.round(place - lower) if self.whole_periods else place - lower
        likelihoods = ops.log_softmax(logits, axis=-1)
        index = ops.cast(lower, "int32")
        of_lower = ops.take_along_axis(likelihoods, index[..., None], axis=-1)[..., 0]
        of_upper = ops.take_along_axis(likelihoods, index[..., None] + 1, axis=-1)[..., 0]
        repeats = ops.cast(period > 0, logits.dtype)
        losses = -((1.0 - upper_share) * of_lower + upper_share * of_upper) * repeats
        return ops.sum(losses) / (ops.sum(repeats) + 1.0)


def _finished_epochs(backup: Path) -> int:
    """Returns how many epochs an interrupted run finished; `BackupAndRestore` resumes there."""
    metadata = backup / "training_metadata.json"
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.exists() else 0


def _read_log(folder: Path) -> list[dict[str, str]]:
    """Returns the lines of a run's log, by column."""
    log = folder / "log.csv"
    if not log.exists():
        return []
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def _is_logged(folder: Path, epochs: int) -> bool:
    """Tells whether the log has a run's last epoch, which is written after all else of it."""
    return any(int(line["epoch"]) == epochs - 1 for line in _read_log(folder))


def compile_lesson(lesson: TrainingModel, settings: TrainingSettings) -> None:
    """Gives a lesson its losses and its optimizer."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=settings.steps - settings.warmup_steps,
        warmup_target=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        alpha=0.01,
    )
    lesson.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            weight_decay=settings.weight_decay,
            global_clipnorm=1.0,
            use_ema=True,
            ema_momentum=settings.average_decay,
        ),
        loss=[
            PeriodLoss(lesson.network.config.period_offset, settings.whole_periods, name="period"),
            keras.losses.BinaryCrossentropy(from_logits=True, name="periodicity"),
        ],
        loss_weights=[1.0, settings.periodicity_weight],
        jit_compile=True,
    )


def assign_matching(network: RepNet, path: Path) -> int:
    """Gives a network every variable of a weights file that it has under the same name and in the same shape; returns how many.

    Raises:
      WeightsError: the file cannot be read.
    """
    variables, assigned = network.variables_by_name(), 0
    for name, array in weights_file.read(path)[1].items():
        if name in variables and tuple(variables[name].shape) == array.shape:
            variables[name].assign(array)
            assigned += 1
    return assigned


def describe_initial(settings: TrainingSettings) -> dict[str, Any]:
    """Returns what the record of a run says of the weights that it starts from: their file's name, hash, and own record.

    Raises:
      WeightsError: the file or its sidecar cannot be read, or the file is damaged.
    """
    path = Path(settings.initial_weights)
    metadata, _ = weights_file.read(path)
    return {"file": path.name, "sha256": metadata["sha256"], "training": metadata.get("training", {})}


def train(settings: TrainingSettings, folder: Path, config: RepNetConfig = LITE, workers: int = 1) -> RepNet:
    """Trains a network, or goes on where an interrupted call with the same folder stopped; a finished run is only loaded.

    Args:
      settings: what decides the run.
      folder: gets `settings.json`, `initial.json` if the run starts from weights, `log.csv`, the last two epochs' checkpoints
        while the run lasts, and the weights with their running average as `averaged.weights.h5` after every epoch.
      config: the network.
      workers: processes that draw clips.

    Returns:
      The network with averaged weights.

    Raises:
      ValueError: if `folder` holds a run with other settings, or from other weights of that name.
      WeightsError: the weights to start from cannot be read.
      RuntimeError: the loss is no number any more; the last epoch before that is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "settings.json"
    described = json.dumps({"settings": dataclasses.asdict(settings), "network": dataclasses.asdict(config)}, indent=2)
    if record.exists() and json.loads(record.read_text()) != json.loads(described):
        raise ValueError(f"{folder} holds a run with other settings: choose another folder. Received: {settings}")
    backup = folder / "backup"
    epochs = settings.steps // settings.steps_per_epoch
    begins = not (_finished_epochs(backup) or _is_logged(folder, epochs))
    if settings.initial_weights and begins:
        initial, known = folder / "initial.json", describe_initial(settings)
        if initial.exists() and json.loads(initial.read_text()) != known:
            raise ValueError(f"{folder} holds a run from other weights: choose another folder. Received: {known['file']}")
        initial.write_text(json.dumps(known, indent=2) + "\n")
    record.write_text(described + "\n")

    keras.utils.set_random_seed(settings.seed)
    network = RepNet(config, settings.frame_policy)
    if settings.initial_weights and begins:
        assign_matching(network, Path(settings.initial_weights))
    if settings.frozen_encoder:
        network.encoder.trainable = network.temporal.trainable = False
    lesson = TrainingModel(network)
    averaged = folder / "averaged.weights.h5"
    if _is_logged(folder, epochs):
        lesson.load_weights(averaged)
        return network
    compile_lesson(lesson, settings)
    lesson.fit(
        draw_examples(settings, _finished_epochs(backup) * settings.steps_per_epoch, workers),
        steps_per_epoch=settings.steps_per_epoch,
        epochs=epochs,
        verbose=2,
        callbacks=[
            keras.callbacks.TerminateOnNaN(raise_error=True),  # before an epoch of it is kept anywhere
            # Two checkpoints, since being killed while one is written leaves it in pieces.
            keras.callbacks.BackupAndRestore(str(backup), double_checkpoint=True, delete_checkpoint=False),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(str(averaged), save_weights_only=True),
            keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        ],
    )
    if _is_logged(folder, epochs):
        shutil.rmtree(backup)
    else:  # nothing was left to do: killed between the last checkpoint and what is written after it
        lesson.optimizer.finalize_variable_values(lesson.trainable_variables)
        lesson.save_weights(averaged)
    return network


def export(folder: Path, path: Path) -> str:
    """Writes the averaged weights of a run as those of the preset `lite`, with the run's record in the sidecar.

    Args:
      folder: of a run, finished or not.
      path: file to write, ending with `.weights.h5`.

    Returns:
      The hash of the weights.

    Raises:
      WeightsError: the file cannot be written, or the run trained another network than the preset's.
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
    return save_weights(path, network, PRESETS["lite"], {"made_by": "model.training, on drawn clips"}, training)
