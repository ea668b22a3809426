"""`make` keeps an environment that belongs to this folder, and makes any other one anew."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def checkout(tmp_path):
    """A folder with what `make setup` looks at, and an environment that was made for it before."""
    folder = tmp_path / "videos und ä"
    (folder / ".venv").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "locks", folder / "locks")
    for name in ("pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv" / "complete").write_text(f"cpu\n{folder}\n")
    return folder


def makes_anew(folder, *arguments):
    """Returns whether `make setup` would install anything."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "setup", *arguments]
    made = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True)
    return "Installing dependencies" in made.stdout


def test_an_environment_of_this_folder_is_kept(checkout):
    assert not makes_anew(checkout)


def test_an_environment_of_a_copied_or_renamed_folder_is_made_anew(checkout):
    # Its programs name the folder that it was made in, and would run the code there.
    copied = shutil.copytree(checkout, checkout.with_name("copy"))
    assert makes_anew(copied)
    assert makes_anew(checkout.rename(checkout.with_name("renamed")))


def test_an_environment_for_another_device_is_made_anew(checkout):
    assert makes_anew(checkout, "DEVICE=gpu")


def test_an_interrupted_setup_begins_again(checkout):
    (checkout / ".venv" / "complete").unlink()
    assert makes_anew(checkout)
