"""`repcount report` writes a page, or one line that says what there is."""

import os
import re
import subprocess
import sys

import duckdb
import pytest

from tests.support.commands import repcount
from tests.support.fake_run import run_fake
from tests.support.reports import OTHER, fill
from tests.support.runs import ROOT
from tests.support.videos import draw_video
from tests.support.warehouses import make_warehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    """Tables with two nights of a few videos that are nowhere, in the working directory."""
    monkeypatch.chdir(tmp_path)
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    fill(warehouse, 6, names=[f"/nowhere/{number}.mp4" for number in range(6)])
    return warehouse


def test_the_page_of_a_run_shows_its_videos_with_their_frames(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b <b>.mp4"):
        draw_video(tmp_path / "videos" / name, 90)
    (tmp_path / "videos" / "text.mp4").write_text("not a video")
    run = ["run", "--input", tmp_path / "videos", "--output", tmp_path / "counts.duckdb", "--show", "0"]
    assert run_fake(run) in (0, 1)
    capsys.readouterr()
    assert repcount("report", "--output", "counts.duckdb") == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.fullmatch(r"report\.html: \S+, 2 counted, 1 failed, \d+ kB\n", capsys.readouterr().out)
    assert text.count("data:image/jpeg;base64,") == 2
    assert "b &lt;b&gt;.mp4" in text
    assert "NOT_A_VIDEO" in text
    assert text.count('class="count"') == 2
    assert repcount("report", "--output", "counts.duckdb", "--no_thumbnails", "--to", "plain.html") == 0
    assert "data:image" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


def test_after_a_run_that_found_nothing_new_the_line_names_the_run_to_look_at(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_video(tmp_path / "a.mp4", 90)
    printed = []
    for _ in range(2):
        assert run_fake(["run", "--input", "a.mp4", "--output", "counts.duckdb", "--show", "0"]) == 0
        capsys.readouterr()
        assert repcount("report", "--output", "counts.duckdb", "--no_thumbnails") == 0
        printed.append(capsys.readouterr().out)
    first = re.fullmatch(r"report\.html: (\S+), 1 counted, 0 failed, \d+ kB\n", printed[0])
    assert first
    hint = f"Nothing was new: see --run {first[1]}, the last before it with results of this model"
    assert re.fullmatch(rf"report\.html: \S+, 0 counted, 0 failed, \d+ kB\. {hint}\n", printed[1])


@pytest.mark.slow
def test_the_page_of_bigquery_is_that_of_duckdb(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pages = {}
    for kind in ("duckdb", "bigquery"):
        warehouse = make_warehouse(kind, request)
        fill(warehouse, 20, names=[f"/nowhere/{number}.mp4" for number in range(20)])
        assert repcount("report", "--output", f"{kind}:{warehouse.name}", "--compare", OTHER, "--to", f"{kind}.html") == 0
        text = (tmp_path / f"{kind}.html").read_text(encoding="utf-8")
        pages[kind] = re.sub(r"<footer.*</footer>", "", text, flags=re.DOTALL)
    assert pages["duckdb"] == pages["bigquery"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run", "sunday"], "with 3 runs, of which the latest are night-2, night-1, trial, not 'sunday'"),
        (["--date", "2026-03-01"], "rows on 2 dates, of which the latest are 2026-01-01, 2025-12-31, not 2026-03-01"),
        (["--compare", "best"], "Received: 'best', and tables with repnet-2025"),
        (["--run", "night-2", "--date", "2026-01-01"], "not allowed with argument --run"),
        (["--date", "first"], "must be a day such as 2026-01-31. Received: 'first'"),
        (["--to", "no/such/folder/report.html"], "--to must be a file in an existing, writable folder"),
        (["--to", "."], "--to must be a file, not a folder"),
        (["--to", "./counts.duckdb"], "--to must be another file than the tables. Received: 'counts.duckdb'"),
    ],
)
@pytest.mark.usefixtures("warehouse")
def test_what_is_not_there_is_one_line_and_writes_nothing(arguments, expected, tmp_path, capsys):
    assert repcount("report", "--output", "counts.duckdb", *arguments) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["counts.duckdb"]


def test_tables_that_do_not_exist_are_one_line_and_stay_missing(tmp_path, capsys):
    assert repcount("report", "--output", tmp_path / "none.duckdb", "--to", tmp_path / "report.html") == 2
    error = capsys.readouterr().err
    assert error.startswith("repcount report: `repcount run` makes the tables")
    assert error.endswith(f"the database must exist. Received: {tmp_path / 'none.duckdb'}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_day_is_shown_with_the_day_before(warehouse, tmp_path):
    assert repcount("report", "--output", warehouse.path, "--date", "2026-01-01", "--no_thumbnails") == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>Videos of 2026-01-01</h1>" in text
    assert "beside it: 2025-12-31" in text


def test_older_tables_say_how_to_bring_them_up_to_date(warehouse, capsys):
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("DROP VIEW daily_summary")
    assert repcount("report", "--output", warehouse.path, "--no_thumbnails") == 2
    error = capsys.readouterr().err
    assert "`repcount tables` brings older ones up to date" in error
    assert error.count("\n") == 1


def test_the_file_of_the_tables_is_opened_to_read_only(warehouse, tmp_path, monkeypatch):
    monkeypatch.setattr(DuckDBWarehouse, "_connected", None)  # opens it for writing
    assert repcount("report", "--output", warehouse.path, "--no_thumbnails") == 0
    assert (tmp_path / "report.html").exists()


def test_the_help_says_where_frames_go(capsys):
    assert repcount("report", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "The frames are in that file and nowhere else; --no_thumbnails leaves them out." in text


def test_without_jinja_one_line_names_the_extra(warehouse, tmp_path):
    program = "import sys; sys.modules['jinja2'] = None; from pipeline.main import main; sys.exit(main(sys.argv[1:]))"
    found = subprocess.run(
        [sys.executable, "-c", program, "report", "--output", warehouse.path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith(
        "repcount report: the extra report is needed: pip install 'repcount[report]'"
    )


@pytest.mark.slow
def test_the_page_of_thousands_of_videos_is_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    fill(warehouse, 2000, names=[f"/nowhere/{number:04d}.mp4" for number in range(2000)])
    assert repcount("report", "--output", warehouse.path, "--compare", OTHER) == 0
    assert (tmp_path / "report.html").stat().st_size < 150_000
