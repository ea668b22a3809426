"""Whole drawn videos as the heads see them: embedded once, in windows of every stride, with labels.

What embeds frames is fixed in such a run. So drawing and encoding a video again would give the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from model import weights_file
from model.config import WINDOW_FRAMES, RepNetConfig
from model.precision import Precision, best_precision
from model.presets import load_weights
from model.replacing import replacing
from model.tensorflow_import import import_tensorflow
from model.training import processes, views
from model.training.clips import STROKES_WEIGHT
from model.training.videos import KINDS, draw_video

if TYPE_CHECKING:
    from model.scoring import Scorer

_FIRST_SEED = 100_008
_FIRST_HARD_SEED = 102_000
"""Seeds of videos to train on, both multiples of the number of kinds. Those of benchmarks are below."""

_HARD_KINDS = ("several exercises", "sides in turns", "after talking", "objects", "no repetition")
"""Kinds of videos that counts err on most. They are drawn three times as often as others."""

_SLOW_EVERY = 3
"""One video in three is slow."""

_SLOW_REPEATS = (2, 3, 4, 6)
"""Times that frames of slow videos are shown, in turn: as of videos of 15, 10, 7.5 and 5 frames a second."""

_TOO_FAST_WEIGHT = 0.3
"""Weight of labels where a stride is too coarse for the movement, which then looks like another, slower one."""

_LOG_VIDEOS = 50


class Showing(NamedTuple):
    """A drawn video, and how it is shown.

    Attributes:
      seed: Its seed.
      repeats: 1, or r for a slow video: of r frames only the first is there, and is shown r times; see
        `model.logits.slow_repeats`.
    """

    seed: int
    repeats: int


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video as the heads see it.

    Attributes:
      embeddings: Embeddings of its windows by stride, each (windows, 64, embedding_width) float16.
      active: Whether each frame is within repetitions, (num_frames,) bool.
      period_frames: Length in frames of the repetition around each frame, (num_frames,) float32.
      weight: Weight of its labels in the loss.
    """

    embeddings: dict[int, np.ndarray]
    active: np.ndarray
    period_frames: np.ndarray
    weight: float

    def window_labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns period in positions, 1 where periodic, and weight: each (windows of all strides, 64) float32."""
        cycles = np.cumsum(1.0 / self.period_frames)
        period, periodic, weight = [], [], []
        for stride, embeddings in self.embeddings.items():
            for first in range(0, len(embeddings) * WINDOW_FRAMES, WINDOW_FRAMES):
                places = stride * np.arange(first, first + WINDOW_FRAMES, dtype=float)
                view = views.show(cycles, self.period_frames, self.active, places)
                too_fast = view.periodic & (view.period < views.SHORTEST_PERIOD)
                period.append(np.where(view.periodic & ~too_fast, view.period, 0.0))
                periodic.append(view.periodic & ~too_fast)
                weight.append(self.weight * np.where(too_fast, _TOO_FAST_WEIGHT, 1.0))
        return np.array(period, np.float32), np.array(periodic, np.float32), np.array(weight, np.float32)


def showings(number: int) -> list[Showing]:
    """Returns the videos to train on: of 22 in a row, one of each kind and two more of each hard one. Every third is slow.

    Beyond 3,652 videos, some seeds come twice.
    """
    kinds, hard = len(KINDS), [KINDS.index(kind) for kind in _HARD_KINDS]
    out = []
    for i in range(number):
        slow, is_other = divmod(i, _SLOW_EVERY)
        cycle, place = divmod(i, kinds + 2 * len(hard))
        # `cycle` shifts the repeats: 22 and 4 share a factor, so that a kind would have two of the four.
        repeats = 1 if is_other else _SLOW_REPEATS[(slow + cycle) % len(_SLOW_REPEATS)]
        if place < kinds:
            out.append(Showing(_FIRST_SEED + kinds * cycle + place, repeats))
        else:
            again, which = divmod(place - kinds, len(hard))
            out.append(Showing(_FIRST_HARD_SEED + kinds * (2 * cycle + again) + hard[which], repeats))
    return out


def encode_videos(number: int, weights: Path, config: RepNetConfig, strides: Sequence[int], folder: Path, workers: int) -> None:
    """Draws and encodes the videos to train on in other processes, and writes each to a file; those there already are kept.

    Args:
      number: Number of videos.
      weights: Weights of the network that embeds frames.
      config: Configuration that this network must have.
      strides: Strides of the windows.
      folder: Folder of the files.
      workers: Number of processes.

    Raises:
      ValueError: The weights are of another network.
      WeightsError: The weights cannot be read.
      BrokenProcessPool: A process died.
      OSError: The disk is full or refuses.
    """
    folder.mkdir(exist_ok=True)
    missing = [showing for showing in showings(number) if not _path(folder, showing).exists()]
    if not missing:
        return
    found = weights_file.read_metadata(weights)["config"]
    if RepNetConfig.from_json(found) != config:
        raise ValueError(f"videos need initial_weights of the network that is trained. Received: {weights.name!r}, of another")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start) as pool:
        try:
            written = [pool.submit(_write, folder, showing, weights, tuple(strides)) for showing in missing]
            for done, future in enumerate(concurrent.futures.as_completed(written), number - len(missing) + 1):
                future.result()
                if done % _LOG_VIDEOS == 0 or done == number:
                    print(f"{done} of {number} videos drawn and encoded", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_video(folder: Path, showing: Showing) -> EncodedVideo:
    """Returns a video that `encode_videos` wrote.

    Raises:
      OSError: It is not there.
      ValueError: It is damaged.
    """
    path = _path(folder, showing)
    try:
        with np.load(path) as file:
            embeddings = {int(name.removeprefix("e")): file[name] for name in file.files if name.startswith("e")}
            weight = STROKES_WEIGHT if str(file["kind"]) == "strokes" else 1.0
            return EncodedVideo(embeddings, file["active"], file["period"], weight)
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"an encoded video is damaged: delete it, and it is drawn again. Received: {str(path)!r}") from error


def _path(folder: Path, showing: Showing) -> Path:
    return folder / f"{showing.seed}.{showing.repeats}.npz"


def _start() -> None:
    """Prepares an encoding process: it has one thread, since there are as many processes as cores."""
    processes.follow_parent()
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)


@functools.cache
def _scorer(weights: Path, strides: tuple[int, ...]) -> Scorer:
    """Returns the network of an encoding process, in the fastest number format of the processor."""
    from model.scoring import Scorer

    return Scorer(load_weights(weights).network, strides, Precision(best_precision()))


def _write(folder: Path, showing: Showing, weights: Path, strides: tuple[int, ...]) -> None:
    """Draws and encodes a video, and writes it; the file is there once it is complete."""
    video = draw_video(showing.seed)
    embeddings = _scorer(weights, strides).embed_windows(video.frames[:: showing.repeats], showing.repeats)
    arrays: dict[str, Any] = {f"e{stride}": of_stride.astype(np.float16) for stride, of_stride in embeddings.items()}
    with replacing(_path(folder, showing)) as partial:
        np.savez(partial, kind=video.kind, active=video.timing.active, period=np.float32(video.timing.period_frames), **arrays)
