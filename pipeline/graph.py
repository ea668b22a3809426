"""The graph of a run: the steps from listing videos to committing rows."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam

from pipeline.run_config import RunConfig
from transforms.attempts import Attempts
from transforms.counting import CountVideos
from transforms.decoding.decode_videos import DecodeVideos
from transforms.inference import RepNetModelHandler, ScoreChunks
from transforms.listing import ListVideos
from transforms.progress import MarkProgress, WriteTotals
from transforms.selection import SelectVideos
from transforms.staging import CommitRows, StageRows
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance


def make_handler(config: RunConfig) -> RepNetModelHandler:
    """Returns the handler that loads the run's model on a worker and scores with it."""
    return RepNetModelHandler(config.model.load_scorer)


def make_attempts(config: RunConfig, provenance: Provenance) -> Attempts:
    """Returns what notes which videos of a run are in flight."""
    counted_with = f"{provenance.model_key}#{provenance.options_hash}"
    return Attempts(config.warehouse.attempts_folder, provenance.run_id, counted_with)


def build_pipeline(
    pipeline: beam.Pipeline,
    config: RunConfig,
    provenance: Provenance,
    handler: RepNetModelHandler,
    progress_path: str | None = None,
    listing: Sequence[StagedFile] | None = None,
) -> beam.PCollection:
    """Adds the steps of a run to a pipeline.

    None of them is a Flatten: Beam's runner inside this process would collect all its input before it yields anything.

    Args:
      pipeline: Pipeline to add the steps to.
      config: The run.
      provenance: What its rows say about it.
      handler: Loads the model and scores.
      progress_path: Local file for `MarkProgress` and `WriteTotals`. None if the workers are other machines.
      listing: Files with the listed videos. None if the pipeline lists them.

    Returns:
      A PCollection of the run's one `RunTotals`.
    """
    folder = config.warehouse.staging_folder(provenance.run_id)
    source = config.source
    if listing is None:
        listed = pipeline | "List videos" >> ListVideos(
            source.patterns, folder, source.suffixes, source.listing_filter, source.billing_project
        )
    else:
        listed = pipeline | "Listed videos" >> beam.Create(listing, reshuffle=False).with_output_types(StagedFile)
    selected = listed | "Select videos" >> SelectVideos(config.warehouse, provenance, source.selection)
    totals = selected["totals"]
    if progress_path is not None:
        totals |= "Write totals" >> WriteTotals(progress_path)
    attempts = make_attempts(config, provenance)
    decoded = selected["videos"] | "Decode" >> DecodeVideos(
        config.decoding,
        prefetch=progress_path is not None,  # the runner here does one thing at a time; elsewhere, a worker has threads
        attempts=attempts,
        load_scorer=None if config.accelerator else handler.load_scorer,
    )
    scored = decoded | "Score" >> ScoreChunks(handler, config.accelerator)
    if progress_path is not None:
        scored |= "Mark progress" >> MarkProgress(progress_path)
    counted = scored | "Count" >> CountVideos(config.counting, config.model.period_offset)
    staged = counted | "Stage rows" >> StageRows(folder, provenance)
    committed = {"staged": staged, "totals": totals}
    # Here, who waits sees the failures; elsewhere, the job itself must end as failed.
    failure_limit = config.failure_limit if progress_path is None else None
    return committed | "Commit rows" >> CommitRows(config.warehouse, provenance, failure_limit, attempts)
