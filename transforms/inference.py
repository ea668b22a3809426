"""Inference: turns chunks of frames into scores, with Beam's RunInference and our own model handler."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from model.logits import StrideLogits
from model.storage import WeightsError
from model.tensorflow_import import import_tensorflow
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.packing import PackChunks, UnpackChunks
from transforms.records import METRICS_NAMESPACE, ChunkScores, Failure, FrameChunk

_BATCH_CHUNKS = 1
"""Chunks in a batch of RunInference. One chunk has hundreds of frames and fills the device."""

_LOGGER = logging.getLogger(__name__)


class ChunkScorer(Protocol):
    """Scores chunks: `model.scoring.Scorer`, or any object with the same method."""

    def score(self, frames: np.ndarray, *, is_last: bool = True) -> Mapping[int, StrideLogits]:
        """Returns the logits of (num_frames, 112, 112, 3) uint8 RGB frames, by stride."""
        ...


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model, its strides and how it runs. `load_scorer` loads it on the machine that calls it, so workers get this record.

    Attributes:
      name: Name of a preset, or path of a checkpoint; see `model.presets.load_model`.
      sha256: Hash that the model's configuration and weights must have. Rows name it, so other weights are refused.
      strides: Strides to score, in frames.
      precision: Number format of the frame encoder, a value of `Precision`.
      period_offset: Frames that period class 0 of the network stands for; see `RepNetConfig`.
      batch_frames: Batch size in frames. Default: 64.
      require_gpu: Fail if there is no GPU. Default: use one if there is one.
    """

    name: str
    sha256: str
    strides: tuple[int, ...]
    precision: str
    period_offset: int
    batch_frames: int = 64
    require_gpu: bool = False

    def load_scorer(self) -> ChunkScorer:
        """Loads the model, ready to score.

        Raises:
          WeightsError: the model is unknown, or its weights are missing, damaged or have another hash.
          ValueError: the precision or a stride is not supported.
          NoGpuError: a GPU is required and TensorFlow finds none.
        """
        import_tensorflow()  # imported here, so that a launcher builds pipelines without waiting for it
        from model.devices import prepare_gpus
        from model.presets import load_model
        from model.scoring import Precision, Scorer

        has_gpu = prepare_gpus(require=self.require_gpu)
        loaded = load_model(self.name)
        if loaded.sha256 != self.sha256:
            raise WeightsError(
                f"the weights of {self.name!r} changed since the run began; their hash was {self.sha256}. "
                f"Received: {loaded.sha256}"
            )
        scorer = Scorer(loaded.network, self.strides, Precision(self.precision), self.batch_frames)
        if has_gpu:
            scorer.warm_up()
        return scorer


def score_or_fail(chunk: FrameChunk, scorer: ChunkScorer) -> ChunkScores | Failure:
    """Returns the scores of a chunk, or a failure if scoring raises an error. Raises nothing."""
    try:
        logits = scorer.score(chunk.frames, is_last=chunk.facts is not None)
    except Exception as error:  # one bad chunk must not fail the others
        message = describe_error(error)
        _LOGGER.info("Scoring chunk %d of %r failed: %s", chunk.index, chunk.video.uri, message)
        _LOGGER.debug("Traceback:", exc_info=True)
        return Failure(chunk.video, Stage.SCORE, FailureCode.SCORING_FAILED, message)
    return ChunkScores(chunk.video, chunk.index, dict(logits), chunk.times_sec, chunk.facts)


