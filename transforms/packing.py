"""Packing: frames for their way through the network, where the workers that score are not those that decode.

A frame is stored as its difference from the one before, and the whole compressed with Zstandard, both without loss: videos of
people who exercise become a quarter as large, at a few hundred megabytes a second each way.
"""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import numpy as np
import pyarrow as pa

from model.config import FRAME_SIZE
from transforms.decoding.video_facts import VideoFacts
from transforms.records import Failure, FrameChunk, VideoRef

_CODEC = "zstd"


@dataclasses.dataclass(frozen=True, eq=False)
class PackedChunk:
    """A `FrameChunk` whose frames are packed.

    Attributes:
      video, index, times_sec, facts: those of the chunk.
      packed: its frames.
    """

    video: VideoRef
    index: int
    packed: bytes
    times_sec: np.ndarray
    facts: VideoFacts | None


def pack(chunk: FrameChunk) -> PackedChunk:
    """Packs a chunk."""
    steps = chunk.frames.copy()
    steps[1:] -= chunk.frames[:-1]  # modulo 256, and so it is undone
    packed = pa.compress(pa.py_buffer(steps), codec=_CODEC, asbytes=True)
    return PackedChunk(chunk.video, chunk.index, packed, chunk.times_sec, chunk.facts)


def unpack(packed: PackedChunk) -> FrameChunk:
    """Returns the chunk that was packed."""
    shape = (len(packed.times_sec), FRAME_SIZE, FRAME_SIZE, 3)
    content = pa.decompress(packed.packed, decompressed_size=int(np.prod(shape)), codec=_CODEC)
    frames = np.cumsum(np.frombuffer(content, np.uint8).reshape(shape), axis=0, dtype=np.uint8)
    return FrameChunk(packed.video, packed.index, frames, packed.times_sec, packed.facts)


class PackChunks(beam.PTransform):
    """Packs the `FrameChunk`s of a PCollection; its `Failure`s stay as they are."""

    def expand(self, decoded: beam.PCollection) -> beam.PCollection:
        """Packs in one step, which runners fuse with the one that decodes."""
        return decoded | "Pack" >> beam.Map(_pack).with_output_types(PackedChunk | Failure)


class UnpackChunks(beam.PTransform):
    """Unpacks the `PackedChunk`s of a PCollection; its `Failure`s stay as they are."""

    def expand(self, packed: beam.PCollection) -> beam.PCollection:
        """Unpacks in one step, which runners fuse with the one that scores."""
        return packed | "Unpack" >> beam.Map(_unpack).with_output_types(FrameChunk | Failure)


def _pack(item: FrameChunk | Failure) -> PackedChunk | Failure:
    return pack(item) if isinstance(item, FrameChunk) else item


def _unpack(item: PackedChunk | Failure) -> FrameChunk | Failure:
    return unpack(item) if isinstance(item, PackedChunk) else item
