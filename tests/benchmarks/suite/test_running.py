"""Benchmarks run one after another; one that fails, or an interruption, costs no other its figures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.suite.comparison import Comparison, figure
from benchmarks.suite.entries import Entry
from benchmarks.suite.figures import merge_record, read_figures
from benchmarks.suite.running import BenchmarkError, clock, parse_result, run_entries, run_entry
from tests.support.figures import MACHINE, record

FIRST, SECOND, THIRD = (Entry(name, (name,), ()) for name in ("first", "second", "third"))

PRINT_RESULT = f"""
import json, sys
print("half done")
print(json.dumps({{"benchmark": "first", "arguments": sys.argv[1:], "machine": {MACHINE!r}}}))
"""


def make_benchmark(root, name, code):
    folder = root / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / f"{name}.py").write_text(code, encoding="utf-8")


def test_each_figure_is_kept_as_soon_as_it_is_there(tmp_path):
    path, known, said = tmp_path / "benchmarks.json", [], []

    def run(entry):
        known.append(sorted(read_figures(path)))
        return record({"name": entry.name})

    assert run_entries([FIRST, SECOND], path, run, said.append) == []
    assert known == [[], ["first"]]
    assert said == [
        "[1/2, 0:00] first: python -m benchmarks.first",
        "[2/2, 0:00] second: python -m benchmarks.second",
        "2 of 2 benchmarks in 0:00",
    ]


@pytest.mark.parametrize(("precision", "ran"), [("bfloat16", ["first", "fast"]), ("float32", ["first"])])
def test_what_needs_bfloat16_is_left_out_where_it_is_emulated(precision, ran, tmp_path):
    path, said = tmp_path / "benchmarks.json", []
    entries = [FIRST, Entry("fast", ("fast",), (), needs_bfloat16=True)]
    assert run_entries(entries, path, lambda entry: record({"name": entry.name}), said.append, precision) == []
    assert sorted(read_figures(path)) == sorted(ran)
    left_out = "fast is left out: this processor has no instructions that multiply bfloat16"
    assert (left_out in said) == (precision == "float32")


def test_the_others_run_after_one_that_fails_and_its_old_figures_stay(tmp_path):
    path, said = tmp_path / "benchmarks.json", []
    merge_record(path, "second", record({"old": 1}))

    def run(entry):
        if entry is SECOND:
            raise BenchmarkError("exit code 1")
        return record({"new": 1})

    assert run_entries([FIRST, SECOND, THIRD], path, run, said.append) == ["second"]
    assert {name: kept.results for name, kept in read_figures(path).items()} == {
        "first": {"new": 1},
        "second": {"old": 1},
        "third": {"new": 1},
    }
    assert "second failed: exit code 1" in said
    assert "[2/3, 0:00] second, about 1:30: python -m benchmarks.second" in said


def test_an_interrupted_run_leaves_the_file_whole(tmp_path):
    path = tmp_path / "benchmarks.json"
    merge_record(path, "second", record({"old": 1}))

    def run(entry):
        if entry is SECOND:
            raise KeyboardInterrupt
        return record({"new": 1})

    with pytest.raises(KeyboardInterrupt):
        run_entries([FIRST, SECOND, THIRD], path, run, lambda line: None)
    assert {name: kept.results for name, kept in read_figures(path).items()} == {"first": {"new": 1}, "second": {"old": 1}}


def test_results_that_lack_a_quoted_figure_fail_by_name(tmp_path):
    said = []
    entry = Entry("first", ("first",), (Comparison("ours", "", figure("ours"), None, "s"),))
    assert run_entries([entry], tmp_path / "benchmarks.json", lambda entry: record({"other": 1}), said.append) == ["first"]
    assert "first: the results have no figure ours" in said


def test_a_benchmark_runs_with_its_arguments_and_its_last_line_is_the_result(tmp_path, capfd):
    make_benchmark(tmp_path, "first", PRINT_RESULT)
    made = run_entry(Entry("quick", ("first", "--seconds", "3"), ()), tmp_path)
    assert made.results == {"arguments": ["--seconds", "3"]}
    assert made.machine == MACHINE
    assert made.command == "python -m benchmarks.first --seconds 3"
    assert made.seconds >= 0
    assert made.other_cores is None or made.other_cores >= 0
    assert capfd.readouterr().out == "  half done\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('half done'); sys.exit('the counts differ')", r"exit code 1\n  the counts differ"),
        ("print('done')", r"the last line must be a JSON object with benchmark and machine\. Received: done"),
        ("pass", r"the last line must be .* Received: $"),
    ],
)
def test_a_benchmark_without_a_result_fails_with_its_reason(code, message, tmp_path):
    make_benchmark(tmp_path, "first", code)
    with pytest.raises(BenchmarkError, match=message):
        run_entry(FIRST, tmp_path)


def test_an_interruption_ends_the_benchmark_and_its_children(tmp_path):
    make_benchmark(
        tmp_path,
        "first",
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=False)\n"
        "pathlib.Path('unfinished').write_text(str(child.pid))\n"
        "pathlib.Path('unfinished').rename('child')\n"
        "time.sleep(600)\n",
    )
    code = (
        "import sys; from pathlib import Path; from benchmarks.suite.entries import Entry;"
        "from benchmarks.suite.running import run_entry; run_entry(Entry('first', ('first',), ()), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stderr=subprocess.DEVNULL)
    while not (tmp_path / "child").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    child = int((tmp_path / "child").read_text())
    while _is_alive(child):
        time.sleep(0.05)


def _is_alive(pid):
    status = Path(f"/proc/{pid}/stat")
    if not Path("/proc").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("line", ["", "done", "[]", '{"benchmark": "first"}', '{"machine": {"processor": ""}}'])
def test_only_a_line_with_benchmark_and_machine_is_a_result(line):
    with pytest.raises(BenchmarkError, match="must be a JSON object with benchmark and machine"):
        parse_result(line)


def test_durations_are_minutes_and_seconds():
    assert [clock(seconds) for seconds in (0, 59.6, 754)] == ["0:00", "1:00", "12:34"]
