"""From what `--output` says to the tables that it names."""

from __future__ import annotations

import os
import re

from model.storage import SCHEME
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

_PROJECT = re.compile(r"(?:[a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_FOLDER = re.compile(r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/.*)?")


def parse_output(output: str, temp_location: str | None = None) -> DuckDBWarehouse | BigQueryWarehouse:
    """Returns the tables that `--output` names, spelled `duckdb:PATH` or `bigquery:PROJECT.DATASET`.

    Args:
      output: what it says.
      temp_location: folder on Cloud Storage through which rows come into BigQuery; "" where none will be staged.

    Raises:
      ValueError: it is spelled otherwise, or BigQuery lacks a folder.
    """
    scheme, _, place = output.partition(":")
    if scheme == "duckdb" and place:
        return _parse_duckdb(output, place)
    if scheme == "bigquery" and place:
        return _parse_bigquery(output, place, temp_location)
    raise ValueError(f"output must be duckdb:PATH or bigquery:PROJECT.DATASET. Received: {output!r}")


def _parse_duckdb(output: str, path: str) -> DuckDBWarehouse:
    if path == ":memory:" or "://" in path:
        raise ValueError(f"output must be duckdb:PATH, with the path of a local file. Received: {output!r}")
    path = os.path.abspath(os.path.expanduser(path))
    if set(path) & set("?\\"):  # DuckDB puts its log's ending before a "?", and takes "\" for "/"
        raise ValueError(f"output must be a path without '?' and '\\'. Received: {path!r}")
    return DuckDBWarehouse(path)


def _parse_bigquery(output: str, place: str, temp_location: str | None) -> BigQueryWarehouse:
    project, _, dataset = place.rpartition(".")
    if not _PROJECT.fullmatch(project) or not _DATASET.fullmatch(dataset):
        raise ValueError(
            "output must be bigquery:PROJECT.DATASET, a project's id and a data set of letters, digits and '_'. "
            f"Received: {output!r}"
        )
    if temp_location is None or (temp_location and not _FOLDER.fullmatch(temp_location)):
        raise ValueError(
            "rows come into BigQuery by way of files on Cloud Storage: --temp_location must be a folder of a bucket near the "
            f"data set, {SCHEME}BUCKET/FOLDER. Received: {temp_location!r}"
        )
    return BigQueryWarehouse(project, dataset, temp_location.rstrip("/"))
