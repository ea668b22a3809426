"""Tables of several sizes, for tests of reports."""

import dataclasses
import datetime

import numpy as np

from tests.support.samples import STARTED, UPDATED, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import stage
from transforms.failure_codes import FailureCode
from transforms.records import VideoFlag

LITE, OTHER = "lite", "repnet-2025"


def fill(warehouse, num_videos, *, names=(), model=LITE, seed=0):
    """Commits a night with this many videos to new tables, the run `night-2`, and a smaller one before it, `night-1`.

    One video in 40 fails. The run `trial` has counted the videos of the last night with another model.

    Args:
      warehouse: The tables.
      num_videos: Number of videos of the last night.
      names: URIs of the first videos; all others are made up.
      model: Model of the nights.
      seed: Seed of counts and certainties.
    """
    warehouse.prepare()
    random = np.random.default_rng(seed)
    uris = [*names, *(f"gs://gym/user-{number % 97:02d}/squats/{number:05d}.mp4" for number in range(len(names), num_videos))]
    outcomes = [_draw_outcome(uri, random, days=0) for uri in uris]
    before = [_draw_outcome(f"{uri}.earlier.mp4", random, days=-1) for uri in uris[: num_videos * 3 // 4]]
    others = [
        dataclasses.replace(
            outcome, counted=dataclasses.replace(outcome.counted, count=max(0.0, outcome.counted.count + random.normal(0, 2)))
        )
        for outcome in outcomes
        if not hasattr(outcome, "code")
    ]
    for run_id, run_model, hours, rows in (
        ("trial", OTHER, -48, others),
        ("night-1", model, -24, before),
        ("night-2", model, 0, outcomes),
    ):
        provenance = make_provenance(run_id, started=STARTED + datetime.timedelta(hours=hours), model=run_model)
        ended = provenance.run_started + datetime.timedelta(seconds=60 + len(rows))
        files = stage(warehouse, provenance, *rows)
        warehouse.commit(provenance, files, listed=len(rows) + 3, skipped=3, run_ended=ended)
        warehouse.remove_staging(run_id)


def _draw_outcome(uri, random, *, days):
    updated = UPDATED + datetime.timedelta(days=days)
    if random.random() < 1 / 40:
        code = list(FailureCode)[int(random.integers(5))]
        return make_failure(uri, code=code, message=f"what went wrong with {uri}", updated=updated)
    period = int(random.integers(8, 30))
    certainty = float(random.beta(6, 1.5))
    flags = [VideoFlag.TRUNCATED, VideoFlag.AMBIGUOUS_STRIDE] if random.random() < 0.1 else []
    outcome = make_video_count(
        uri,
        num_frames=int(random.integers(80, 200)),
        period=period,
        certainty=certainty,
        confidence=float(random.beta(5, 3)),
        flags=flags,
    )
    return dataclasses.replace(outcome, video=make_video(uri, updated=updated))
