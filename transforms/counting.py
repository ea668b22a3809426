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
        """Groups by video, then aggregates each video."""
        aggregate_fn = _AggregateFn(self.options, self.period_offset, self.clock)
        return (
            scored
            | "Key by video" >> beam.Map(_by_video).with_output_types(tuple[VideoRef, ChunkScores | Failure])
            | "Group by video" >> beam.GroupByKey()
            | "Aggregate" >> beam.ParDo(aggregate_fn).with_output_types(VideoCount | Failure)
        )


class _AggregateFn(beam.DoFn):
    """Aggregates videos and updates the metrics."""

    def __init__(self, options: CountingOptions, period_offset: int, clock: Callable[[], float]) -> None:
        self._options = options
        self._period_offset = period_offset
        self._clock = clock

    def process(self, element: tuple[VideoRef, Iterable[ChunkScores | Failure]]) -> Iterator[VideoCount | Failure]:
        """Yields the count or the failure of one video."""
        video, items = element
        started_sec = self._clock()
        result = aggregate(video, items, self._options, self._period_offset)
        Metrics.distribution(METRICS_NAMESPACE, "count_msec").update(round(1000 * (self._clock() - started_sec)))
        if isinstance(result, Failure):
            Metrics.counter(METRICS_NAMESPACE, "videos_failed").inc()
            Metrics.counter(METRICS_NAMESPACE, f"videos_failed_{result.code.value}").inc()
        else:
            Metrics.counter(METRICS_NAMESPACE, "videos_counted").inc()
        yield result


def _by_video(item: ChunkScores | Failure) -> tuple[VideoRef, ChunkScores | Failure]:
    return item.video, item
