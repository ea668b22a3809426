"""Fixtures of several tests of training."""

import pytest
import tensorflow as tf

from model.training import processes
from tests.support.training import InProcess


@pytest.fixture
def eagerly():
    """Runs steps without compiling them, which takes much longer than a few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def drawn(monkeypatch):
    """The numbers of the groups drawn, in order, those drawn in advance included; they are drawn in this process."""
    monkeypatch.setattr(InProcess, "numbers", [])
    monkeypatch.setattr(processes, "ProcessPoolExecutor", InProcess)
    return InProcess.numbers
