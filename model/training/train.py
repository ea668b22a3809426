"""Trains the network of configuration `LITE` on drawn clips or videos, from random numbers to weights.

Every group of clips has its own seeds, and every step its own groups. So a run by steps is determined by its settings, and a
resumed run continues as if it had not been interrupted. It draws again what was waiting to be shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from model import weights_file
from model.calibration import measure_ranges
from model.config import LITE, RepNetConfig
from model.cores import num_cores
from model.network import RepNet, Tensor
from model.presets import PRESETS, save_weights
from model.training import backends, checkpoints, photographs
from model.training.checkpoints import OtherVersionError, Progress
from model.training.encoded_videos import encode_videos, read_video, showings
from model.training.learner import Learner, frame_policy
from model.training.processes import draw_groups
from model.training.replay import Group, Plan, assemble, keep
from model.training.settings import TrainingSettings
from model.training.videos import calibration_frames
from model.training.votes import VideoLearner, join_videos, order_videos

CHECKPOINT_SEC = 120.0
"""Seconds between checkpoints, and so the most that an interruption loses."""

_VIDEOS = "videos"
"""Folder of the encoded videos, in that of the run."""

Steps = Generator[tuple[int, Callable[[float, float], Tensor]]]
"""Yields, for each step, the clips or videos drawn until then, and what trains on its example: it takes learning rate and decay
of the running average, and returns losses on the device."""

_LOG_STEPS = 50
_STEPS_AHEAD = 4
"""Steps that a GPU may be behind this process. More would keep groups of clips in its memory that no longer wait."""


class Clock:
    """Tells how far a run is, by its steps or by its time, over all interruptions."""

    def __init__(self, settings: TrainingSettings, done: Progress, now: Callable[[], float] = time.monotonic) -> None:
        """Continues a run.

        Args:
          settings: Settings of the run.
          done: How far it was before.
          now: Returns the time in seconds.
        """
        self._settings = settings
        self._done = done
        self._now = now
        self._start = now()
        self._first_step: float | None = None

    def begin(self) -> None:
        """Marks the end of the first step, which compiles and so takes long: the schedule by time goes on from here."""
        self._first_step = self._now()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._done.seconds + self._now() - self._start

    def share(self, step: int) -> float:
        """Returns the share of the run, 0..1, that is done once `step` steps are."""
        if not self._settings.minutes:
            return min(step / self._settings.steps, 1.0)
        if self._first_step is None:
            return self._done.share
        spent = self._done.seconds + self._first_step - self._start
        left = max(60 * self._settings.minutes - spent, 1e-9)
        return min(self._done.share + (1.0 - self._done.share) * (self._now() - self._first_step) / left, 1.0)


class _Losses:
    """The losses of the steps since the last line of the log; those of the last few may still be computed."""

    def __init__(self) -> None:
        self._computed: deque[tuple[int, Tensor]] = deque()
        self._known: list[np.ndarray] = []

    def add(self, step: int, losses: Tensor) -> None:
        """Adds the losses of a step, (2,) or (3,); waits for the one a few steps before."""
        self._computed.append((step, losses))
        self.wait(_STEPS_AHEAD)

    def wait(self, ahead: int = 0) -> None:
        """Waits until at most `ahead` steps are still computed; raises RuntimeError if a loss is not finite."""
        while len(self._computed) > ahead:
            step, losses = self._computed.popleft()
            known = ops.convert_to_numpy(losses)
            if not np.isfinite(known).all():
                raise RuntimeError(f"the loss must be finite: lower learning_rate. Received: {known.tolist()} at step {step}")
            self._known.append(known)

    def mean(self) -> list[float]:
        """Waits for all steps; returns the mean losses of period and periodicity, and of the path if any; starts anew."""
        self.wait()
        means: list[float] = np.mean(self._known, axis=0).tolist()
        self._known.clear()
        return means


def describe_initial(settings: TrainingSettings) -> dict[str, Any]:
    """Returns the record of the weights that a run starts from: file name, hash, and the record of their own training.

    Raises:
      WeightsError: The file cannot be read, or is damaged.
    """
    path = Path(settings.initial_weights)
    metadata, _ = weights_file.read(path)
    return {"file": path.name, "sha256": metadata["sha256"], "training": metadata.get("training", {})}


def train(
    settings: TrainingSettings,
    folder: Path,
    config: RepNetConfig = LITE,
    workers: int | None = None,
    checkpoint_sec: float = CHECKPOINT_SEC,
) -> RepNet:
    """Trains a network and returns it with averaged weights.

    An interrupted run in the same folder is resumed. A finished one is only loaded.

    Args:
      settings: Settings of the run.
      folder: Folder of the run. It gets `settings.json`, `initial.json` if the run starts from weights, `machine.json`,
        `log.csv`, and `checkpoint.safetensors`, which `export` reads.
      config: Configuration of the network.
      workers: Number of drawing processes. Default: as many as there are cores.
      checkpoint_sec: Seconds between checkpoints.

    Raises:
      ValueError: The folder has a run with other settings, or from other weights of the same name, or another process trains
        there; or photographs are wanted and scikit-image is missing.
      WeightsError: The weights to start from cannot be read.
      RuntimeError: The loss is not finite. The last checkpoint before that is kept.
    """
    pictures = photographs.load() if settings.photographs and not settings.videos else ()
    folder.mkdir(parents=True, exist_ok=True)
    with checkpoints.held(folder):
        _check_record(settings, folder, config)
        learner = make_learner(settings, config)
        found = checkpoints.read(folder)
        if settings.initial_weights and (not found or (settings.videos and found[0].share < 1)):  # they may encode more videos
            _record_initial(settings, folder)
        checkpoints.write_record(folder / "settings.json", _describe(settings, config))

        done = Progress()
        if found:
            done, values = found
            learner.restore(values)
        elif settings.initial_weights:
            taken = learner.start_from(weights_file.read(Path(settings.initial_weights))[1])
            print(
                f"{taken} of {len(learner.network.variables_by_name())} variables are those of the initial weights", flush=True
            )
        if done.share < 1:
            _record_machine(settings, folder, workers := workers or num_cores())
            if isinstance(learner, VideoLearner):
                steps = _video_steps(learner, settings, folder, done.step, workers)
            else:
                steps = _clip_steps(learner, settings, pictures, done.step, workers)
            with contextlib.closing(steps):
                _continue(learner, settings, folder, done, steps, checkpoint_sec)
        return learner.take_averages()


def make_learner(settings: TrainingSettings, config: RepNetConfig) -> Learner:
    """Returns the learner of a run; raises ValueError if Keras' backend cannot train on what the settings say."""
    if not settings.videos:
        return Learner(settings, config)
    preset = PRESETS["lite"]
    return VideoLearner(settings, config, preset.strides, preset.counting)