class RepNetModelHandler(ModelHandler[FrameChunk | Failure, ChunkScores | Failure, ChunkScorer]):
    """Loads a RepNet and scores chunks for RunInference.

    Results are our own records, because the `example` of a `PredictionResult` would keep the frames in memory downstream. A
    chunk that cannot be scored becomes a `Failure` of its video; other chunks continue. A `Failure` of an earlier step passes
    through unchanged. A branch around the model would need a join behind it, for which a runner may hold back all scores.

    Metrics in the namespace "repcount": counter `frames_scored`; distributions `score_msec`, wall time of scoring a chunk, and
    `batch_frames`, frames in a chunk. RunInference adds its own, which count failures as inferences.
    """

    def __init__(self, load_scorer: Callable[[], ChunkScorer], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Stores the arguments; `load_model` loads the model.

        Args:
          load_scorer: Loads the model on a worker, once in each process. It must be picklable, and its result must support weak
            references, as instances of ordinary classes do and tuples, lists and dicts do not.
          clock: Returns the time in seconds.
        """
        super().__init__(min_batch_size=_BATCH_CHUNKS, max_batch_size=_BATCH_CHUNKS)
        self._load_scorer = load_scorer
        self._clock = clock

    def load_model(self) -> ChunkScorer:
        """Returns the loaded model."""
        return self._load_scorer()

    def run_inference(
        self, batch: Sequence[FrameChunk | Failure], model: ChunkScorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ChunkScores | Failure]:
        """Returns the scores of each chunk and the failures unchanged, in the order of the batch."""
        return [item if isinstance(item, Failure) else self._score(item, model) for item in batch]

    def get_num_bytes(self, batch: Sequence[FrameChunk | Failure]) -> int:
        """Returns the size of a batch's frames in bytes. The inherited method would pickle them to measure it."""
        return sum(item.frames.nbytes for item in batch if isinstance(item, FrameChunk))

    def get_metrics_namespace(self) -> str:
        """Returns the namespace for RunInference's own metrics."""
        return METRICS_NAMESPACE

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Raises ValueError if there are arguments, because scoring takes none."""
        if inference_args:
            raise ValueError(f"scoring takes no inference_args. Received: {inference_args}")

    def _score(self, chunk: FrameChunk, model: ChunkScorer) -> ChunkScores | Failure:
        started_sec = self._clock()
        scored = score_or_fail(chunk, model)
        if isinstance(scored, ChunkScores):
            Metrics.distribution(METRICS_NAMESPACE, "score_msec").update(round(1000 * (self._clock() - started_sec)))
            Metrics.counter(METRICS_NAMESPACE, "frames_scored").inc(len(chunk.frames))
            Metrics.distribution(METRICS_NAMESPACE, "batch_frames").update(len(chunk.frames))
        return scored


@dataclasses.dataclass(eq=False)
class ScoreChunks(beam.PTransform):
    """Turns the `FrameChunk`s of a PCollection into `ChunkScores`; `Failure`s pass unchanged.

    Without an accelerator there is no shuffle and no join: frames stay on the worker that decoded them, and a chunk is scored
    before the next one is decoded. With an accelerator, chunks are packed and sent to workers that have it.

    Attributes:
      handler: Handler that loads the model and scores.
      accelerator: Beam's resource hint for workers that score, such as "type:nvidia-l4;count:1"; "" for any worker.
    """

    handler: RepNetModelHandler
    accelerator: str = ""

    def expand(self, decoded: beam.PCollection) -> beam.PCollection:
        """Scores in one step, which runners fuse with decoding unless there is an accelerator."""
        if not self.accelerator:
            return decoded | "Score" >> RunInference(self.handler)
        # Without a shuffle, a runner may fuse the steps and run both on one machine, whatever their resource hints.
        packed = decoded | "Pack" >> PackChunks() | "Send" >> beam.Reshuffle()
        return packed | "On accelerators" >> _ScorePacked(self.handler).with_resource_hints(accelerator=self.accelerator)


class _ScorePacked(beam.PTransform):
    """Unpacks and scores: the steps that the accelerator's resource hint covers."""

    def __init__(self, handler: RepNetModelHandler) -> None:
        super().__init__()
        self._handler = handler

    def expand(self, packed: beam.PCollection) -> beam.PCollection:
        return packed | "Unpack" >> UnpackChunks() | "Score" >> RunInference(self._handler)
