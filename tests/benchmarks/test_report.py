"""Benchmarks report medians and the machine."""

import json

from benchmarks.report import describe_machine, median_sec, print_result


def test_work_is_called_as_often_as_asked_and_its_last_result_returned():
    results = iter(["first", "second", "last"])
    sec, result = median_sec(lambda: next(results), 3)
    assert result == "last"
    assert sec >= 0


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert set(machine) == {"processor", "cores", "matrix_flags", "system", "python"}


def test_the_result_is_one_line_of_json(capsys):
    print_result("memory", ratio=1.5)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"benchmark": "memory", "ratio": 1.5, "machine": describe_machine()}
