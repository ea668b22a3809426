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
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import keras
import numpy as np

from model.config import LITE, RepNetConfig
from model.network import RepNet
from model.presets import PRESETS, save_weights
from model.training.clips import draw_batch

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
      learning_rate: peak, reached after `warmup_steps`; it then falls to nothing along a cosine.
      warmup_steps: batches over which the learning rate rises.
      weight_decay: of AdamW.
      periodicity_weight: weight of the periodicity loss beside the period loss.
      average_decay: of the running average of the weights, which is what is saved.
      seed: of the initial weights, the dropout and the clips.
      steps_per_epoch: batches between two lines of the log and two checkpoints.
      frame_policy: Keras dtype policy of the frames' part while training.
    """

    steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    periodicity_weight: float = 2.0
    average_decay: float = 0.998
    seed: int = 0
    steps_per_epoch: int = 100
    frame_policy: str = "mixed_bfloat16"

    def __post_init__(self) -> None:
        """Raises ValueError unless the run is a whole number of epochs."""
        if self.steps < 1 or self.steps % self.steps_per_epoch:
            raise ValueError(f"steps must be a positive multiple of {self.steps_per_epoch}. Received: {self.steps}")


Batch = tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]


def draw_batches(settings: TrainingSettings, first_batch: int, workers: int) -> Iterator[Batch]:
    """Yields `(frames, (period_class, periodic))` for ever, in order, drawn some batches ahead by other processes.

    Args:
      settings: decide which seeds a batch has.
      first_batch: number of the first batch to yield.
      workers: processes that draw.
    """
    # Spawned, not forked: the parent runs TensorFlow's threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: deque[Future[Batch]] = deque()
        for batch in itertools.count(first_batch):
            first_seed = settings.seed * _SEED_STRIDE + batch * settings.batch_size
            ahead.append(pool.submit(draw_batch, first_seed, settings.batch_size))
            if len(ahead) > _BATCHES_AHEAD * workers:
                yield ahead.popleft().result()


def _finished_epochs(backup: Path) -> int:
    """Returns how many epochs an interrupted run finished; `BackupAndRestore` resumes there."""
    metadata = backup / "training_metadata.json"
    return int(json.loads(metadata.read_text())["epoch"]) if metadata.exists() else 0


def _read_log(folder: Path) -> list[dict[str, str]]:
    """Returns the lines of a run's log, by column; a run that diverged and was started over has those of both attempts."""
    log = folder / "log.csv"
    if not log.exists():
        return []
    with log.open(newline="") as file:
        return list(csv.DictReader(file))


def compile_network(network: RepNet, settings: TrainingSettings) -> None:
    """Gives `network` its losses and its optimizer."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings.learning_rate / 100,
        decay_steps=settings.steps - settings.warmup_steps,
        warmup_target=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        alpha=0.01,
    )
    network.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            weight_decay=settings.weight_decay,
            global_clipnorm=1.0,
            use_ema=True,
            ema_momentum=settings.average_decay,
        ),
        loss=[
            keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1, name="period"),
            keras.losses.BinaryCrossentropy(from_logits=True, name="periodicity"),
        ],
        loss_weights=[1.0, settings.periodicity_weight],
    )


def train(settings: TrainingSettings, folder: Path, config: RepNetConfig = LITE, workers: int = 1) -> RepNet:
    """Trains a network, or goes on where an interrupted call with the same folder stopped; a finished run is only loaded.

    Args:
      settings: what decides the run.
      folder: gets `settings.json`, `log.csv`, the checkpoint of the last epoch while the run lasts, and the weights with their
        running average as `averaged.weights.h5` after every epoch.
      config: the network.
      workers: processes that draw clips.

    Returns:
      The network with averaged weights.

    Raises:
      ValueError: if `folder` holds a run with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "settings.json"
    described = json.dumps({"settings": dataclasses.asdict(settings), "network": dataclasses.asdict(config)}, indent=2)
    if record.exists() and json.loads(record.read_text()) != json.loads(described):
        raise ValueError(f"{folder} holds a run with other settings: choose another folder. Received: {settings}")
    record.write_text(described + "\n")

    keras.utils.set_random_seed(settings.seed)
    network = RepNet(config, settings.frame_policy)
    epochs, averaged = settings.steps // settings.steps_per_epoch, folder / "averaged.weights.h5"
    if any(int(line["epoch"]) == epochs - 1 for line in _read_log(folder)):
        # Of a finished run, `BackupAndRestore` leaves nothing to resume from: it would start over.
        network.load_weights(averaged)
        return network
    compile_network(network, settings)
    backup = folder / "backup"
    network.fit(
        draw_batches(settings, _finished_epochs(backup) * settings.steps_per_epoch, workers),
        steps_per_epoch=settings.steps_per_epoch,
        epochs=epochs,
        verbose=2,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(backup)),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keras.callbacks.ModelCheckpoint(str(averaged), save_weights_only=True),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        ],
    )
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
    sizes = dict(record["network"], encoder_channels=tuple(record["network"]["encoder_channels"]))
    network = RepNet(RepNetConfig(**sizes))
    network.load_weights(folder / "averaged.weights.h5")
    last = _read_log(folder)[-1]
    training = {
        "settings": record["settings"],
        "steps_done": (int(last["epoch"]) + 1) * record["settings"]["steps_per_epoch"],
        "last_losses": {name: float(last[name]) for name in ("period_loss", "periodicity_loss")},
        "code_version": importlib.metadata.version("repcount"),
    }
    return save_weights(path, network, PRESETS["lite"], {"made_by": "model.training, from drawn clips"}, training)
