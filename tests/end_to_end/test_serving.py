"""The real server, as a process: each route gives the count of `repcount count`, and the second answer is from the tables."""

import json
import shutil
import subprocess
import sys

import pytest
import requests

from demo.draw_videos import draw_videos
from tests.support.runs import ROOT
from tests.support.serving import ServerProcess
from tests.support.warehouses import read
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

pytestmark = pytest.mark.slow


def get_count(server, path):
    return requests.get(f"{server.url}/count", params={"name": path.name}, timeout=120)


def get_whole_path(server, path):
    return requests.get(f"{server.url}/count", params={"name": str(path)}, timeout=120)


def post_count(server, path):
    return requests.post(f"{server.url}/count", json={"name": path.name}, timeout=120)


def predict(server, path):
    response = requests.post(f"{server.url}/predict", json={"instances": [{"video_uri": path.name}]}, timeout=120)
    return unpacked(response, "predictions")


def call_remote_function(server, path):
    response = requests.post(f"{server.url}/bigquery", json={"calls": [[path.name]]}, timeout=120)
    return unpacked(response, "replies")


def unpacked(response, name):
    """Returns a response with the only record of its list in the place of its body."""
    (record,) = response.json()[name]
    response._content = json.dumps(record).encode()
    return response


ROUTES = [get_count, get_whole_path, post_count, predict, call_remote_function]
"""Functions that ask for a video by one of the routes, and return the response with its record as JSON."""


def repcount(*words):
    """Runs a command as a process; returns what it prints."""
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def test_every_route_counts_as_repcount_count_does_and_the_second_answer_is_from_the_tables(tmp_path):
    folder = tmp_path / "videos"
    draw_videos(tmp_path / "drawn")
    folder.mkdir()
    videos = [shutil.copy(tmp_path / "drawn" / "squats.mp4", folder / f"{ask.__name__}.mp4") for ask in ROUTES]
    (folder / "bad.mp4").write_text("no video")
    lines = repcount("count", "--quiet", "--json", *videos).splitlines()
    expected = [without(json.loads(line), "wall_sec") for line in lines]
    tables = f"duckdb:{tmp_path / 'counts.duckdb'}"
    with ServerProcess("--base", folder, "--output", tables) as server:
        server.wait_ready()
        for source in ("counted", "tables"):
            for ask, video, record in zip(ROUTES, videos, expected, strict=True):
                response = ask(server, video)
                assert response.status_code == 200, response.text
                assert response.json()["source"] == source, ask
                assert without(response.json(), "source", "wall_sec") == record, ask
            failed = get_count(server, folder / "bad.mp4")
            assert (failed.status_code, failed.json()["code"], failed.json()["source"]) == (422, "NOT_A_VIDEO", source)
        with open(videos[0], "rb") as file:  # is in no table, however often it comes
            uploaded = requests.post(f"{server.url}/count", files={"video": ("mine.mp4", file)}, timeout=120)
        assert uploaded.status_code == 200
        assert without(uploaded.json(), "wall_sec") == {**expected[0], "video_uri": "mine.mp4", "source": "counted"}
        assert server.end() == 0
    # The keys are those of a run, so a run has nothing left to count.
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    assert len(read(warehouse, "video_uri", "video_counts")) == len(videos)
    printed = repcount("run", "--quiet", "--input", folder, "--output", tables)
    assert f"listed {len(videos) + 1} = counted 0 + failed 0 + skipped {len(videos) + 1}" in printed
