"""`python -m benchmarks` runs, lists and renders; a mistake is one line with exit code 2."""

import re

import pytest

from benchmarks import __main__ as program
from benchmarks.suite.entries import ENTRIES
from benchmarks.suite.figures import FILE
from tests.support.figures import make_checkout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "decoding", "speed"], r"--only must be one or more of decoding, .*\. Received: speed"),
        (["--check"], "--check goes with render"),
        (["bench"], "invalid choice: 'bench'"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_value(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(words)
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("python -m benchmarks: error: ")
    assert re.search(message, last)


def test_what_this_processor_cannot_measure_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(program, "best_precision", lambda: "float32")
    with pytest.raises(SystemExit) as ended:
        program.main(["--only", "decoding", "devices-bfloat16"])
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "--only devices-bfloat16 needs a processor with instructions that multiply bfloat16" in last


def test_all_benchmarks_are_listed_with_what_they_took(tmp_path, capsys):
    assert program.main(["--list"], make_checkout(tmp_path)) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [entry.name for entry in ENTRIES]
    assert any(line.startswith("reading ") and " 1:30 " in line for line in lines)
    assert last.split() == ["all", "1:30"]


def test_a_run_renders_at_its_end_and_a_failure_is_exit_code_1(tmp_path, monkeypatch, capsys):
    root, ran = make_checkout(tmp_path), []

    def run_entries(entries, path, say):
        ran.extend(entry.name for entry in entries)
        assert path == root / FILE
        return ["reading"]

    monkeypatch.setattr(program, "run_entries", run_entries)
    assert program.main(["--only", "reading", "progress"], root) == 1
    assert ran == ["progress", "reading"]
    assert capsys.readouterr().err == "failed: reading\n"
    assert "2.40× as fast" in (root / "README.md").read_text(encoding="utf-8")


def test_a_check_writes_nothing_and_names_outdated_pages(tmp_path, capsys):
    root = make_checkout(tmp_path)
    before = (root / "README.md").read_text(encoding="utf-8")
    assert program.main(["render", "--check"], root) == 1
    assert "README.md does not show the figures of docs/benchmarks.json" in capsys.readouterr().err
    assert (root / "README.md").read_text(encoding="utf-8") == before
    assert program.main(["render"], root) == 0
    assert program.main(["render", "--check"], root) == 0


def test_a_file_of_figures_that_cannot_be_read_is_one_line(tmp_path, capsys):
    root = make_checkout(tmp_path)
    (root / FILE).write_text("{", encoding="utf-8")
    assert program.main(["render"], root) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m benchmarks: ")
    assert "benchmarks.json must be written by `python -m benchmarks`. Received: " in line


def test_an_interrupted_run_is_exit_code_130(tmp_path, monkeypatch, capsys):
    def run_entries(entries, path, say):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "run_entries", run_entries)
    assert program.main([], make_checkout(tmp_path)) == 130
    assert capsys.readouterr().err.startswith("Interrupted.")
