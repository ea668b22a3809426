"""Fixtures of the tests of commands."""

import pytest

from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path):
    """Tables that do not exist yet, in a file of its own for each test."""
    return DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=60.0)


@pytest.fixture
def output(warehouse):
    """The option that names these tables."""
    return ("--output", f"duckdb:{warehouse.path}")
