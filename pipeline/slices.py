"""Slices: lists a run's videos once and divides those to count among jobs that each commit their own rows."""

from __future__ import annotations

import array
import collections
import dataclasses
import math
import os

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, WorkerOptions

from pipeline.durations import bytes_per_sec, size_class_of
from pipeline.estimate import TYPICAL_FPS, WORKER_CORES
from pipeline.machines import core_count_fps, cores_of
from pipeline.run_config import RunConfig, SourceConfig, is_local_run
from transforms.listing import ListFn
from transforms.records import Selection, Slice, slice_hash, slice_number
from transforms.scoring import ModelConfig
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance

_SLICE_SEC = 3600.0
"""Longest time in seconds that a slice is meant to take: what is lost at most when a run is cut off."""

_MAX_SLICES = 1000
"""Most slices that are chosen without `--slices`."""

_UNKNOWN_WORKERS = 10
"""Number of Dataflow workers to reckon with, if neither the command line nor an earlier run says how fast they are."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The slices of a run.

    Attributes:
      listing: Files with all listed videos: rows of `schema.LISTING`.
      num_videos: Number of videos to count in each slice, in the slices' order; at least one slice.
      left_out: Number of matched names that are not part of the run, by `LeftOut.kind`.
    """

    listing: tuple[StagedFile, ...]
    num_videos: tuple[int, ...]
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def slices(self) -> list[Slice]:
        """The slices, in order."""
        return [Slice(number, len(self.num_videos)) for number in range(1, len(self.num_videos) + 1)]

    def selection(self, part: Slice, selection: Selection) -> Selection:
        """Returns the selection of one slice with videos to count, from that of the run.

        The run's oldest uploads in a slice are the oldest of that slice, so a limit for each slice keeps the run's limit.
        """
        limit = None if selection.limit is None else self.num_videos[part.number - 1]
        return dataclasses.replace(selection, part=part, limit=limit)


def make_plan(config: RunConfig, options: PipelineOptions, provenance: Provenance) -> Plan:
    """Lists the videos of a run into its staging folder and divides those to count into slices.

    Args:
      config: The run. Without `config.slices`, there are as many slices as it takes hours to count the videos.
      options: Beam's options, which say how many workers there are.
      provenance: What the run's rows say about it.

    Raises:
      WarehouseError: The tables cannot be read.
      BeamIOError: An input cannot be listed.
    """
    warehouse, selection = config.warehouse, config.source.selection
    listing, left_out = _stage_listing(config.source, warehouse.staging_folder(provenance.run_id))
    _, videos = warehouse.select(provenance, listing, selection)
    hashes, bytes_by_class = array.array("I"), collections.Counter[int]()
    for video in videos:
        hashes.append(slice_hash(video))
        bytes_by_class[size_class_of(video.size_bytes)] += video.size_bytes
    total = config.slices if hashes else 1
    if total is None:
        earlier = warehouse.earlier_runs(provenance.model_key)
        video_sec = sum(size_bytes / bytes_per_sec(earlier, number) for number, size_bytes in bytes_by_class.items())
        earlier_speed = earlier.run_video_sec / earlier.run_wall_sec if earlier.run_wall_sec else 0.0
        # Short runs are slow, since most of their time goes into starting: the faster of the two is nearer the truth.
        total = choose_slices(video_sec, max(earlier_speed, typical_speed(options, config.model)))
    total = max(1, min(total, len(hashes)))
    found = collections.Counter(slice_number(hashed, total) for hashed in hashes)
    return Plan(tuple(listing), tuple(found[number] for number in range(1, total + 1)), left_out)


def choose_slices(video_sec: float, speed: float) -> int:
    """Returns the number of slices of which none takes more than about an hour.

    Args:
      video_sec: Seconds of video to count.
      speed: Seconds of video that are counted per second.
    """
    return max(1, min(math.ceil(video_sec / speed / _SLICE_SEC), _MAX_SLICES))


def typical_speed(options: PipelineOptions, model: ModelConfig) -> float:
    """Returns the seconds of 1080p video that the workers of a run are assumed to count per second."""
    worker = options.view_as(WorkerOptions)
    if is_local_run(options):
        workers, cores = options.view_as(DirectOptions).direct_num_workers or os.cpu_count() or 1, WORKER_CORES
    else:
        workers = worker.max_num_workers or worker.num_workers or _UNKNOWN_WORKERS
        cores = (worker.machine_type and cores_of(worker.machine_type)) or WORKER_CORES
    return workers * cores * core_count_fps(model.name, has_gpu=model.require_gpu) / TYPICAL_FPS


def _stage_listing(source: SourceConfig, folder: str) -> tuple[list[StagedFile], dict[str, int]]:
    """Lists the videos of a run into files, in this process; returns the files, and how many names were left out by kind."""
    lister = ListFn(folder, source.suffixes, source.listing_filter, source.billing_project)
    files = [file for pattern in source.patterns for file in lister.process(os.fsencode(pattern))]
    return files, dict(lister.left_out)
