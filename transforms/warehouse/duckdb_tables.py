"""The tables of a DuckDB file: how columns are spelled, how a new file is created, and how an old one is upgraded."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import tempfile

import duckdb

from transforms.warehouse.base import WarehouseError
from transforms.warehouse.schema import TABLES, Column, ColumnType, Mode, Table
from transforms.warehouse.sql import Dialect
from transforms.warehouse.views import VIEWS, View

STORAGE_VERSION = "v1.4.0"
"""Oldest DuckDB that opens the files created here. Left to itself, DuckDB 2.0 writes files that 1.5 cannot open."""

DIALECT = Dialect(
    quote='"',
    parameter_sign="$",
    dataset="",
    list_items="(SELECT UNNEST({}))",
    no_texts="CAST([] AS VARCHAR[])",
    epoch_sec="EPOCH({})",
)
"""How DuckDB spells SQL."""

_MAGIC, _MAGIC_OFFSET = b"DUCK", 8
"""What DuckDB files have after a checksum, see DuckDB's documentation of its storage."""

_TYPES = {
    ColumnType.STRING: "VARCHAR",
    ColumnType.INT64: "BIGINT",
    ColumnType.FLOAT64: "DOUBLE",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}


@dataclasses.dataclass(frozen=True)
class Change:
    """A statement that upgrades a file.

    Attributes:
      line: Description of the change for people; "" if it is part of another change.
      statement: The SQL to execute.
    """

    line: str
    statement: str


def create_file(path: str) -> None:
    """Creates an empty DuckDB file in the format of `STORAGE_VERSION`, completely or not at all, unless the file exists.

    Raises:
      duckdb.Error: The file cannot be created.
      OSError: Likewise.
    """
    path = os.path.realpath(path)  # a link may lead to a file that is not there yet
    if os.path.exists(path):
        return
    with tempfile.TemporaryDirectory(prefix=".repcount-", dir=os.path.dirname(path)) as folder:
        created = os.path.join(folder, "created.duckdb")
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {_literal(created)} AS created (STORAGE_VERSION '{STORAGE_VERSION}')")
        try:
            os.link(created, path)
        except FileExistsError:  # another process has been faster
            return
        except OSError:  # the file system has no links
            with contextlib.suppress(FileExistsError), open(created, "rb") as content, open(path, "xb") as file:
                shutil.copyfileobj(content, file)


def open_file(path: str, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Opens a DuckDB file.

    Raises:
      WarehouseError: The file is empty or of another kind. DuckDB would read a CSV file as a table.
      duckdb.Error: DuckDB cannot open it.
      OSError: It is missing, or may not be read.
    """
    with open(path, "rb") as file:
        head = file.read(_MAGIC_OFFSET + len(_MAGIC))
    if not head:
        raise WarehouseError(f"the database must be a DuckDB file; delete this empty one, or choose another. Received: {path}")
    if not head.endswith(_MAGIC):
        raise WarehouseError(f"the database must be a DuckDB file. Received: {path}")
    return duckdb.connect(path, read_only=read_only)


def upgrade(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Creates, adds and recreates whatever `find_changes` finds, and returns a line for each change; raises the same."""
    changes = find_changes(connection)
    for change in changes:
        connection.execute(change.statement)
    return [change.line for change in changes if change.line]


def upgrade_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Creates missing tables and columns. Existing views and descriptions stay: another version that still runs may differ."""
    for change in _find_table_changes(connection):
        if not change.line.startswith("describe "):
            connection.execute(change.statement)


def find_changes(connection: duckdb.DuckDBPyConnection) -> list[Change]:
    """Returns the statements that add missing tables and columns and recreate outdated views.

    Raises:
      WarehouseError: A table lacks a REQUIRED column or has a column of another type.
    """
    changes = _find_table_changes(connection)
    query = "SELECT view_name, comment FROM duckdb_views() WHERE database_name = current_database() AND NOT internal"
    comments = dict(connection.execute(query).fetchall())
    for view in VIEWS:
        if comments.get(view.name) != _view_comment(view):
            verb = "change" if view.name in comments else "create"
            changes += _create_view(view, f"{verb} view {view.name}")
    return changes


def find_columns(name: str) -> list[str]:
    """Returns the columns of a table or view, which are the same in every database."""
    with duckdb.connect() as connection:
        upgrade(connection)
        return connection.table(name).columns


def view_query(view: View) -> str:
    """Returns the query of a view, named such that DuckDB before 2.0 finds the fields of unnested items too."""
    return view.query(item="item({})")


def quoted(name: str) -> str:
    """Returns a name quoted for DuckDB's SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def column_type(column: Column) -> str:
    """Returns the type of a column in DuckDB's SQL."""
    if column.type is ColumnType.STRUCT:
        item = f"STRUCT({', '.join(f'{quoted(field.name)} {column_type(field)}' for field in column.fields)})"
    else:
        item = _TYPES[column.type]
    return f"{item}[]" if column.mode is Mode.REPEATED else item


def column_definition(column: Column) -> str:
    """Returns name, type and constraint of a column, as in CREATE TABLE and ALTER TABLE … ADD COLUMN."""
    constraint = {Mode.REQUIRED: " NOT NULL", Mode.NULLABLE: "", Mode.REPEATED: " DEFAULT []"}[column.mode]
    return f"{quoted(column.name)} {column_type(column)}{constraint}"


def create_table(table: Table) -> str:
    """Returns the CREATE TABLE of a table."""
    definitions = ",\n  ".join(column_definition(column) for column in table.columns)
    return f"CREATE TABLE {quoted(table.name)} (\n  {definitions}\n)"


def _find_table_changes(connection: duckdb.DuckDBPyConnection) -> list[Change]:
    """Returns those of `find_changes` that are about tables, and views again if their tables get columns."""
    found = connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = current_schema()"
    ).fetchall()
    described = dict(
        connection.execute(
            "SELECT table_name, comment FROM duckdb_tables() "
            "WHERE database_name = current_database() AND schema_name = current_schema()"
        ).fetchall()
    )
    changes: list[Change] = []
    for table in TABLES:
        existing = {column_name: (data_type, comment) for name, column_name, data_type, comment in found if name == table.name}
        changes += _table_changes(table, existing)
        if described.get(table.name) != table.description:
            line = f"describe table {table.name}" if existing else ""
            changes.append(Change(line, f"COMMENT ON TABLE {table.name} IS {_literal(table.description)}"))
    if any(change.statement.startswith("ALTER") for change in changes):
        # A view keeps the columns that its tables had when it was created, and fails once they have more.
        for view in VIEWS:
            changes += _create_view(view, "")
    return changes


