"""Listing: finds the videos that patterns match and writes them into files. See `transforms.objects` for patterns."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.matching import VIDEO_SUFFIXES, ListingFilter, batched, is_wanted
from transforms.objects import list_objects
from transforms.records import METRICS_NAMESPACE, VideoRef
from transforms.warehouse.parquet import ROW_GROUP_ROWS, StagedFile, TableWriter
from transforms.warehouse.rows import listing_batch
from transforms.warehouse.schema import LISTING

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class ListVideos(beam.PTransform):
    """Lists the videos that patterns match, on the workers: a PCollection of `StagedFile` with rows of `LISTING`.

    The videos are rows of files, not elements, because most of them were counted in an earlier run. The tables find out which
    from the files in one query, and only the others go through the pipeline. A video that several patterns match is listed once
    for each. The counter `objects_skipped` (namespace "repcount") counts objects whose names do not end like a video's.

    Attributes:
      patterns: Paths, directories or patterns, local or of any file system that Beam supports (`gs://…`).
      folder: Folder of the run, local or `gs://`. Files are named `{folder}/listing/{unique}.parquet`.
      suffixes: Lower-case suffixes that make an object a video. A pattern without a wildcard takes any suffix.
      listing_filter: Filter applied to matched videos: dates and sample.
    """

    patterns: Sequence[str]
    folder: str
    suffixes: Sequence[str] = VIDEO_SUFFIXES
    listing_filter: ListingFilter = dataclasses.field(default_factory=ListingFilter)

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Lists each pattern."""
        return (
            pbegin
            | "Create patterns" >> beam.Create([os.fsencode(pattern) for pattern in self.patterns])
            | "List objects"
            >> beam.ParDo(_ListFn(self.folder, self.suffixes, self.listing_filter)).with_output_types(StagedFile)
        )


class _ListFn(beam.DoFn):
    """Lists one pattern into files and counts the objects that are not videos."""

    def __init__(self, folder: str, suffixes: Sequence[str], listing_filter: ListingFilter) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._filter = listing_filter
        self._skipped = Metrics.counter(METRICS_NAMESPACE, "objects_skipped")

    def process(self, element: bytes) -> Iterator[StagedFile]:
        """Yields the files that hold the videos that the pattern matches."""
        pattern = os.fsdecode(element)
        writer = TableWriter(self._folder, LISTING)
        try:
            for videos in batched(self._wanted(pattern), ROW_GROUP_ROWS):
                writer.write(listing_batch(videos))
            yield from writer.close()
        finally:
            writer.discard()

    def _wanted(self, pattern: str) -> Iterator[VideoRef]:
        for video in list_objects(pattern):
            if not is_wanted(video, pattern, self._suffixes):
                self._skipped.inc()
                _LOGGER.info("Skipped %r: its name does not end like a video's.", video.uri)
            elif self._filter.takes(video):
                yield video