def _clip_steps(
    learner: Learner, settings: TrainingSettings, pictures: Sequence[np.ndarray], first_step: int, workers: int
) -> Steps:
    """Yields the steps of a run on clips from a step on."""
    plan = Plan(settings)
    for _ in range(first_step):
        plan.next_step()
    numbers = itertools.chain(list(plan.waiting), itertools.count(plan.drawn))
    with contextlib.closing(draw_groups(numbers, settings, pictures, workers)) as drawn:

        def take(number: int) -> Group:
            batch = next(drawn)
            return keep(backends.to_device(batch.frames), batch, number, settings)

        buffer = {number: take(number) for number in plan.waiting}
        while True:
            fresh, showings = plan.next_step()
            buffer |= {number: take(number) for number in fresh}
            example = assemble(
                [buffer[showing.group] for showing in showings], [showing.times_before for showing in showings], settings
            )
            buffer = {number: buffer[number] for number in plan.waiting}
            yield plan.drawn * settings.group_clips, functools.partial(learner.step, example)


def _video_steps(learner: VideoLearner, settings: TrainingSettings, folder: Path, first_step: int, workers: int) -> Steps:
    """Draws and encodes the videos that are not there yet; yields the steps of a run on them from a step on."""
    encoded = folder / _VIDEOS
    weights, config = Path(settings.initial_weights), learner.network.config
    encode_videos(settings.videos, weights, config, learner.strides, encoded, workers)
    videos = [read_video(encoded, showing) for showing in showings(settings.videos)]
    for shown in order_videos(settings, first_step):
        example = join_videos([videos[number] for number in shown])
        yield settings.videos, functools.partial(learner.step_on_videos, example)


def _continue(
    learner: Learner, settings: TrainingSettings, folder: Path, done: Progress, steps: Steps, checkpoint_sec: float
) -> None:
    """Trains from where a run was to its end."""
    checkpoints.cut_log(folder, done.step)
    clock, losses = Clock(settings, done), _Losses()
    step, share, saved_sec = done.step, done.share, done.seconds
    while share < 1:
        clips, train_on = next(steps)
        rate = settings.rate_at(clock.share(step + 1))
        losses.add(step, train_on(rate, settings.decay_at(step)))
        step += 1
        if step == done.step + 1:
            losses.wait()
            clock.begin()
        share = clock.share(step)
        is_due = share >= 1 or clock.seconds - saved_sec >= checkpoint_sec
        if is_due or step % _LOG_STEPS == 0:
            progress = Progress(step, share, round(clock.seconds, 1), clips, rate, *losses.mean())
            checkpoints.append_log(folder, progress)
            print(progress, flush=True)
            if is_due:
                checkpoints.write(folder, progress, learner.values())
                saved_sec = clock.seconds


def _check_record(settings: TrainingSettings, folder: Path, config: RepNetConfig) -> None:
    """Raises ValueError if the folder has a run with other settings."""
    record = folder / "settings.json"
    if record.exists() and checkpoints.read_record(record) != _describe(settings, config):
        raise ValueError(f"{folder} has a run with other settings: choose another folder. Received: {settings}")


