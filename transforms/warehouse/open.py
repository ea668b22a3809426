"""Opens the warehouse that `--output` names. To add a kind of warehouse, add its class to `WAREHOUSES`."""

from __future__ import annotations

from transforms.warehouse.base import Warehouse
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

WAREHOUSES: tuple[type[Warehouse], ...] = (
    DuckDBWarehouse,
    BigQueryWarehouse,
)

_DUCKDB_SUFFIX = ".duckdb"


def open_warehouse(output: str, temp_location: str | None = None) -> Warehouse:
    """Returns the warehouse that `--output` names, without connecting to it.

    Args:
      output: `duckdb:PATH`, `bigquery:PROJECT.DATASET`, or just the path of a file that ends in `.duckdb`.
      temp_location: Cloud Storage folder for staged files, which BigQuery needs; "" if nothing will be staged.

    Raises:
      ValueError: `output` is none of these, or BigQuery lacks a folder.
    """
    scheme, colon, place = output.partition(":")
    for warehouse in WAREHOUSES:
        if scheme == warehouse.scheme and place:
            return warehouse.parse(place, temp_location)
    if not colon and output.endswith(_DUCKDB_SUFFIX):
        return DuckDBWarehouse.parse(output, temp_location)
    spellings = " or ".join(f"{warehouse.scheme}:{warehouse.place}" for warehouse in WAREHOUSES)
    raise ValueError(f"output must be {spellings}. Received: {output!r}")
