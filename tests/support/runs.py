"""Runs for tests: their configuration, and runs as processes to kill."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from model.counting_options import CountingOptions
from pipeline.run_config import RunConfig, SourceConfig
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from tests.support.warehouses import read
from transforms.decoding.options import DecodingOptions
from transforms.records import Selection
from transforms.scoring import ModelConfig
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS

ROOT = Path(__file__).parents[2]

OF_THE_RUN = {"run_id", "run_started", "run_ended"}


def make_config(folder, *, slices=None, require_gpu=False, **selection):
    """Returns a run over the videos of a folder, with tables in the same folder."""
    return RunConfig(
        source=SourceConfig((f"{folder}/*.mp4",), selection=Selection(**selection)),
        decoding=DecodingOptions(chunk_frames=128),
        model=ModelConfig("lite", "f" * 64, FakeScorer.strides, "float32", 1, require_gpu=require_gpu),
        counting=CountingOptions(),
        warehouse=DuckDBWarehouse(f"{folder}/counts.duckdb"),
        slices=slices,
    )


def start(program, videos, database, *arguments):
    """Starts a run in a process group of its own."""
    command = [sys.executable, "-m", program, "run", "--input", str(videos), "--output", f"duckdb:{database}", "--show", "0"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows(database):
    """Returns all rows by table, less what differs between any two runs."""
    warehouse = DuckDBWarehouse(str(database))
    tables = {
        table.name: ", ".join(column.name for column in table.columns if column.name not in OF_THE_RUN)
        for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
    }
    return {name: read(warehouse, columns, name) for name, columns in tables.items()}


def draw_many(folder, num_videos):
    """Draws a few videos and copies them; every fiftieth file is no video."""
    folder.mkdir()
    drawn = [draw_video(folder / f"{number:03d}.mp4", 64 + 20 * number) for number in range(5)]
    for number in range(5, num_videos):
        path = folder / f"{number:03d}.mp4"
        if number % 50:
            shutil.copy(drawn[number % 5], path)
        else:
            path.write_text("not a video")
