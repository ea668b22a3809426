"""Fixtures of the warehouse tests."""

import time
import types

import pytest
import tenacity.nap
from google.api_core.retry import retry_unary

from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """Makes retries of ours and of Google's clients wait a hundredth of their time."""
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: time.sleep(seconds / 100))
    for module in (tenacity.nap, retry_unary):
        monkeypatch.setattr(module, "time", clock)


@pytest.fixture
def warehouse(tmp_path):
    """Tables in a DuckDB file of the test's own that does not exist yet. `test_base.py` has one of each kind."""
    return DuckDBWarehouse(str(tmp_path / "counts.duckdb"), lock_timeout_sec=60.0)


@pytest.fixture
def unprepared(cloud):
    """Tables in BigQuery that do not exist yet."""
    return BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location)


@pytest.fixture
def prepared(unprepared):
    """Empty tables in BigQuery."""
    unprepared.prepare()
    return unprepared
