"""Fixtures of the warehouse tests."""

import time
import types

import pytest
import tenacity.nap
from google.api_core.retry import retry_unary


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """Makes retries of ours and of Google's clients wait a hundredth of their time."""
    clock = types.SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: time.sleep(seconds / 100))
    for module in (tenacity.nap, retry_unary):
        monkeypatch.setattr(module, "time", clock)