def _describe(settings: TrainingSettings, config: RepNetConfig) -> dict[str, Any]:
    """Returns the settings as they are read from JSON."""
    described: dict[str, Any] = json.loads(
        json.dumps({"settings": dataclasses.asdict(settings), "network": dataclasses.asdict(config)})
    )
    return described


def _record_initial(settings: TrainingSettings, folder: Path) -> None:
    """Writes which weights a run starts from; raises ValueError if it already began from others of the same name."""
    initial, known = folder / "initial.json", describe_initial(settings)
    if initial.exists() and checkpoints.read_record(initial) != known:
        raise ValueError(f"{folder} has a run from other weights: choose another folder. Received: {known['file']}")
    checkpoints.write_record(initial, known)


def _record_machine(settings: TrainingSettings, folder: Path, workers: int) -> None:
    """Writes what trains; after a resumption, what trained last."""
    machine = {
        "device": backends.device_name(),
        "backend": keras.backend.backend(),
        "frame_policy": frame_policy(settings),
        "drawing_processes": workers,
    }
    checkpoints.write_record(folder / "machine.json", machine)


def export(folder: Path, path: Path, preset: str = "lite", initial_share: float = 0.0, certainty: Sequence[float] = ()) -> str:
    """Writes the averaged weights of a run as weights of a preset, with the run's record in their metadata.

    Args:
      folder: Folder of a run, finished or not.
      path: File to write; must end with `.safetensors`.
      preset: Name of the preset, whose strides and counting options go into the metadata.
      initial_share: Share in 0..1 that the weights the run started from have in each weight; the run's own have the rest. So a
        network keeps more of what the run did not show it (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
      certainty: Coefficients that `benchmarks.certainty` fitted to these weights. Default: none, so that counts have no
        certainty; the preset's are of other weights.

    Returns:
      The hash of the model.

    Raises:
      ValueError: The run has no checkpoint yet, or a damaged one; or the share is not in 0..1, or the run did not start from
        the weights that are now in the file of its settings; or the coefficients are not as many as there should be.
      OtherVersionError: Another version of the program made the run.
      WeightsError: The file cannot be written, or the run trained another network than the preset's; or the weights that it
        started from cannot be read.
    """
    if not 0 <= initial_share <= 1:
        raise ValueError(f"initial_share must be 0 to 1. Received: {initial_share}")
    record = checkpoints.read_record(folder / "settings.json")
    found = checkpoints.read(folder)
    if not found:
        raise ValueError(f"the run must have a checkpoint; the first comes after two minutes. Received: {str(folder)!r}")
    if not record.keys() >= {"settings", "network"}:
        raise ValueError(f"settings.json must have the settings and the network of the run. Received: {str(folder)!r}")
    progress, values = found
    try:
        settings, config = TrainingSettings(**record["settings"]), RepNetConfig.from_json(record["network"])
    except TypeError as error:  # a field that there was, or will be
        raise OtherVersionError(f"the run is of another version of the program. Received: {str(folder)!r}") from error
    learner = make_learner(dataclasses.replace(settings, frame_policy="float32"), config)
    learner.restore(values)
    network, initial = learner.take_averages(), folder / "initial.json"
    if initial_share:
        _mix_in_initial(network, settings, folder, initial_share)
    training = {
        "settings": {name: value for name, value in record["settings"].items() if name != "initial_weights"},
        "initial": checkpoints.read_record(initial) if initial.exists() else None,
        "initial_share": initial_share,
        "machine": checkpoints.read_record(folder / "machine.json"),
        "steps_done": progress.step,
        "clips_drawn": progress.clips_drawn,
        "minutes": round(progress.seconds / 60, 1),
        "last_losses": {name: loss for name, loss in dataclasses.asdict(progress).items() if name.endswith("_loss")},
        "code_version": _code_version(),
    }
    made_by = {"made_by": f"model.training, on drawn {'videos' if settings.videos else 'clips'}"}
    shipped = PRESETS[preset]
    own = dataclasses.replace(shipped, counting=dataclasses.replace(shipped.counting, certainty=tuple(certainty)))
    return save_weights(path, network, own, made_by, training, measure_ranges(network, calibration_frames()))


def _mix_in_initial(network: RepNet, settings: TrainingSettings, folder: Path, share: float) -> None:
    """Gives the weights that a run started from a share in those of a network."""
    initial = folder / "initial.json"
    if not initial.exists():
        raise ValueError(f"initial_share is for runs that started from weights. Received: {str(folder)!r}, which did not")
    if checkpoints.read_record(initial) != describe_initial(settings):
        raise ValueError(f"the run started from other weights of this name. Received: {settings.initial_weights!r}")
    arrays = weights_file.read(Path(settings.initial_weights))[1]
    variables = network.variables_by_name()
    for name, variable in variables.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            raise ValueError(f"initial_share needs initial weights of the same network. Received: others for {name}")
    for name, variable in variables.items():
        variable.assign((1 - share) * variable + share * arrays[name])


def _code_version() -> str:
    """Returns the version of the program, or "unknown" where only its files are."""
    try:
        return importlib.metadata.version("repcount")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
