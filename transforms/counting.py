"""Counting: collects the scores and failures of each video and turns them into exactly one count or one failure."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

import transforms.coders  # noqa: F401  # registers the deterministic coder of VideoRef, by which videos are grouped
from model.counting_options import CountingOptions
from transforms.aggregation import aggregate
from transforms.evidence import ChunkEvidence, reduce_or_fail
from transforms.records import METRICS_NAMESPACE, ChunkScores, Failure, VideoCount, VideoRef


@dataclasses.dataclass(eq=False)
class CountVideos(beam.PTransform):
    """Counts each video from the scores of its chunks, or says why it could not be counted.

    Takes a PCollection of `ChunkScores` and `Failure`s, in any order. Returns one with a `VideoCount` or a `Failure` for every
    video in the input. Metrics in the namespace "repcount": counters `videos_counted`, `videos_failed` and
    `videos_failed_CODE` for each code; distribution `count_msec`, wall time of aggregating one video.

    Attributes:
      options: How logits become counts. They change the numbers and are part of a row's key.
      period_offset: Frames that period class 0 of the network stands for; see `RepNetConfig`. A wrong value puts every period
        off by one frame.
      clock: Returns the time in seconds.
    """

    options: CountingOptions
    period_offset: int
    clock: Callable[[], float] = time.monotonic

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Reduces each chunk where it was scored, groups by video, then aggregates each video."""
        aggregate_fn = _AggregateFn(self.options, self.clock)
        return (
            scored
            | "Reduce" >> beam.Map(_reduce, self.options, self.period_offset).with_output_types(ChunkEvidence | Failure)
            | "Key by video" >> beam.Map(_by_video).with_output_types(tuple[VideoRef, ChunkEvidence | Failure])
            | "Group by video" >> beam.GroupByKey()
            | "Aggregate" >> beam.ParDo(aggregate_fn).with_output_types(VideoCount | Failure)
        )


class _AggregateFn(beam.DoFn):
    """Aggregates videos and updates the metrics."""

    def __init__(self, options: CountingOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock

    def process(self, element: tuple[VideoRef, Iterable[ChunkEvidence | Failure]]) -> Iterator[VideoCount | Failure]:
        """Yields the count or the failure of one video."""
        video, items = element
        started_sec = self._clock()
        result = aggregate(video, items, self._options)
        Metrics.distribution(METRICS_NAMESPACE, "count_msec").update(round(1000 * (self._clock() - started_sec)))
        if isinstance(result, Failure):
            Metrics.counter(METRICS_NAMESPACE, "videos_failed").inc()
            Metrics.counter(METRICS_NAMESPACE, f"videos_failed_{result.code.value}").inc()
        else:
            Metrics.counter(METRICS_NAMESPACE, "videos_counted").inc()
        yield result


def _reduce(item: ChunkScores | Failure, options: CountingOptions, period_offset: int) -> ChunkEvidence | Failure:
    return item if isinstance(item, Failure) else reduce_or_fail(item, options, period_offset)


def _by_video(item: ChunkEvidence | Failure) -> tuple[VideoRef, ChunkEvidence | Failure]:
    return item.video, item
