"""Scoring: loads a model and turns a chunk of frames into scores. Does not import Beam."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.errors import WeightsError
from model.logits import StrideLogits
from model.precision import Precision
from model.tensorflow_import import import_tensorflow
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.records import ChunkScores, Failure, FrameChunk

if TYPE_CHECKING:
    from model.presets import LoadedModel
    from model.scoring import Scorer

_LOGGER = logging.getLogger(__name__)


class ChunkScorer(Protocol):
    """Scores chunks: `model.scoring.Scorer`, or any object with the same method."""

    def score(self, frames: np.ndarray, *, is_last: bool = True, repeats: int = 1) -> Mapping[int, StrideLogits]:
        """Returns the logits of (num_frames, 112, 112, 3) uint8 RGB frames, each shown `repeats` times, by stride."""
        ...


class FrameComparer(ChunkScorer, Protocol):
    """Also tells how similar frames look, as `model.scoring.Scorer` does."""

    def similarity(self, frames: np.ndarray) -> np.ndarray:
        """Returns how similar each two of (n, 112, 112, 3) uint8 RGB frames look to the network, (n, n) float32 in 0..1."""
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
      batch_frames: Batch size in frames. Default: 128.
      overlap_from: Stride from which on windows overlap; see `model.logits`. Default: none do.
      require_gpu: Fail if there is no GPU. Default: use one if there is one.
    """

    name: str
    sha256: str
    strides: tuple[int, ...]
    precision: str
    period_offset: int
    batch_frames: int = 128
    overlap_from: int = 0
    require_gpu: bool = False

    def load_scorer(self) -> ChunkScorer:
        """Loads the model, ready to score.

        Raises:
          UserError: Keras has another backend than TensorFlow.
          WeightsError: the model is unknown, or its weights are missing, damaged or have another hash.
          StorageError: they are on Cloud Storage, which cannot be read.
          ValueError: the precision or a stride is not supported.
          NoGpuError: a GPU is required and TensorFlow finds none.
        """
        import_tensorflow()  # imported here, so that a launcher builds pipelines without waiting for it
        from model.compiled_scoring import CompiledScorer
        from model.devices import prepare_gpus
        from model.presets import load_model

        has_gpu = prepare_gpus(require=self.require_gpu)
        loaded = load_model(self.name)
        if loaded.sha256 != self.sha256:
            raise WeightsError(
                f"the weights of {self.name!r} changed since the run began; their hash was {self.sha256}. "
                f"Received: {loaded.sha256}"
            )
        precision = Precision(self.precision)
        if not has_gpu or precision == Precision.INT8:
            return self.make_scorer(loaded)
        scorer = CompiledScorer(loaded.network, self.strides, precision, self.batch_frames, self.overlap_from)
        scorer.warm_up()
        return scorer

    def make_scorer(self, loaded: LoadedModel) -> Scorer:
        """Returns a scorer of a loaded model that is not compiled for chunks of one size: for processors, and single videos.

        Raises:
          ValueError: the precision or a stride is not supported.
        """
        from model.scoring import Scorer

        return Scorer(
            loaded.network,
            self.strides,
            Precision(self.precision),
            self.batch_frames,
            self.overlap_from,
            loaded.activation_ranges,
        )


def score_or_fail(chunk: FrameChunk, scorer: ChunkScorer) -> ChunkScores | Failure:
    """Returns the scores of a chunk, or a failure if scoring raises an error.

    Raises:
      MachineFaultError: The machine has failed, for instance its GPU, not the chunk; see `transforms.machine_faults`.
    """
    try:
        logits = scorer.score(chunk.frames, is_last=chunk.facts is not None, repeats=chunk.repeats)
    except Exception as error:  # one bad chunk must not fail the others
        if is_machine_fault(error):
            raise machine_fault(f"scoring {chunk.video.uri!r}", error) from error
        message = describe_error(error)
        _LOGGER.info("Scoring chunk %d of %r failed: %s", chunk.index, chunk.video.uri, message)
        _LOGGER.debug("Traceback:", exc_info=True)
        return Failure(chunk.video, Stage.SCORE, FailureCode.SCORING_FAILED, message)
    return ChunkScores(chunk.video, chunk.index, dict(logits), chunk.times_sec, chunk.facts, chunk.repeats)
