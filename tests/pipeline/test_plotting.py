"""Pictures are the same wherever they are drawn."""

import os
import subprocess
import sys

import pytest

DRAW = """
import pathlib, sys
from pipeline import main, plotting
main.set_up_logging()
plotting.import_matplotlib()
from matplotlib.figure import Figure
with plotting.style():
    figure = Figure(figsize=(2, 2))
    figure.add_subplot(title="squats").plot([1, 3, 2])
plotting.save(figure, pathlib.Path(sys.argv[1]))
"""

SETTINGS = """
backend: TkAgg
text.usetex: True
figure.dpi: 300
savefig.dpi: 30
savefig.bbox: tight
savefig.transparent: True
lines.linewidth: 9
nosuch: 1
"""


def draw(path, **environment):
    """Draws a picture in a process of its own that prints nothing, and returns the file's bytes."""
    words = [sys.executable, "-c", DRAW, str(path)]
    finished = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": os.getcwd(), **environment}, capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["backend", "settings", "home"])
def test_a_picture_is_the_same_whatever_the_users_matplotlib_is_set_to(tmp_path, name):
    settings, no_folder = tmp_path / "matplotlibrc", tmp_path / "file"
    settings.write_text(SETTINGS)
    no_folder.touch()
    environment = {
        "backend": {"MPLBACKEND": "nonsense"},
        "settings": {"MATPLOTLIBRC": str(settings)},
        "home": {variable: str(no_folder) for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")},
    }[name]
    assert draw(tmp_path / "changed.png", **environment) == draw(tmp_path / "plain.png")
