"""Fills and reads warehouses of any kind, for tests."""

import contextlib
import datetime
import json
import os
import subprocess
import sys

import pytest

from tests.support.samples import STARTED, make_provenance
from transforms.staging import to_batches
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.parquet import TableWriter
from transforms.warehouse.rows import listing_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, LISTING, TABLES, VIDEO_COUNTS

KINDS = ("duckdb", pytest.param("bigquery", marks=pytest.mark.slow))
"""Kinds of warehouses, as parameters of tests that both must pass. With BigQuery they take minutes together."""

_HOLD = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "True"):
    print("open", flush=True)
    sys.stdin.read()
"""
"""A program that keeps a database open until its standard input is closed."""

ENDED = STARTED + datetime.timedelta(minutes=5)


def make_warehouse(kind, request):
    """Returns a warehouse without tables, "duckdb" or "bigquery". It lasts as long as the fixture or test that requests it."""
    is_shared = request.scope == "module"
    if kind == "duckdb":
        folder = (
            request.getfixturevalue("tmp_path_factory").mktemp("tables") if is_shared else request.getfixturevalue("tmp_path")
        )
        return DuckDBWarehouse(str(folder / "counts.duckdb"))
    cloud = request.getfixturevalue("module_cloud" if is_shared else "cloud")
    return BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)


def stage(warehouse, provenance, *outcomes):
    """Stages the rows of counts and failures, as a run does."""
    writers = {
        table.name: TableWriter(warehouse.staging_folder(provenance.run_id), table)
        for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)
    }
    for item in outcomes:
        for table, batch in to_batches(item, provenance):
            writers[table.name].write(batch)
    return [file for writer in writers.values() for file in writer.close()]


def stage_listing(warehouse, provenance, videos):
    """Stages a listing, as a run does."""
    writer = TableWriter(warehouse.staging_folder(provenance.run_id), LISTING)
    writer.write(listing_batch(videos))
    return writer.close()


def commit(warehouse, provenance, *outcomes, files=None, listed=None, skipped=0):
    """Stages and commits counts and failures, to a missing file after its creation; returns the run's totals."""
    if warehouse.is_local and not os.path.exists(warehouse.path):
        warehouse.prepare()
    files = stage(warehouse, provenance, *outcomes) if files is None else files
    listed = len(outcomes) if listed is None else listed
    return warehouse.commit(provenance, files, listed=listed, skipped=skipped, run_ended=ENDED)


def later_run(run_id, hours=1, **changes):
    return make_provenance(run_id, started=STARTED + datetime.timedelta(hours=hours), **changes)


@contextlib.contextmanager
def held_open(warehouse, read_only=False):
    """Another process has a DuckDB file open. Yields a function that makes it close the file."""
    command = [sys.executable, "-c", _HOLD, warehouse.path, str(read_only)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"open\n"
        yield process.stdin.close


def read(warehouse, columns, table, rest=""):
    """Returns rows of a table or view, in the order of the columns."""
    rows = warehouse.query(f"SELECT {columns} FROM {warehouse.dialect.dataset}{table} {rest}", {})
    return sorted((tuple(row) for row in rows), key=repr)


def contents(warehouse):
    """Returns all rows of all tables, with their columns in the order of the schema."""
    return {table.name: read(warehouse, ", ".join(column.name for column in table.columns), table.name) for table in TABLES}


def num_rows(warehouse):
    return {name: len(rows) for name, rows in contents(warehouse).items()}


def is_job(text):
    """Returns a filter for requests that start a job whose description contains a text."""
    return lambda request: request.method == "POST" and "/jobs" in request.path and text.encode() in request.body


def jobs(cloud):
    """Returns the description of every job that was started."""
    found = [request for request in cloud.bigquery.requests if request.method == "POST" and "/jobs" in request.path]
    return [json.loads(request.body) for request in found]
