"""Counting: collects the scores and failures of each video and turns them into exactly one count or one failure."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from model.config import WINDOW_FRAMES
from model.counting import Counted, CountingOptions, count_repetitions
from model.logits import concatenate
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.records import METRICS_NAMESPACE, ChunkScores, Failure, VideoCount, VideoFlag, VideoRef

_LOGGER = logging.getLogger(__name__)


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


def aggregate(
    video: VideoRef, items: Iterable[ChunkScores | Failure], options: CountingOptions, period_offset: int
) -> VideoCount | Failure:
    """Returns the count of a video, or its failure.

    Args:
      video: Video that the items belong to.
      items: Scores of its chunks and failures of its steps, in any order. A retry can leave several scores with the same index;
        the first one counts.
      options: How logits become counts.
      period_offset: Frames that period class 0 stands for.

    Returns:
      The count, or a failure:
      - The failure of the earliest stage, if there are any; within a stage the first by code and message.
      - INCOMPLETE if the chunks are not numbered 0, 1, 2 … with facts on the last one only.
      - COUNTING_FAILED if counting raises an error.
    """
    chunks: dict[int, ChunkScores] = {}
    failures: list[Failure] = []
    for item in items:
        if isinstance(item, Failure):
            failures.append(item)
        else:
            chunks.setdefault(item.index, item)
    if failures:
        return min(failures, key=_precedence)
    in_order = [chunks[index] for index in sorted(chunks)]
    facts = in_order[-1].facts if in_order else None
    gap = _find_gap(in_order)
    if facts is None or gap:
        return Failure(video, Stage.COUNT, FailureCode.INCOMPLETE, gap)
    try:
        times_sec = np.concatenate([chunk.times_sec for chunk in in_order])
        logits = concatenate([chunk.logits for chunk in in_order])
        counted = count_repetitions(logits, len(times_sec), period_offset, options)
    except Exception as error:  # one bad video must not fail the bundle, and with it the run
        message = describe_error(error)
        _LOGGER.info("Counting %r failed: %s", video.uri, message)
        _LOGGER.debug("Traceback:", exc_info=True)
        return Failure(video, Stage.COUNT, FailureCode.COUNTING_FAILED, message)
    return VideoCount(video, facts, counted, times_sec, find_flags(facts, counted))


def find_flags(facts: VideoFacts, counted: Counted) -> tuple[VideoFlag, ...]:
    """Returns the flags of a count, in the order of `VideoFlag`.

    NOT_PERIODIC: The count is 0, because no frame is periodic or the confidence is below the video threshold.
    TRUNCATED: Frames are missing at the end or at a damaged place. The count covers the frames that decoded.
    TOO_SHORT: The video has fewer sampled frames than a window, so the network saw the last frame repeated at every stride.
    PERIOD_AT_LIMIT: The period is the longest that the chosen stride can measure. The true one may be longer.
    AMBIGUOUS_STRIDE: Another stride scores as well and gives another count.
    VARIABLE_FRAME_RATE: Frames are unevenly spaced, so a period in frames is not a fixed time.
    ROTATED: The frames were rotated upright, as the file asks.
    """
    applies = {
        VideoFlag.NOT_PERIODIC: counted.count == 0,
        VideoFlag.TRUNCATED: facts.truncated,
        VideoFlag.TOO_SHORT: len(counted.periodicity) < WINDOW_FRAMES,
        VideoFlag.PERIOD_AT_LIMIT: counted.at_period_limit,
        VideoFlag.AMBIGUOUS_STRIDE: counted.ambiguous_stride,
        VideoFlag.VARIABLE_FRAME_RATE: facts.variable_frame_rate,
        VideoFlag.ROTATED: facts.rotation_degrees != 0,
    }
    return tuple(flag for flag in VideoFlag if applies[flag])


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


def _precedence(failure: Failure) -> tuple[int, str, str]:
    return list(Stage).index(failure.stage), failure.code.value, failure.message


def _find_gap(chunks: list[ChunkScores]) -> str:
    """Returns what is wrong with a video's chunks, which are sorted by index; "" if they are complete."""
    for expected, chunk in enumerate(chunks):
        if chunk.index != expected:
            return f"the scores of chunk {expected} did not arrive, those of chunk {chunk.index} did"
        if chunk.facts is not None and chunk is not chunks[-1]:
            return f"chunk {chunk.index} is marked as the last one, and there are {len(chunks)}"
    if not chunks:
        return "no scores arrived"
    if chunks[-1].facts is None:
        return f"the scores of the last chunk did not arrive, those of the {len(chunks)} before it did"
    return ""
