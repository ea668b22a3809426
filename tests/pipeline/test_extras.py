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
    for module, extra in EXTRAS.items():
        names = [re.split(r"[\[><=; ]", line)[0] for line in project["optional-dependencies"][extra]]
        assert DISTRIBUTIONS.get(module, module) in names
        assert DISTRIBUTIONS.get(module, module) not in str(project["dependencies"])


def test_another_missing_module_is_an_error_of_the_program():
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        explain_missing(ModuleNotFoundError("No module named 'no_such'", name="no_such"))


@pytest.mark.parametrize("command", ["run", "count", "evaluate", "cost", "model", "serve"])
def test_help_needs_no_extra(command):
    finished = repcount_without(EXTRAS, command, "--help")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("google", ["count", "gs://gym/squats.mp4"]),
        *slow(
            ("pyarrow", ["tables", "--output", "duckdb:counts.duckdb"]),
            ("duckdb", ["run", "--input", "*.mp4", "--output", "duckdb:counts.duckdb"]),
            ("apache_beam", ["count", "gs://gym/squats.mp4"]),
        ),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(missing, words):
    finished = repcount_without([missing], *words)
    assert finished.returncode == 2
    *_, line = finished.stderr.splitlines()
    advice = rf"the extra {EXTRAS[missing]} is needed: pip install 'repcount\[{EXTRAS[missing]}\]'\."
    assert re.fullmatch(rf"repcount {words[0]}: {advice} Received: no module {missing}\S*", line)


def test_workers_need_neither_duckdb_nor_plots():
    """A Dataflow worker without an image has the package's own dependencies and those of Beam's container."""
    finished = run_without(["duckdb", "matplotlib"], "import pipeline.graph; print('imported')")
    assert finished.stdout == "imported\n", finished.stderr
