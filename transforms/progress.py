"""Progress of a run on this machine, in two files: one has the number of videos to count, one grows with each scored chunk."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import os
import struct
from pathlib import Path

import apache_beam as beam

from model.replacing import replacing
from transforms.records import ChunkScores, Failure, SelectionTotals, VideoRef

_TOTALS_SUFFIX = ".totals"

_MARK = struct.Struct("<QIB3x")
"""A mark, 16 bytes: hash of the video, number of frames scored since its last mark, and its `_State`."""

_MAX_FRAMES = 2**32 - 1


class _State(enum.IntEnum):
    """What a mark says about its video."""

    BEGUN = 0
    SCORED = 1
    FAILED = 2


@dataclasses.dataclass(eq=False)
class MarkProgress(beam.PTransform):
    """Passes `ChunkScores` and `Failure`s on and adds a mark to a file for each of them.

    Beam's runner in this process reports nothing, not even metrics, until it has finished. Marks have one size and are
    appended with one write each, so that several processes may share the file.

    Attributes:
      path: Local path of the file.
    """

    path: str

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Marks each chunk and failure in one step."""
        return scored | "Mark" >> beam.Map(mark, self.path).with_output_types(ChunkScores | Failure)


@dataclasses.dataclass(eq=False)
class WriteTotals(beam.PTransform):
    """Passes the one `SelectionTotals` of a run on and writes it to a file beside that of `MarkProgress`.

    Attributes:
      path: Local path of the file of `MarkProgress`.
    """

    path: str

    def expand(self, totals: beam.PCollection) -> beam.PCollection:
        """Writes the totals in one step."""
        return totals | "Write" >> beam.Map(write_totals, self.path).with_output_types(SelectionTotals)


@dataclasses.dataclass(frozen=True)
class Marked:
    """What the marks of a run say.

    Attributes:
      done: Number of videos of which everything is scored, or which failed.
      failed: How many of the videos failed.
      frames: Number of scored frames, those of retries included.
    """

    done: int = 0
    failed: int = 0
    frames: int = 0


class MarkReader:
    """Reads the marks of a run while it goes on; each call reads only what is new.

    A retried video is marked again. It counts once, since marks name their video by a hash; its frames count again, since they
    were scored again. A video with both marks, of a failed chunk and of its last one, has failed.
    """

    def __init__(self, path: str) -> None:
        """Takes the path of the file of `MarkProgress`, which need not exist yet."""
        self._path = path
        self._offset_bytes = 0
        self._done: set[int] = set()
        self._failed: set[int] = set()
        self._frames = 0

    def read(self) -> Marked:
        """Returns what all marks up to now say."""
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            file.seek(self._offset_bytes)
            self._add(file.read())
        return Marked(len(self._done), len(self._failed), self._frames)

    def _add(self, marks: bytes) -> None:
        whole_bytes = len(marks) - len(marks) % _MARK.size
        self._offset_bytes += whole_bytes
        for video, frames, state in _MARK.iter_unpack(marks[:whole_bytes]):
            self._frames += frames
            if state != _State.BEGUN:
                self._done.add(video)
            if state == _State.FAILED:
                self._failed.add(video)


def read_totals(path: str) -> SelectionTotals | None:
    """Returns the totals of the selection, or None if it has not finished."""
    try:
        with open(path + _TOTALS_SUFFIX, encoding="utf-8") as file:
            return SelectionTotals(**json.load(file))
    except FileNotFoundError:
        return None


def write_totals(totals: SelectionTotals, path: str) -> SelectionTotals:
    """Writes the totals beside the file of `MarkProgress`, at once and whole; returns them."""
    with replacing(Path(path + _TOTALS_SUFFIX)) as partial:
        partial.write_text(json.dumps(dataclasses.asdict(totals)), encoding="utf-8")
    return totals


def mark(item: ChunkScores | Failure, path: str) -> ChunkScores | Failure:
    """Appends the mark of a scored chunk or a failure to a file; returns it. No mark is worth a run: an error is ignored."""
    if isinstance(item, Failure):
        frames, state = 0, _State.FAILED
    else:
        frames, state = len(item.times_sec), _State.BEGUN if item.facts is None else _State.SCORED
    marked = _MARK.pack(_hash(item.video), min(frames, _MAX_FRAMES), state)
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, marked)
        finally:
            os.close(file)
    return item


def _hash(video: VideoRef) -> int:
    """Returns a number of 64 bits that is the same in all processes, and another one for another video."""
    return int.from_bytes(hashlib.blake2b(video.identity, digest_size=8).digest(), "little")
