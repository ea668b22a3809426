"""What workers get: a source distribution with the three packages and the shipped weights, and nothing else."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("model", "pipeline", "transforms")


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """The source distribution that Beam makes for Dataflow, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.npz", "videos")
    for entry in ROOT.iterdir():
        if entry.is_dir() and (entry.name in (*PACKAGES, "docs") or (entry / "__init__.py").exists()):
            shutil.copytree(entry, source / entry.name, ignore=ignored)
    for entry in ROOT.iterdir():
        if entry.is_file() and entry.suffix in ("", ".in", ".lock", ".md", ".py", ".sh", ".toml"):
            shutil.copy(entry, source / entry.name)
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(folder / "dist")]
    built = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (archive,) = (folder / "dist").iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


def _files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_it_holds_exactly_the_three_packages(distribution):
    folders = {path.parts[0] for path in _files(distribution) if len(path.parts) > 1}
    assert {name for name in folders if not name.endswith(".egg-info")} == set(PACKAGES)


def test_it_holds_no_tests(distribution):
    assert [path for path in _files(distribution) if "test" in str(path).lower()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_it_holds_every_module_the_weights_pages_and_the_marker_of_typed_packages(distribution, package):
    of_pages = ("static", "templates")
    shipped = {
        path
        for path in _files(ROOT / package)
        if path.suffix in (".py", ".typed") or path.parts[0] == "weights" or path.parent.name in of_pages
    }
    assert Path("py.typed") in shipped
    assert _files(distribution / package) == shipped


def test_it_carries_licence_and_notice(distribution):
    for name in ("LICENSE", "NOTICE"):
        assert (distribution / name).read_bytes() == (ROOT / name).read_bytes()


def test_its_metadata_name_the_command_and_the_licence(distribution):
    metadata = (distribution / "PKG-INFO").read_text(encoding="utf-8")
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: <3.14,>=3.11" in metadata
    (entry_points,) = distribution.rglob("entry_points.txt")
    assert "repcount = pipeline.main:main" in entry_points.read_text(encoding="utf-8")


def test_every_top_level_folder_of_code_is_known_to_the_distribution_or_left_out_on_purpose():
    code = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert code - set(PACKAGES) <= {"benchmarks", "demo", "deploy", "image", "tests"}


def test_the_archive_unpacks_below_one_folder_named_after_the_version(distribution):
    assert PurePosixPath(distribution.name).name.startswith("repcount-")
