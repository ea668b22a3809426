"""Reads tables and views: how a query is spelled for a database, and which types its columns have in Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from transforms.warehouse.sql import Dialect

_STARTS = ("SELECT", "WITH")


def spell(dialect: Dialect, query: str, parameters: Mapping[str, Any]) -> str:
    """Returns a query as a database spells it: see `Warehouse.read`.

    Raises:
      ValueError: The query does not start with SELECT or WITH, or a list has no item, whose type would be unknown.
      KeyError: The query names a parameter that has no value.
    """
    if not query.lstrip().upper().startswith(_STARTS):
        raise ValueError(f"a query must start with SELECT or WITH. Received: {query!r:.100}")
    names = {}
    for name, value in parameters.items():
        if isinstance(value, list) and not value:
            raise ValueError(f"parameter {name} must have at least one item. Received: []")
        reference = dialect.parameter(name)
        names[name] = dialect.list_items.format(reference) if isinstance(value, list) else reference
    return query.format(dataset=dialect.dataset, **names)


def unify(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns rows with types that do not depend on the database: int64, float64, UTC microseconds, and lists of these.

    DuckDB would return sums of whole numbers and decimal literals as decimals, and both name list items differently.
    """
    schema = pa.schema([pa.field(field.name, _shared_type(field.type)) for field in batch.schema])
    return pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
    )


def _shared_type(found: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_list(found):
        return pa.list_(_shared_type(found.value_type))
    if types.is_struct(found):
        return pa.struct([pa.field(field.name, _shared_type(field.type)) for field in found])
    if types.is_timestamp(found):
        return pa.timestamp("us", tz="UTC" if found.tz else None)
    if types.is_integer(found) or (types.is_decimal(found) and found.scale == 0):
        return pa.int64()
    return pa.float64() if types.is_decimal(found) or types.is_floating(found) else found
