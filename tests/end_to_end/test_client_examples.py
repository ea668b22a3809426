"""The clients in docs/serving.md run as they are written there, against a real server."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.markdown import ROOT
from tests.support.serving import Served
from tests.support.videos import draw_video

SECTION = re.search(
    r"^## Clients\n(.*?)^## ", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
)[1]
PROGRAMS = {"sh": ["bash", "-c"], "python": [sys.executable, "-c"], "javascript": ["node", "--input-type=module", "--eval"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a video where the examples say that it is, and a server."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "demo" / "videos").mkdir(parents=True)
    draw_video(folder / "demo" / "videos" / "squats.mp4", 100)
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with Served() as served:
        yield served


def run(language, folder, served):
    """Runs an example, whose port alone is replaced; returns its text and what it prints."""
    (example,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)
    command = PROGRAMS[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    assert example.count("127.0.0.1:8080") == 1
    code = example.replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
    done = subprocess.run([*command, code], cwd=folder, check=True, capture_output=True, text=True, timeout=60)
    return example, done.stdout


@pytest.mark.parametrize("language", PROGRAMS)
def test_each_client_prints_the_count_in_five_lines(language, folder, served):
    example, printed = run(language, folder, served)
    assert len([line for line in example.splitlines() if line.strip()]) == 5
    found = json.loads(printed)
    assert (found["count_rounded"] if isinstance(found, dict) else found) == 5


def test_python_and_javascript_print_why_a_video_has_no_count(tmp_path, served):
    (tmp_path / "demo" / "videos").mkdir(parents=True)
    (tmp_path / "demo" / "videos" / "squats.mp4").write_text("no video")
    for language in ("python", "javascript"):
        _, printed = run(language, tmp_path, served)
        assert "video" in printed
        assert not printed[0].isdigit()
