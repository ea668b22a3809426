"""A missing optional library is one line that says what to install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.extras import EXTRAS, explain_missing
from tests.support.marks import slow

ROOT = Path(__file__).parents[2]

DISTRIBUTIONS = {
    "apache_beam": "apache-beam",
    "google": "google-cloud-storage",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
}

BLOCKED = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r} and not name.startswith("google.protobuf") and name != "google":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing())
{code}
"""


def run_without(missing, code, *words):
    """Runs Python code in a process that cannot import some libraries."""
    command = [sys.executable, "-c", BLOCKED.format(missing=tuple(missing), code=code), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def repcount_without(missing, *words):
    """Runs a command in a process that cannot import some libraries."""
    return run_without(missing, "from pipeline.main import main; sys.exit(main(sys.argv[1:]))", *words)


def test_every_library_is_in_the_extra_that_is_named_for_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for module, extras in EXTRAS.items():
        for extra in extras:
            names = [re.split(r"[\[><=; ]", line)[0] for line in project["optional-dependencies"][extra]]
            assert DISTRIBUTIONS.get(module, module) in names
        assert DISTRIBUTIONS.get(module, module) not in str(project["dependencies"])


def test_another_missing_module_is_an_error_of_the_program():
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        explain_missing(ModuleNotFoundError("No module named 'no_such'", name="no_such"), ["count", "squats.mp4"])


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("jinja2", "report --output c.duckdb", "report"),
        ("jinja2", "view --output c.duckdb", "view"),
        ("jinja2", "-q serve --base videos", "serve"),
        ("uvicorn", "view --output c.duckdb", "view"),
        ("uvicorn", "serve --base videos", "serve"),
        ("duckdb", "view --output c.duckdb", "beam"),
        ("apache_beam", "run --input videos --output c.duckdb", "beam"),
        ("apache_beam", "count gs://gym/squats.mp4", "gcp"),
        ("pyarrow", "run --input videos --output=bigquery:my-project.gym", "gcp"),
        ("google.cloud", "count gs://gym/squats.mp4", "gcp"),
        ("matplotlib", "count gs://gym/squats.mp4 --plot a.png", "plot"),
    ],
)
def test_the_extra_that_is_named_has_as_much_of_what_the_command_needs_as_one_has(missing, words, extra):
    line = explain_missing(ModuleNotFoundError(f"No module named {missing!r}", name=missing), words.split())
    assert line == f"the extra {extra} is needed: pip install 'repcount[{extra}]'. Received: no module {missing}"


@pytest.mark.parametrize("command", ["run", "count", "evaluate", "cost", "model", "serve"])
def test_help_needs_no_extra(command):
    finished = repcount_without(EXTRAS, command, "--help")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("google", ["count", "gs://gym/squats.mp4"], "gcp"),
        ("jinja2", ["view", "--output", "counts.duckdb"], "view"),
        *slow(
            ("pyarrow", ["tables", "--output", "duckdb:counts.duckdb"], "beam"),
            ("duckdb", ["run", "--input", "*.mp4", "--output", "duckdb:counts.duckdb"], "beam"),
            ("apache_beam", ["count", "gs://gym/squats.mp4"], "gcp"),
        ),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(missing, words, extra):
    finished = repcount_without([missing], *words)
    assert finished.returncode == 2
    *_, line = finished.stderr.splitlines()
    advice = rf"the extra {extra} is needed: pip install 'repcount\[{extra}\]'\."
    assert re.fullmatch(rf"repcount {words[0]}: {advice} Received: no module {missing}\S*", line)


def test_workers_need_neither_duckdb_nor_plots():
    """A Dataflow worker without an image has the package's own dependencies and those of Beam's container."""
    finished = run_without(["duckdb", "matplotlib"], "import pipeline.graph; print('imported')")
    assert finished.stdout == "imported\n", finished.stderr
