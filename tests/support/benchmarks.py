"""Runs a benchmark with small arguments."""

import json
import os
from unittest import mock


def run_benchmark(module, capsys, *arguments):
    """Runs the benchmark's `main` and returns its final line of JSON. Environment variables that it sets are restored."""
    with mock.patch.dict(os.environ):
        module.main(list(arguments))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["benchmark"] == module.__name__.rpartition(".")[2]
    assert result["machine"]["cores"] >= 1
    return result
