"""The data set, tables and views in BigQuery: how they are created, and how existing ones differ from the schema."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transforms.warehouse.base import TableOptions, WarehouseError
from transforms.warehouse.schema import FRAME_CURVES, TABLES, Column, Mode, Table
from transforms.warehouse.views import VIEWS, View

if TYPE_CHECKING:
    from google.cloud import bigquery

_TYPE_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "RECORD": "STRUCT", "BOOLEAN": "BOOL"}
"""Legacy names of types, which the service still returns."""

DAY_MSEC = 24 * 3600 * 1000


@dataclasses.dataclass(frozen=True)
class Change:
    """A request that upgrades the data set.

    Attributes:
      line: Description of the change for people; "" if it is not worth one.
      apply: Sends the request; does nothing if an earlier change includes this one.
    """

    line: str
    apply: Callable[[], object]


def create_dataset(client: bigquery.Client, dataset_id: str, location: str) -> None:
    """Creates a data set in a region, unless it exists."""
    from google.cloud import bigquery

    dataset = bigquery.Dataset(dataset_id)
    dataset.location = location
    client.create_dataset(dataset, exists_ok=True)


def find_changes(client: bigquery.Client, dataset_id: str, options: TableOptions) -> list[Change]:
    """Returns the requests that add missing tables and columns, set options, and recreate outdated views.

    Raises:
      WarehouseError: A table lacks a REQUIRED column or has another one, has a column of another type or another partitioning,
        or is a view.
    """
    from google.api_core.exceptions import NotFound

    changes: list[Change] = []
    has_new_columns = False
    for table in TABLES:
        try:
            found = client.get_table(f"{dataset_id}.{table.name}")
        except NotFound:
            created = _new_table(dataset_id, table, options)
            create = functools.partial(client.create_table, created, exists_ok=True)
            changes.append(Change(f"create table {table.name}", create))
            continue
        if found.table_type != "TABLE":
            raise WarehouseError(f"table {table.name} must be a table. Received: {found.table_type}")
        _check_partitions(table, found)
        fields, lines = merge_fields(table.name, list(found.schema), table.columns)
        has_new_columns |= any(line.startswith("add ") for line in lines)
        changed = ["schema"] if lines else []
        if lines:
            found.schema = fields
        if found.description != table.description:
            found.description = table.description
            lines.append(f"describe table {table.name}")
            changed.append("description")
        option_lines, attributes = _set_options(table, found, options)
        if lines or option_lines:
            first, *rest = lines + option_lines
            changes.append(Change(first, functools.partial(client.update_table, found, changed + attributes)))
            changes += [Change(line, _nothing) for line in rest]
    for view in VIEWS:
        changes += _find_view_changes(client, dataset_id, view, has_new_columns)
    return changes


def merge_fields(
    path: str, found: Sequence[bigquery.SchemaField], columns: Sequence[Column]
) -> tuple[list[bigquery.SchemaField], list[str]]:
    """Returns a table's fields with missing ones added and descriptions updated, and a line for each change.

    Raises:
      WarehouseError: A column has another type or mode, a REQUIRED one is missing, or there is one that a run cannot fill.
    """
    from google.cloud import bigquery

    existing = {field.name: field for field in found}
    merged = {field.name: field for field in found}  # columns that the schema does not know stay unchanged
    lines = []
    known = {column.name for column in columns}
    for field in found:
        if field.name not in known and field.mode == Mode.REQUIRED.value and field.default_value_expression is None:
            raise WarehouseError(f"column {path}.{field.name} must be NULLABLE, since runs leave it out. Received: REQUIRED")
    for column in columns:
        where = f"{path}.{column.name}"
        field = existing.get(column.name)
        if field is None:
            if column.mode is Mode.REQUIRED:
                raise WarehouseError(f"table {path} must have a column {column.name}. Received: {', '.join(existing)}")
            merged[column.name] = to_field(column)
            lines.append(f"add column {where}")
            continue
        actual = f"{_TYPE_NAMES.get(field.field_type, field.field_type)} {field.mode}"
        if actual != f"{column.type.value} {column.mode.value}":
            raise WarehouseError(f"column {where} must be {column.type.value} {column.mode.value}. Received: {actual}")
        fields, more = merge_fields(where, list(field.fields), column.fields)
        if field.description != column.description:
            more.append(f"describe column {where}")
        if more:
            merged[column.name] = bigquery.SchemaField(
                field.name, field.field_type, mode=field.mode, description=column.description, fields=fields
            )
            lines += more
    return list(merged.values()), lines


def to_field(column: Column) -> bigquery.SchemaField:
    """Returns a column of the schema as a field of BigQuery's client."""
    from google.cloud import bigquery

    return bigquery.SchemaField(
        column.name,
        column.type.value,
        mode=column.mode.value,
        description=column.description,
        fields=[to_field(field) for field in column.fields],
    )


def _nothing() -> None:
    """Does nothing, for a change that an earlier request includes."""


def _new_table(dataset_id: str, table: Table, options: TableOptions) -> bigquery.Table:
    from google.cloud import bigquery

    created = bigquery.Table(f"{dataset_id}.{table.name}", [to_field(column) for column in table.columns])
    created.description = table.description
    if table.partition_column:
        created.time_partitioning = bigquery.TimePartitioning(
            type_=bigquery.TimePartitioningType.DAY, field=table.partition_column
        )
        created.clustering_fields = list(table.cluster_columns)
        _set_options(table, created, options)
    return created


def _set_options(table: Table, target: bigquery.Table, options: TableOptions) -> tuple[list[str], list[str]]:
    """Sets a table's options where they differ; returns a line for each, and the names of the attributes set."""
    lines, attributes = [], []
    days = options.partition_expiration_days
    if table.partition_column and days is not None:
        partitioning = target.time_partitioning
        msec = days * DAY_MSEC or None
        if partitioning.expiration_ms != msec:
            partitioning.expiration_ms = msec
            target.time_partitioning = partitioning
            lines.append(f"delete rows of {table.name} {days} days after upload" if days else f"keep rows of {table.name}")
            attributes.append("time_partitioning")
    wanted = options.require_partition_filter
    if table is FRAME_CURVES and wanted is not None and bool(target.require_partition_filter) != wanted:
        target.require_partition_filter = wanted
        lines.append(f"{'require' if wanted else 'do not require'} upload dates in queries of {table.name}")
        attributes.append("require_partition_filter")
    return lines, attributes


def _check_partitions(table: Table, found: bigquery.Table) -> None:
    actual = found.time_partitioning.field if found.time_partitioning else None
    if actual != table.partition_column:
        raise WarehouseError(f"table {table.name} must be partitioned by {table.partition_column}. Received: {actual}")


def _find_view_changes(client: bigquery.Client, dataset_id: str, view: View, has_new_columns: bool) -> list[Change]:
    from google.api_core.exceptions import NotFound
    from google.cloud import bigquery

    view_id, query = f"{dataset_id}.{view.name}", view.query(f"`{dataset_id}`.")
    created = bigquery.Table(view_id)
    created.view_query = query
    created.description = view.description
    try:
        found = client.get_table(view_id)
    except NotFound:
        return [Change(f"create view {view.name}", lambda: client.create_table(created, exists_ok=True))]
    is_same = found.view_query == query and found.description == view.description
    if is_same and not has_new_columns:
        return []
    # Even with the same query a view must be set again, since it keeps the columns that its tables had before.
    line = "" if is_same else f"change view {view.name}"
    found.view_query = query
    found.description = view.description
    return [Change(line, lambda: client.update_table(found, ["view_query", "description"]))]
