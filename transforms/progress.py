"""Progress of a run on this machine: a file that grows by a byte with every video that has been scored."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import apache_beam as beam

from transforms.records import ChunkScores, Failure


@dataclasses.dataclass(eq=False)
class MarkProgress(beam.PTransform):
    """Lets `ChunkScores` and `Failure`s through, and marks each video's end in a file.

    A runner in this process tells nothing before it is done, and metrics come last of all. A video that is tried again is
    marked again: the file is for people to look at, not for counting.

    Attributes:
      path: of the file, local.
    """

    path: str

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Marks in passing."""
        return scored | "Mark" >> beam.ParDo(_MarkFn(self.path)).with_output_types(ChunkScores | Failure)


def finished_videos(path: str) -> int:
    """Returns how many videos are marked; 0 before the first."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class _MarkFn(beam.DoFn):
    """Appends a byte for the last chunk of a video, or its failure."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, item: ChunkScores | Failure) -> Iterator[ChunkScores | Failure]:
        """Yields what comes."""
        if isinstance(item, Failure) or item.facts is not None:
            with open(self._path, "ab") as file:
                file.write(b".")
        yield item
