"""Aggregation: turns the evidence and failures of one video into exactly one count or one failure. Does not import Beam."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from model.config import WINDOW_FRAMES
from model.counting import Counted, count_evidence
from model.counting_options import CountingOptions
from model.evidence import join_evidence
from transforms.decoding.video_facts import VideoFacts
from transforms.evidence import ChunkEvidence, counting_failure, unpack
from transforms.failure_codes import FailureCode, Stage
from transforms.records import Failure, VideoCount, VideoFlag, VideoRef


def aggregate(video: VideoRef, items: Iterable[ChunkEvidence | Failure], options: CountingOptions) -> VideoCount | Failure:
    """Returns the count of a video, or its failure.

    Args:
      video: Video that the items belong to.
      items: Evidence of its chunks and failures of its steps, in any order. A retry can leave several chunks with the same
        index; the first one counts.
      options: How logits become counts; the evidence was reduced with the same.

    Returns:
      The count, or a failure:
      - The failure of the earliest stage, if there are any; within a stage the first by code and message.
      - INCOMPLETE if the chunks are not numbered 0, 1, 2 … with facts on the last one only.
      - COUNTING_FAILED if counting raises an error.

    Raises:
      MachineFaultError: The machine has failed, for instance for lack of memory; see `transforms.machine_faults`.
    """
    chunks: dict[int, ChunkEvidence] = {}
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
        stretches, times = zip(*[unpack(chunk.packed) for chunk in in_order], strict=True)
        evidence, times_sec = join_evidence(stretches), np.concatenate(times)
        with np.errstate(under="ignore"):  # as in `reduce_or_fail`
            counted = count_evidence(evidence, options)
    except Exception as error:  # one bad video must not fail the bundle, and with it the run
        return counting_failure(video, error)
    return VideoCount(video, facts, counted, times_sec, find_flags(facts, counted, evidence.repeats))


def find_flags(facts: VideoFacts, counted: Counted, repeats: int = 1) -> tuple[VideoFlag, ...]:
    """Returns the flags of a count, in the order of `VideoFlag`; `FLAG_MEANINGS` says what each means.

    Args:
      facts: Facts of the video.
      counted: Its count.
      repeats: Times that each frame was shown.
    """
    applies = {
        VideoFlag.NOT_PERIODIC: counted.count == 0,
        VideoFlag.TRUNCATED: facts.truncated,
        VideoFlag.TRAILING_DATA: facts.trailing_data,
        VideoFlag.TOO_SHORT: len(counted.periodicity) * repeats < WINDOW_FRAMES,
        VideoFlag.PERIOD_AT_LIMIT: counted.at_period_limit,
        VideoFlag.AMBIGUOUS_STRIDE: counted.ambiguous_stride,
        VideoFlag.VARIABLE_FRAME_RATE: facts.variable_frame_rate,
        VideoFlag.ROTATED: facts.rotation_degrees != 0,
    }
    return tuple(flag for flag in VideoFlag if applies[flag])


def _precedence(failure: Failure) -> tuple[int, str, str]:
    return list(Stage).index(failure.stage), failure.code.value, failure.message


def _find_gap(chunks: list[ChunkEvidence]) -> str:
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
