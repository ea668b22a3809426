"""Fixtures that several test files share."""

from pathlib import Path

import numpy as np
import pytest

from tests.cloud_storage import CloudStorage
from tests.reference import checkpoint_layout


@pytest.fixture(scope="session")
def standin_2020(tmp_path_factory):
    """Prefix of a stand-in for `ckpt-88`: its layout, with the values that the golden files were made with (103 MB)."""
    return checkpoint_layout.write_checkpoint("2020", str(tmp_path_factory.mktemp("repnet_2020")))


@pytest.fixture(scope="session")
def standin_2025(tmp_path_factory):
    """Prefix of a stand-in for `ckpt-70`, likewise."""
    return checkpoint_layout.write_checkpoint("2025", str(tmp_path_factory.mktemp("repnet_2025")))


@pytest.fixture
def cloud_storage(monkeypatch):
    """A Cloud Storage server on loopback that the official client in this process uses."""
    server = CloudStorage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def golden():
    """Reads a golden file by its name without `golden_` and the suffix, such as "model_2020"."""
    folder = Path(__file__).parent / "reference"
    return lambda name: np.load(folder / f"golden_{name}.npz")
