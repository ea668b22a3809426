"""The list of benchmarks that `make bench` runs."""

import importlib

from benchmarks.suite.comparison import missing_figures
from benchmarks.suite.entries import ENTRIES
from benchmarks.suite.figures import FILE, ROOT, read_figures


def test_names_are_unique_and_each_has_a_module_and_something_to_show():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) >= 10
    for entry in ENTRIES:
        assert importlib.util.find_spec(f"benchmarks.{entry.arguments[0]}"), entry.name
        assert entry.comparisons, entry.name
        assert entry.command.startswith("python -m benchmarks.")


def test_every_figure_that_is_quoted_is_in_the_file():
    figures = read_figures(ROOT / FILE)
    measured = [entry for entry in ENTRIES if entry.name in figures]
    assert measured
    for entry in measured:
        assert list(missing_figures(entry.comparisons, figures[entry.name].results)) == [], entry.name


def test_every_record_of_the_file_belongs_to_a_benchmark():
    assert set(read_figures(ROOT / FILE)) <= {entry.name for entry in ENTRIES}
