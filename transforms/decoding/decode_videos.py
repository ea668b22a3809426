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

from transforms import trial
from transforms.attempts import MAX_DEATHS, TRIAL_DEATHS, Attempts
from transforms.decoding.decode_video import decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.prefetch import prefetch_each
from transforms.decoding.process import DecoderProcess
from transforms.decoding.video_facts import NvdecUse
from transforms.failure_codes import FailureCode, Stage
from transforms.records import METRICS_NAMESPACE, Failure, FrameChunk, VideoRef
from transforms.scoring import ChunkScorer

BATCH_VIDEOS = 4
"""Most videos that a worker's thread gets at once. It writes one note for them, and may prefetch all but the first."""

BATCH_BYTES = 64 << 20
"""Most bytes of videos that a thread gets at once if it does not prefetch, since other threads could take the rest."""


@dataclasses.dataclass(eq=False)
class DecodeVideos(beam.PTransform):
    """Decodes each `VideoRef` of a PCollection into `FrameChunk`s, in order, and a `Failure` if that fails.

    A failure may follow chunks of the same video. Chunks are decoded when they are needed, and one in advance, so a worker
    holds only a few of them whatever a video's length. Metrics in the namespace "repcount": the counters `frames_decoded` and
    `frames_sampled`, and the distribution `decode_msec`, the time per video in which the next steps waited for chunks. Where
    decoding on a GPU was asked for, `nvdec_used` counts the videos that it decoded, and `nvdec_REASON` those that it did not,
    see `NvdecUse`.

    Attributes:
      options: How videos become frames, as fits the model; see `transforms.defaults`. They change the numbers and are part of
        a row's key.
      prefetch: Whether to decode the next video while the next steps work on one. For runners that do one thing at a time; in
        others, further threads decode further videos.
      attempts: Notes which videos are in flight, and knows those that kill workers. Default: notes nothing.
      load_scorer: Loads the model of the next steps, to try a video that kills workers. None if others score.
      make_decoder: Returns a new decoder; tests pass one that fails.
      clock: Returns the time in seconds.
    """

    options: DecodingOptions
    prefetch: bool = False
    attempts: Attempts = dataclasses.field(default_factory=Attempts)
    load_scorer: Callable[[], ChunkScorer] | None = None
    make_decoder: Callable[[], DecoderProcess] = DecoderProcess
    clock: Callable[[], float] = time.monotonic

    def expand(self, videos: beam.PCollection) -> beam.PCollection:
        """Decodes in one step, which runners fuse with the one that takes the frames."""
        decode_fn = _DecodeFn(self.options, self.make_decoder, self.clock, self.attempts, self.load_scorer)
        return (
            videos
            | "Batch videos" >> batch_videos(self.prefetch)
            | "Decode" >> beam.ParDo(decode_fn).with_output_types(FrameChunk | Failure)
        )


def batch_videos(prefetch: bool) -> beam.PTransform:
    """Returns the step that makes batches of `BATCH_VIDEOS`; without prefetching, of at most `BATCH_BYTES` or one video."""
    least = BATCH_BYTES // BATCH_VIDEOS
    most = least if prefetch else BATCH_BYTES
    return beam.BatchElements(BATCH_BYTES, BATCH_BYTES, element_size_fn=lambda video: min(max(video.size_bytes, least), most))


class _DecodeFn(beam.DoFn):
    """Decodes batches of videos with two decoders, in turns."""

    def __init__(
        self,
        options: DecodingOptions,
        make_decoder: Callable[[], DecoderProcess],
        clock: Callable[[], float],
        attempts: Attempts,
        load_scorer: Callable[[], ChunkScorer] | None,
    ) -> None:
        self._options = options
        self._make_decoder = make_decoder
        self._clock = clock
        self._attempts = attempts
        self._load_scorer = load_scorer
        self._note = contextlib.ExitStack()
        self._decoders: list[DecoderProcess] = []  # made in setup()
        self._frames_decoded = Metrics.counter(METRICS_NAMESPACE, "frames_decoded")
        self._frames_sampled = Metrics.counter(METRICS_NAMESPACE, "frames_sampled")
        self._decode_msec = Metrics.distribution(METRICS_NAMESPACE, "decode_msec")

    def setup(self) -> None:
        """Makes the decoders; each starts its process with its first video."""
        self._decoders = [self._make_decoder() for _ in range(2)]

    def start_bundle(self) -> None:
        """Reads which videos were in flight when a worker died, since Beam may have tried this bundle before."""
        self._attempts.read()

    def teardown(self) -> None:
        """Ends the processes, and the note of a bundle that failed, for which others may be waiting."""
        self._note.close()
        for decoder in self._decoders:
            decoder.close()

    def process(self, videos: Sequence[VideoRef]) -> Iterator[FrameChunk | Failure]:
        """Yields the chunks of each video, and a failure if there is one; suspects come last and alone."""
        for group in self._attempts.groups(videos):
            with self._note:
                self._note.enter_context(self._attempts.noted(group))
                reason = self._find_guilt(group[0])
                if reason:
                    self._attempts.adopt(group[0])
                    yield Failure(group[0], Stage.DECODE, FailureCode.WORKER_DIED, reason)
                else:
                    yield from self._decode(group)

    def _find_guilt(self, video: VideoRef) -> str:
        """Returns how it is known that a video kills workers; "" if it is not."""
        deaths = self._attempts.deaths(video)
        if deaths >= MAX_DEATHS:
            return f"{deaths} workers died while they worked on this video"
        if deaths < TRIAL_DEATHS:
            return ""
        death = trial.find_death(video, self._options, self._make_decoder, self._load_scorer)
        return death and f"{deaths} workers died while they worked on this video, and so did a process for it alone ({death})"

    def _decode(self, videos: Sequence[VideoRef]) -> Iterator[FrameChunk | Failure]:
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
                if item.facts and item.facts.nvdec is not NvdecUse.UNUSED:
                    Metrics.counter(METRICS_NAMESPACE, f"nvdec_{item.facts.nvdec}").inc()
            spent_sec += self._clock() - started_sec
            yield item
            started_sec = self._clock()  # the time that the next steps took is not decoding
        self._decode_msec.update(round(1000 * (spent_sec + self._clock() - started_sec)))
