"""Sample records that several tests share."""

import datetime
import os

import numpy as np

from model.counting import Counted
from model.frame_counts import Segment
from transforms.decoding.video_facts import VideoFacts
from transforms.failure_codes import FailureCode, Stage
from transforms.records import Failure, VideoCount, VideoRef
from transforms.warehouse.rows import Provenance, canonical_json

UTC = datetime.UTC
STARTED = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UPDATED = datetime.datetime(2026, 1, 1, 23, 30, tzinfo=UTC)

HOSTILE_NAMES = [
    "new\nline.mp4",
    "tab\tand\rreturn.mp4",
    "spaces  and 'single' \"double\" quotes.mp4",
    "-rf.mp4",
    "--output=x.mp4",
    "clip[1].mp4",
    "what?.mp4",
    "star*.mp4",
    "img_%03d.mp4",
    "back\\slash.mp4",
    "семь повторений 七回 🏋️.mp4",
    "'; DROP TABLE video_counts; --.mp4",
    "gs:colon.mp4",
    "e\u0301 is not \u00e9.mp4",
    " leading space.mp4",
    "trailing space.mp4 .mp4",
    os.fsdecode(b"not utf-8 \xff\xfe.mp4"),
]
"""File names with spaces, quotes, control characters, wildcards, other alphabets and invalid UTF-8."""


def make_provenance(run_id="run-1", *, started=STARTED, **changes):
    """Returns the provenance of a run of `lite`."""
    fields = {
        "run_id": run_id,
        "run_started": started,
        "model": "lite",
        "model_sha256": "ab" * 32,
        "options_json": canonical_json({"stride_rule": "real_frames", "video_threshold": 0.2}),
        "code_version": "0.1.0",
        "precision": "float32",
    }
    return Provenance(**{**fields, **changes})


def make_video(uri="gs://bucket/a.mp4", generation=1, *, updated=UPDATED):
    return VideoRef(uri, generation, 12_345, updated)


def make_video_count(
    uri="gs://bucket/a.mp4", generation=1, *, num_frames=100, fps=10.0, period=20, flags=(), captured_sec=0.0, **changes
):
    """Returns the count of a video whose middle half repeats every `period` frames. `changes` replace fields of `Counted`."""
    is_periodic = np.zeros(num_frames, bool)
    is_periodic[num_frames // 4 : num_frames * 3 // 4] = True
    per_frame_count = np.where(is_periodic, 1 / period, 0.0)
    count = float(per_frame_count.sum())
    start, end = num_frames // 4, num_frames * 3 // 4
    fields = {
        "count": count,
        "confidence": 0.5,
        "certainty": 0.9,
        "stride": 2,
        "notebook_period_frames": num_frames / count if count else np.inf,
        "stride_scores": {2: 0.5, 1: 0.25},
        "per_frame_count": per_frame_count,
        "periodicity": is_periodic.astype(np.float32),
        "period_frames_curve": np.where(is_periodic, float(period), np.inf),
        "is_periodic": is_periodic,
        "segments": (Segment(start, end, count),),
        "repetition_frames": np.arange(start + period, end + 1, period, dtype=np.float64),
        "at_period_limit": False,
        "ambiguous_stride": False,
    }
    facts = VideoFacts(640, 360, "h264", 0, fps, num_frames, num_frames / fps, False, False, captured_sec=captured_sec)
    return VideoCount(
        make_video(uri, generation), facts, Counted(**{**fields, **changes}), np.arange(num_frames) / fps, tuple(flags)
    )


def make_failure(
    uri="gs://bucket/a.mp4", generation=1, *, code=FailureCode.NOT_A_VIDEO, message="no video stream", updated=UPDATED
):
    return Failure(make_video(uri, generation, updated=updated), Stage.DECODE, code, message)
