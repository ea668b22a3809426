"""Settling videos: all that is known of one meets here, and it ends as exactly one count or one failure."""

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
from transforms.failure_codes import FailureCode, Stage
from transforms.records import METRICS_NAMESPACE, ChunkScores, Failure, VideoCount, VideoFlag, VideoRef, describe_error

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class CountVideos(beam.PTransform):
    """Counts each video from the scores of its chunks, or says why it could not be counted.

    Takes a PCollection of `ChunkScores` and `Failure`s, in any order, and returns one with a `VideoCount` or a `Failure` for
    every video in the input. Metrics in the namespace "repcount": counters `videos_counted`, `videos_failed`, and
    `videos_failed_CODE` for each code met; distribution `count_msec`, wall time of settling a video.

    Attributes:
      options: how logits become counts. They decide the numbers and belong to the identity of a row.
      period_offset: frames that period class 0 of the network stands for, see `RepNetConfig`; a wrong one is off by one frame
        in every period.
      clock: tells seconds.
    """

    options: CountingOptions
    period_offset: int
    clock: Callable[[], float] = time.monotonic

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Groups by video and settles each."""
        aggregate_fn = _AggregateFn(self.options, self.period_offset, self.clock)
        return (
            scored
            | "Key by video" >> beam.Map(_by_video).with_output_types(tuple[VideoRef, ChunkScores | Failure])
            | "Group by video" >> beam.GroupByKey()
            | "Settle" >> beam.ParDo(aggregate_fn).with_output_types(VideoCount | Failure)
        )


def aggregate(
    video: VideoRef, items: Iterable[ChunkScores | Failure], options: CountingOptions, period_offset: int
) -> VideoCount | Failure:
    """Decides what becomes of a video.

    Args:
      video: which.
      items: the scores of its chunks and the failures met on the way, in any order. Of several scores with the same index, as a
        retry leaves them, the first counts.
      options: how logits become counts.
      period_offset: frames that period class 0 stands for.

    Returns:
      If there is any failure, the one of the earliest stage, and of that the first by code and message. INCOMPLETE if the
      chunks are not numbered 0, 1, 2 … with facts on the last and only there. COUNTING_FAILED if counting raises. Else the
      count.
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
    except Exception as error:  # one video that cannot be counted must not fail the bundle, and with it the run
        message = describe_error(error)
        _LOGGER.info("Counting %r failed: %s", video.uri, message)
        _LOGGER.debug("It failed here:", exc_info=True)
        return Failure(video, Stage.COUNT, FailureCode.COUNTING_FAILED, message)
    return VideoCount(video, facts, counted, times_sec, find_flags(facts, counted))


def find_flags(facts: VideoFacts, counted: Counted) -> tuple[VideoFlag, ...]:
    """Returns what a reader of a count should know about it, in the order of `VideoFlag`.

    NOT_PERIODIC: nothing was counted, since no frame is periodic or the confidence is below the video threshold.
    TRUNCATED: frames are missing, at the end or where the file is damaged; the count is that of the frames that decoded.
    TOO_SHORT: fewer sampled frames than a window holds, so that the network saw the last one repeated at every stride.
    PERIOD_AT_LIMIT: the period is the longest that the chosen stride can tell; the true one may be longer.
    AMBIGUOUS_STRIDE: another stride scores as well and counts differently.
    VARIABLE_FRAME_RATE: frames are unevenly spaced, so that a period in frames is no steady time.
    ROTATED: the frames were turned upright as the file asks.
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
    """Settles videos and keeps the books on them."""

    def __init__(self, options: CountingOptions, period_offset: int, clock: Callable[[], float]) -> None:
        self._options = options
        self._period_offset = period_offset
        self._clock = clock

    def process(self, element: tuple[VideoRef, Iterable[ChunkScores | Failure]]) -> Iterator[VideoCount | Failure]:
        """Yields the count or the failure."""
        video, items = element
        started_sec = self._clock()
        settled = aggregate(video, items, self._options, self._period_offset)
        Metrics.distribution(METRICS_NAMESPACE, "count_msec").update(round(1000 * (self._clock() - started_sec)))
        if isinstance(settled, Failure):
            Metrics.counter(METRICS_NAMESPACE, "videos_failed").inc()
            Metrics.counter(METRICS_NAMESPACE, f"videos_failed_{settled.code.value}").inc()
        else:
            Metrics.counter(METRICS_NAMESPACE, "videos_counted").inc()
        yield settled


def _by_video(item: ChunkScores | Failure) -> tuple[VideoRef, ChunkScores | Failure]:
    return item.video, item


def _precedence(failure: Failure) -> tuple[int, str, str]:
    return list(Stage).index(failure.stage), failure.code.value, failure.message


def _find_gap(chunks: list[ChunkScores]) -> str:
    """Says what is missing from a video's chunks, in the order of their indices; "" if they are complete."""
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
