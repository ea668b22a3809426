"""Reduces the scores of a chunk to what counting needs, packed: it waits until its whole video is scored.

The votes of all strides are rounded to whole numbers, stored as differences from one time step to the next, and compressed
with zlib, which needs no extra. What the other rules need is exact. Does not import Beam.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import zlib

import numpy as np

from model.counting import gather_evidence
from model.counting_options import CountingOptions
from model.evidence import Evidence
from model.logits import chunk_frames
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage, describe_error
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.records import ChunkScores, Failure, VideoRef

_VOTE_UNITS = 65_535
"""Units of a vote of 1. With a quarter of them, one count of 558 videos changed by 0.002; with these, none by 0.00001."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class ChunkEvidence:
    """What counting needs of the scores of one chunk.

    Attributes:
      video: Video of the chunk.
      index: Number of the chunk within the video, from 0.
      packed: Evidence and times of the chunk's frames, packed by `pack`.
      facts: Facts of the video, on its last chunk only; else None.
    """

    video: VideoRef
    index: int
    packed: bytes
    facts: VideoFacts | None


def reduce_or_fail(scores: ChunkScores, options: CountingOptions, period_offset: int) -> ChunkEvidence | Failure:
    """Returns what counting with these options needs of the scores of a chunk, or a failure if that cannot be found.

    Args:
      scores: Scores of the chunk.
      options: How logits become counts.
      period_offset: Frames that period class 0 stands for.

    Raises:
      MachineFaultError: The machine has failed, for instance for lack of memory; see `transforms.machine_faults`.
    """
    try:
        first_frame = scores.index * chunk_frames(scores.logits)
        num_frames = len(scores.times_sec)
        with np.errstate(under="ignore"):  # the program around this may want errors, and tiny weights may well become 0
            evidence = gather_evidence(scores.logits, num_frames, period_offset, options, scores.repeats, first_frame)
        packed = pack(evidence, scores.times_sec)
    except Exception as error:  # one bad video must not fail the bundle, and with it the run
        return counting_failure(scores.video, error)
    return ChunkEvidence(scores.video, scores.index, packed, scores.facts)


def counting_failure(video: VideoRef, error: Exception) -> Failure:
    """Logs an error that counting a video raised, and returns it as the video's failure.

    Raises:
      MachineFaultError: The error is the machine's; see `transforms.machine_faults`.
    """
    if is_machine_fault(error):
        raise machine_fault(f"counting {video.uri!r}", error) from error
    message = describe_error(error)
    _LOGGER.info("Counting %r failed: %s", video.uri, message)
    _LOGGER.debug("Traceback:", exc_info=error)
    return Failure(video, Stage.COUNT, FailureCode.COUNTING_FAILED, message)


def pack(evidence: Evidence, times_sec: np.ndarray) -> bytes:
    """Returns evidence and the times of its frames, (num_frames,) float64, compressed; votes are rounded."""
    votes = evidence.votes
    if votes is not None:
        units = np.rint(votes.votes.astype(np.float64) * _VOTE_UNITS).astype(np.uint16)
        differences = np.diff(units, axis=0, prepend=np.zeros((1, units.shape[1]), np.uint16))  # modulo 65,536
        evidence = dataclasses.replace(evidence, votes=dataclasses.replace(votes, votes=_to_planes(differences)))
    content = pickle.dumps((evidence, _to_planes(times_sec)))
    return zlib.compress(content)


def unpack(packed: bytes) -> tuple[Evidence, np.ndarray]:
    """Returns evidence and times as they were before `pack`, votes rounded."""
    evidence, times_planes = pickle.loads(zlib.decompress(packed))
    votes = evidence.votes
    if votes is not None:
        differences = _from_planes(votes.votes, np.uint16).reshape(-1, len(votes.periods))
        units = np.cumsum(differences, axis=0, dtype=np.uint16)
        shares = (units / np.float64(_VOTE_UNITS)).astype(np.float32)
        evidence = dataclasses.replace(evidence, votes=dataclasses.replace(votes, votes=shares))
    return evidence, _from_planes(times_planes, np.float64)


def _to_planes(values: np.ndarray) -> np.ndarray:
    """Returns the first byte of all values, then the second one, and so on, (num_bytes, n) uint8; these compress better."""
    return np.ascontiguousarray(values.reshape(-1, 1).view(np.uint8).T)


def _from_planes(planes: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """Returns the values, (n,), that `_to_planes` took apart."""
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
