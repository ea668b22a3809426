"""Inference: turns chunks of frames into scores, with Beam's RunInference and our own model handler."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from transforms.packing import pack, unpack
from transforms.records import METRICS_NAMESPACE, ChunkScores, Failure, FrameChunk
from transforms.scoring import ChunkScorer, score_or_fail


class RepNetModelHandler(ModelHandler[FrameChunk | Failure, ChunkScores | Failure, ChunkScorer]):
    """Loads a RepNet and scores chunks for RunInference, each of whose elements is a list of chunks; `ScoreChunks` makes them.

    Results are our own records, because the `example` of a `PredictionResult` would keep the frames in memory downstream. A
    chunk that cannot be scored becomes a `Failure` of its video; other chunks continue. A `Failure` of an earlier step passes
    through unchanged. A branch around the model would need a join behind it, for which a runner may hold back all scores.

    Metrics in the namespace "repcount": counters `frames_scored`; `videos_scored`, videos whose last chunk or failure of an
    earlier step has passed; and `failures_found`, of which a video may have several. They show how far a run is whose videos
    are counted only after all are scored. Distributions `score_msec`, wall time of scoring a chunk, and `batch_frames`, frames
    in a chunk. RunInference adds its own, which count failures as inferences.
    """

    def __init__(self, load_scorer: Callable[[], ChunkScorer], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Stores the arguments; `load_model` loads the model.

        Args:
          load_scorer: Loads the model on a worker, once in each process. It must be picklable, and its result must support weak
            references, as instances of ordinary classes do and tuples, lists and dicts do not.
          clock: Returns the time in seconds.
        """
        super().__init__()
        self.load_scorer = load_scorer
        self._clock = clock

    def load_model(self) -> ChunkScorer:
        """Returns the loaded model."""
        return self.load_scorer()

    def run_inference(
        self, batch: Sequence[FrameChunk | Failure], model: ChunkScorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ChunkScores | Failure]:
        """Returns the scores of each chunk and the failures unchanged, in the order of the batch."""
        return [self._pass(item) if isinstance(item, Failure) else self._score(item, model) for item in batch]

    def should_skip_batching(self) -> bool:
        """Returns True: one chunk fills the device, and RunInference would hold it until the next one comes."""
        return True

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

    def _pass(self, failure: Failure) -> Failure:
        """Counts the failure of an earlier step, which ends its video."""
        Metrics.counter(METRICS_NAMESPACE, "videos_scored").inc()
        Metrics.counter(METRICS_NAMESPACE, "failures_found").inc()
        return failure

    def _score(self, chunk: FrameChunk, model: ChunkScorer) -> ChunkScores | Failure:
        started_sec = self._clock()
        scored = score_or_fail(chunk, model)
        if isinstance(scored, ChunkScores):
            Metrics.distribution(METRICS_NAMESPACE, "score_msec").update(round(1000 * (self._clock() - started_sec)))
            Metrics.counter(METRICS_NAMESPACE, "frames_scored").inc(len(chunk.frames))
            Metrics.distribution(METRICS_NAMESPACE, "batch_frames").update(len(chunk.frames))
        else:
            Metrics.counter(METRICS_NAMESPACE, "failures_found").inc()
        if chunk.facts is not None:
            Metrics.counter(METRICS_NAMESPACE, "videos_scored").inc()
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
            return _score(decoded, self.handler)
        # Without a shuffle, a runner may fuse the steps and run both on one machine, whatever their resource hints.
        packed = decoded | "Pack" >> beam.Map(pack) | "Send" >> beam.Reshuffle()
        return packed | "On accelerators" >> _ScorePacked(self.handler).with_resource_hints(accelerator=self.accelerator)


class _ScorePacked(beam.PTransform):
    """Unpacks and scores: the steps that the accelerator's resource hint covers."""

    def __init__(self, handler: RepNetModelHandler) -> None:
        super().__init__()
        self._handler = handler

    def expand(self, packed: beam.PCollection) -> beam.PCollection:
        return _score(packed | "Unpack" >> beam.Map(unpack), self._handler)


def _score(chunks: beam.PCollection, handler: RepNetModelHandler) -> beam.PCollection:
    """Scores each chunk as soon as it comes, so that its video is done with its last chunk."""
    return (
        chunks
        | "Each alone" >> beam.Map(_in_list).with_output_types(list[FrameChunk | Failure])
        | "Score" >> RunInference(handler).with_output_types(ChunkScores | Failure)
    )


def _in_list(item: FrameChunk | Failure) -> list[FrameChunk | Failure]:
    return [item]
