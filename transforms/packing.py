"""Packing: compresses frames that are sent from workers that decode to workers that score.

Each frame is stored as its difference from the one before, and all are compressed with Zstandard. Both steps are lossless.
Workout videos shrink to about a quarter, at a few hundred megabytes a second in each direction.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from model.config import FRAME_SIZE
from transforms.decoding.video_facts import VideoFacts
from transforms.records import Failure, FrameChunk, VideoRef

_CODEC = "zstd"


@dataclasses.dataclass(frozen=True, eq=False)
class PackedChunk:
    """A `FrameChunk` with its frames compressed.

    Attributes:
      video: Video of the chunk.
      index: Number of the chunk within the video, from 0.
      packed: Frames, compressed by `pack`.
      times_sec: (num_frames,) float64, presentation times in seconds.
      facts: Facts of the video, on its last chunk only; else None.
      repeats: Times that the network is shown each frame.
    """

    video: VideoRef
    index: int
    packed: bytes
    times_sec: np.ndarray
    facts: VideoFacts | None
    repeats: int


def pack(chunk: FrameChunk | Failure) -> PackedChunk | Failure:
    """Returns the chunk with its frames compressed, or the failure as it is."""
    if isinstance(chunk, Failure):
        return chunk
    differences = chunk.frames.copy()
    differences[1:] -= chunk.frames[:-1]  # modulo 256, as is the sum in `unpack`
    packed = pa.compress(pa.py_buffer(differences), codec=_CODEC, asbytes=True)
    return PackedChunk(chunk.video, chunk.index, packed, chunk.times_sec, chunk.facts, chunk.repeats)


def unpack(packed: PackedChunk | Failure) -> FrameChunk | Failure:
    """Returns the chunk or failure as it was before `pack`."""
    if isinstance(packed, Failure):
        return packed
    shape = (len(packed.times_sec), FRAME_SIZE, FRAME_SIZE, 3)
    content = pa.decompress(packed.packed, decompressed_size=int(np.prod(shape)), codec=_CODEC)
    frames = np.cumsum(np.frombuffer(content, np.uint8).reshape(shape), axis=0, dtype=np.uint8)
    return FrameChunk(packed.video, packed.index, frames, packed.times_sec, packed.facts, packed.repeats)
