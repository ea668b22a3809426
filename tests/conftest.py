"""Fixtures that several test files share."""

import logging
import os
import signal
import types
from pathlib import Path

import numpy as np
import pytest

from tests.google_cloud import servers
from tests.reference import checkpoint_layout
from tests.support.cloud_storage import CloudStorage


def pytest_configure():
    """Shares the cores among the processes that run tests side by side, and makes signals do what they do at a prompt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background job; programs would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Returns the number of test processes: three for two cores, since tests wait for others; one a core for slow tests."""
    cores = os.cpu_count() or 1
    return cores if config.getoption("markexpr") == "slow" else -(-3 * cores // 2)


@pytest.fixture(autouse=True)
def _logging_levels():
    """Restores the levels that `repcount` sets for its process, such as `--quiet` does, so that no test changes another."""
    loggers = [logging.getLogger(name) for name in (None, "matplotlib", "urllib3.connectionpool")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def no_home(monkeypatch):
    """Makes this process one of a user without a home, as in a container that runs as a user whom it does not know."""

    def find_nobody(user_id):
        raise KeyError(f"getpwuid(): uid not found: {user_id}")

    monkeypatch.setattr("pwd.getpwuid", find_nobody)
    for variable in ("HOME", "XDG_CACHE_HOME", "REPCOUNT_CACHE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def standin_2020(tmp_path_factory):
    """Prefix of a stand-in for `ckpt-88`: its layout, with the values that the golden files were made with (103 MB)."""
    return checkpoint_layout.write_checkpoint("2020", str(tmp_path_factory.mktemp("repnet_2020")))


@pytest.fixture(scope="session")
def standin_2025(tmp_path_factory):
    """Prefix of a stand-in for `ckpt-70`, likewise."""
    return checkpoint_layout.write_checkpoint("2025", str(tmp_path_factory.mktemp("repnet_2025")))


@pytest.fixture(scope="session")
def tiny_network():
    """The network of `checkpoints.TINY_PRESET` with random weights, not to be changed."""
    from model import checkpoint
    from model.network import RepNet
    from tests.support import checkpoints

    network = RepNet(checkpoints.TINY)
    checkpoint.assign(network, checkpoints.random_arrays(network))
    return network


@pytest.fixture
def tiny_weights(tiny_network, tmp_path):
    """Path of the weights of `tiny_network`, saved in our own format."""
    from model import presets
    from tests.support import checkpoints

    path = tmp_path / "tiny.safetensors"
    presets.save_weights(path, tiny_network, checkpoints.TINY_PRESET, training={"steps": 3})
    return path


@pytest.fixture
def cloud_storage(monkeypatch):
    """A Cloud Storage server on loopback that the official client in this process uses."""
    server = CloudStorage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def cloud_servers(tmp_path_factory):
    """Servers on loopback that speak as Cloud Storage and BigQuery do."""
    if not servers.is_installed():
        pytest.skip("the servers that stand in for Google Cloud are not installed: `make test` does that")
    with servers.Servers(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def cloud(cloud_servers, monkeypatch):
    """A bucket and a data set of the test's own, that the official clients in this process find."""
    yield from _new_cloud(cloud_servers, monkeypatch)


@pytest.fixture(scope="module")
def module_cloud(cloud_servers):
    """The same for the tests of a file, which only read what a fixture of the file writes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield from _new_cloud(cloud_servers, monkeypatch)


def _new_cloud(cloud_servers, monkeypatch):
    """Yields the value of `cloud`; afterwards, the servers' proxies forget what they saw."""
    for name, value in cloud_servers.variables.items():
        monkeypatch.setenv(name, value)
    # The clients look for more about the service account where there is no network, say so, and go on.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    yield servers.Cloud(cloud_servers)
    for proxy in (cloud_servers.storage, cloud_servers.bigquery):
        proxy.clear()


@pytest.fixture
def hasty_retries(monkeypatch):
    """The clock by which Google's clients try again jumps over the time that they would wait."""
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda sec: now.__setitem__(0, now[0] + sec))
    monkeypatch.setattr("google.api_core.retry.retry_unary.time", clock)
    monkeypatch.setattr("google.api_core.retry.retry_base.time", clock)


@pytest.fixture
def patient_header_sample(monkeypatch):
    """Lets the headers of a sample take the time that they need on a busy machine."""
    from transforms.decoding import header_sample

    monkeypatch.setattr(header_sample, "_HEADER_SEC", 600.0)
    monkeypatch.setattr(header_sample, "_SAMPLE_SEC", 600.0)


@pytest.fixture(scope="session")
def golden():
    """Reads a golden file by its name without `golden_` and the suffix, such as "model_2020"."""
    folder = Path(__file__).parent / "reference"
    return lambda name: np.load(folder / f"golden_{name}.npz")
