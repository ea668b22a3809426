"""`repcount view` prints its address, serves until Ctrl-C, and refuses what it cannot show in one line."""

import os
import signal
import subprocess
import sys

import pytest
import requests

from pipeline.commands.view import describe
from tests.support.commands import repcount
from tests.support.runs import ROOT
from tests.support.samples import make_provenance, make_video_count
from tests.support.terminals import run_at_terminal
from tests.support.warehouses import commit
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def output(tmp_path):
    """Tables with one counted video."""
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    (tmp_path / "videos").mkdir()
    video = tmp_path / "videos" / "a.mp4"
    video.write_bytes(b"content")
    commit(warehouse, make_provenance(), make_video_count(str(video), os.stat(video).st_mtime_ns))
    return warehouse.path


@pytest.fixture
def start(output, tmp_path):
    """Starts the command in the folder of the tables; returns the process and its first line."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "pipeline", "view", "--output", output, "--no_browser", *arguments]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_address_is_one_line_and_ctrl_c_ends_it_at_once_though_a_video_plays(start, tmp_path):
    process, line = start()
    address = line.removesuffix("\n")
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("/")
    with open(tmp_path / "videos" / "a.mp4", "r+b") as video:
        video.truncate(1 << 30)  # more than the connection takes before it is read
    with requests.get(f"{address}video/0", stream=True, timeout=30) as playing:
        assert playing.raw.read(7) == b"content"
        process.send_signal(signal.SIGINT)
        output, messages = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output == ""
    assert messages.splitlines() == [
        f"repcount view: 1 video. Corrections go to {tmp_path}/labels.csv; paths start below {tmp_path}/videos. "
        "Ctrl-C ends it.",
        "repcount view: interrupted",
    ]


@pytest.mark.slow
def test_every_start_has_another_token_and_corrections_go_to_labels_csv_in_the_current_folder(start, tmp_path):
    _, first = start("-q")
    _, second = start("-q", "--videos", tmp_path)
    tokens = {address.strip().split("/")[3] for address in (first, second)}
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32
    for address, file in ((first, "a.mp4"), (second, "videos/a.mp4")):
        answer = requests.put(f"{address.strip()}api/videos/0/label", json={"count": 3}, timeout=30)
        assert answer.json()["label"] == 3
        assert f"{file},3" in (tmp_path / "labels.csv").read_text().splitlines()


def test_a_terminal_says_that_the_list_is_read(output):
    code = f"from pipeline.main import main; main(['view', '--output', {output!r}, '--labels', '/no/folder/labels.csv'])"
    _, written, shown = run_at_terminal(code)
    assert written == ""
    assert "Reading the list of videos …" in shown


@pytest.mark.parametrize(
    ("options", "display", "is_opened"), [([], ":0", True), (["--no_browser"], ":0", False), ([], "", False)]
)
def test_a_browser_is_opened_if_there_is_a_desktop(output, options, display, is_opened, monkeypatch, capsys, tmp_path):
    opened = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("pipeline.view.server.serve", lambda app, listener, is_verbose: listener.close())
    assert repcount("view", "--output", output, *options) == 0
    assert opened == ([capsys.readouterr().out.strip()] if is_opened else [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "70000"], "--port must be free, such as 0 for any free one: ports go up to 65535. Received: 70000"),
        (["--port", "-1"], "must be a whole number of at least 0"),
        (["--videos", "/elsewhere"], "--videos must be a folder that has videos of the tables, such as "),
        (["--labels", "/no/such/folder/labels.csv"], "--labels must be a file in an existing, writable folder. Received: "),
    ],
)
def test_an_invalid_option_is_one_line(output, options, said, capsys):
    assert repcount("view", "--output", output, *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("repcount view: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


@pytest.mark.parametrize("place", ["duckdb:{}/none.duckdb", "{}/none.duckdb"])
def test_tables_that_do_not_exist_are_one_line_and_are_not_made(tmp_path, place, capsys):
    assert repcount("view", "--output", place.format(tmp_path)) == 2
    assert "--output must name tables that a run has filled. Received: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_labels_of_other_videos_are_never_mixed_with_those_of_the_tables(output, tmp_path, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text("file,count\nmonday/x.mp4,3\n")
    assert repcount("view", "--output", output, "--labels", labels) == 2
    error = capsys.readouterr().err
    assert f"--videos must be the folder below which {labels} names videos, or --labels another file: none of its 1 " in error
    assert labels.read_text() == "file,count\nmonday/x.mp4,3\n"


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("/v", "repcount view: 1,234 videos. Corrections go to /l.csv; paths start below /v. Ctrl-C ends it."),
        (
            None,
            "repcount view: 1,234 videos. Corrections go to /l.csv; name the folder of the videos with --videos to correct "
            "counts. Ctrl-C ends it.",
        ),
    ],
)
def test_people_are_told_where_corrections_go(folder, line):
    assert describe(1234, "/l.csv", folder) == line
