"""What a run leaves in its folder while it lasts: one checkpoint, always whole, and a CSV log."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from model.replacing import replacing

_CHECKPOINT = "checkpoint.safetensors"
_LOG = "log.csv"
_METADATA_KEY = "progress"


class OtherVersionError(ValueError):
    """A checkpoint has values that this version of the program does not know."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
      step: Steps done.
      share: Share of the run that is done, of its steps or of its time, 0..1.
      seconds: Seconds of training until then, without what an interruption lost.
      clips_drawn: Clips drawn so far, or whole videos.
      learning_rate: Learning rate of the last step.
      period_loss: Mean period loss since the line of the log before.
      periodicity_loss: Mean periodicity loss since the line of the log before.
      path_loss: Mean path loss since then, of videos; else 0.
    """

    step: int = 0
    share: float = 0.0
    seconds: float = 0.0
    clips_drawn: int = 0
    learning_rate: float = 0.0
    period_loss: float = 0.0
    periodicity_loss: float = 0.0
    path_loss: float = 0.0

    def __str__(self) -> str:
        """Returns one line for people."""
        path, drawn = (f"path {self.path_loss:.1f}, ", "videos") if self.path_loss else ("", "clips")
        return (
            f"step {self.step} ({self.share:.1%}, {self.seconds / 60:.1f} min): period {self.period_loss:.3f}, "
            f"periodicity {self.periodicity_loss:.3f}, {path}{self.clips_drawn} {drawn} drawn, rate {self.learning_rate:.1e}"
        )


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes that train out of a run's folder; raises ValueError if there is one."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network drives have no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(f"another process trains in {folder}: wait for it, or choose another folder") from error
        yield
    finally:
        os.close(descriptor)


def write(folder: Path, progress: Progress, values: Mapping[str, np.ndarray]) -> None:
    """Writes a run's checkpoint; the one before is replaced once the new one is complete.

    Raises:
      OSError: The disk is full or refuses.
      RuntimeError: A value is not finite. The checkpoint before stays.
    """
    arrays = {name: np.array(value, order="C") for name, value in values.items()}
    broken = [name for name, value in arrays.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if broken:
        raise RuntimeError(f"weights are no longer finite; lower learning_rate. Received: {broken[0]} at step {progress.step}")
    with replacing(folder / _CHECKPOINT) as partial:
        partial.write_bytes(save(arrays, {_METADATA_KEY: json.dumps(dataclasses.asdict(progress))}))


def read(folder: Path) -> tuple[Progress, dict[str, np.ndarray]] | None:
    """Returns progress and values of a run's checkpoint, or None if there is none yet.

    Raises:
      OtherVersionError: Another version of the program wrote the checkpoint.
      ValueError: The checkpoint is damaged.
    """
    path = folder / _CHECKPOINT
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = json.loads(file.metadata()[_METADATA_KEY])
            if found.keys() - {field.name for field in dataclasses.fields(Progress)}:
                raise OtherVersionError(
                    "the checkpoint is of another version of the program, which can continue and export it. "
                    f"Received: {str(path)!r}"
                )
            return Progress(**found), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except OtherVersionError:
        raise
    except (safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint is damaged ({error}): delete it to start anew. Received: {str(path)!r}") from error


def append_log(folder: Path, progress: Progress) -> None:
    """Adds a line to a run's log, with the fields of `Progress` as columns."""
    line = dataclasses.asdict(progress)
    is_new = not (folder / _LOG).exists() or not (folder / _LOG).stat().st_size  # as a full disk leaves it
    with (folder / _LOG).open("a", newline="") as file:
        writer = csv.DictWriter(file, list(line))
        if is_new:
            writer.writeheader()
        writer.writerow(line)


def cut_log(folder: Path, step: int) -> None:
    """Removes the lines after a step, which a resumed run writes anew, and those that a full disk has cut short."""
    if not (folder / _LOG).exists():
        return
    with (folder / _LOG).open(newline="") as file:
        lines = file.readlines()
    kept = [
        line
        for number, line in enumerate(lines)
        if line.endswith("\n") and (number == 0 or ((first := line.split(",", 1)[0]).isdecimal() and int(first) <= step))
    ]
    with replacing(folder / _LOG) as partial:
        partial.write_text("".join(kept), newline="")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON object, completely or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; raises ValueError that names the file if it is damaged."""
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"the record of the run is damaged ({error}): choose another folder. Received: {str(path)!r}"
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"the record of the run must be a JSON object: choose another folder. Received: {str(path)!r}")
    return record