def _table_changes(table: Table, existing: dict[str, tuple[str, str]]) -> list[Change]:
    """Returns the changes to a table whose columns, with type and comment, are `existing`; empty for a missing table."""
    changes = [] if existing else [Change(f"create table {table.name}", create_table(table))]
    for column in table.columns:
        data_type, comment = existing.get(column.name, (None, None))
        if data_type is not None:
            additions = _missing_fields(table, column, data_type)
        elif not existing:
            additions = {}
        elif column.mode is Mode.REQUIRED:
            raise WarehouseError(f"table {table.name} must have a column {column.name}. Received: {', '.join(existing)}")
        else:
            additions = {column.name: column_definition(column)}
        for name, definition in additions.items():
            changes.append(Change(f"add column {table.name}.{name}", f"ALTER TABLE {table.name} ADD COLUMN {definition}"))
        if comment != column.description:
            line = f"describe column {table.name}.{column.name}" if data_type is not None else ""
            name = f"{table.name}.{quoted(column.name)}"
            changes.append(Change(line, f"COMMENT ON COLUMN {name} IS {_literal(column.description)}"))
    return changes


def _missing_fields(table: Table, column: Column, data_type: str) -> dict[str, str]:
    """Returns the definitions, for ALTER TABLE … ADD COLUMN, of the fields that an existing STRUCT column lacks, by path.

    Raises:
      WarehouseError: The column, or one of its fields, has another type.
    """
    actual, expected = duckdb.sqltype(data_type), duckdb.sqltype(column_type(column))
    if actual == expected:
        return {}
    if column.fields and actual.id == "list" and actual.child.id == "struct":
        types = dict(actual.child.children)
        if all(types.get(field.name, column_type(field)) == column_type(field) for field in column.fields):
            return {
                f"{column.name}.{field.name}": f"{quoted(column.name)}.element.{column_definition(field)}"
                for field in column.fields
                if field.name not in types
            }
    raise WarehouseError(f"column {table.name}.{column.name} must be {expected}. Received: {actual}")


def _create_view(view: View, line: str) -> list[Change]:
    return [
        Change(line, f"CREATE OR REPLACE VIEW {view.name} AS\n{view_query(view)}"),
        Change("", f"COMMENT ON VIEW {view.name} IS {_literal(_view_comment(view))}"),
    ]


def _view_comment(view: View) -> str:
    """Returns a view's description with a hash of its query, which tells an outdated view."""
    return f"{view.description} (Query {hashlib.sha256(view_query(view).encode()).hexdigest()[:8]}.)"


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
