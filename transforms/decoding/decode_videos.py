"""Decodes listed videos into chunks of frames, and records a failure for each video that cannot be decoded.

Decoder processes read the files (`transforms.decoding.process`), so no video can harm the pipeline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.decoding.decode_video import decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.prefetch import prefetch_each
from transforms.decoding.process import DecoderProcess
from transforms.records import METRICS_NAMESPACE, Failure, FrameChunk, VideoRef

PREFETCH_BATCH_VIDEOS = 4
"""Videos that a worker's thread gets at once if it prefetches."""


@dataclasses.dataclass(eq=False)
class DecodeVideos(beam.PTransform):
    """Decodes each `VideoRef` of a PCollection into `FrameChunk`s, in order, and a `Failure` if that fails.

    A failure may follow chunks of the same video. Chunks are decoded when they are needed, and one in advance, so a worker
    holds only a few of them whatever a video's length. Metrics in the namespace "repcount": the counters `frames_decoded` and
    `frames_sampled`, and the distribution `decode_msec`, the time per video in which the next steps waited for chunks.

    Attributes:
      options: How videos become frames. These options affect the count and belong to the identity of a row.
      prefetch: Whether to decode the next video while the next steps work on one. For runners that do one thing at a time; in
        others, further threads decode further videos.
      make_decoder: Returns a new decoder; tests pass one that fails.
      clock: Returns the time in seconds.
    """

    options: DecodingOptions = dataclasses.field(default_factory=DecodingOptions)
    prefetch: bool = False
    make_decoder: Callable[[], DecoderProcess] = DecoderProcess
    clock: Callable[[], float] = time.monotonic

    def expand(self, videos: beam.PCollection) -> beam.PCollection:
        """Decodes in one step, which runners fuse with the one that takes the frames."""
        batch_videos = PREFETCH_BATCH_VIDEOS if self.prefetch else 1
        decode_fn = _DecodeFn(self.options, self.make_decoder, self.clock)
        return (
            videos
            | "Batch videos" >> beam.BatchElements(min_batch_size=batch_videos, max_batch_size=batch_videos)
            | "Decode" >> beam.ParDo(decode_fn).with_output_types(FrameChunk | Failure)
        )


class _DecodeFn(beam.DoFn):
    """Decodes batches of videos with two decoders, in turns."""

    def __init__(
        self, options: DecodingOptions, make_decoder: Callable[[], DecoderProcess], clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._make_decoder = make_decoder
        self._clock = clock
        self._decoders: list[DecoderProcess] = []  # made in setup()
        self._frames_decoded = Metrics.counter(METRICS_NAMESPACE, "frames_decoded")
        self._frames_sampled = Metrics.counter(METRICS_NAMESPACE, "frames_sampled")
        self._decode_msec = Metrics.distribution(METRICS_NAMESPACE, "decode_msec")

    def setup(self) -> None:
        """Makes the decoders; each starts its process with its first video."""
        self._decoders = [self._make_decoder() for _ in range(2)]

    def teardown(self) -> None:
        """Ends the processes."""
        for decoder in self._decoders:
            decoder.close()

    def process(self, videos: Sequence[VideoRef]) -> Iterator[FrameChunk | Failure]:
        """Yields the chunks of each video, and a failure if there is one; the next video is decoded meanwhile."""
        outputs = [decode_or_fail(video, self._options, self._decoders[number % 2].read) for number, video in enumerate(videos)]
        if len(outputs) == 1:
            yield from self._measured(outputs[0])
            return
        with contextlib.closing(prefetch_each(outputs)) as prefetched:
            for items in prefetched:
                yield from self._measured(items)

    def _measured(self, items: Iterator[FrameChunk | Failure]) -> Iterator[FrameChunk | Failure]:
        """Yields the items, and updates the metrics."""
        spent_sec, started_sec = 0.0, self._clock()
        for item in items:
            if isinstance(item, FrameChunk):
                self._frames_sampled.inc(len(item.frames))
                self._frames_decoded.inc(item.facts.decoded_frames if item.facts else 0)
            spent_sec += self._clock() - started_sec
            yield item
            started_sec = self._clock()  # the time that the next steps took is not decoding
        self._decode_msec.update(round(1000 * (spent_sec + self._clock() - started_sec)))
