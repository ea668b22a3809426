"""`repcount run`: every video is counted or failed, twice changes nothing, and a mistake is one line and exit code 2."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
import tensorflow as tf

from pipeline import execute
from tests.support.fake_run import run_fake
from tests.support.marks import slow
from tests.support.videos import draw_video
from transforms.warehouse.base import WarehouseError

ROOT = Path(__file__).parents[3]

LOADING = "Loading model lite …\n"

TABLES = ["--output", "bigquery:my-project.gym"]

ON_DATAFLOW = [
    *("--runner", "DataflowRunner", "--project", "my-project", "--region", "europe-west4"),
    *("--temp_location", "gs://gym-temp/repcount", *TABLES),
]


@pytest.fixture
def repcount(monkeypatch, tmp_path):
    """Runs `repcount run` with the fake model in place of lite; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_fake(["run", "--strides", "1,2", *arguments])


@pytest.fixture
def videos(tmp_path):
    """A folder with two good videos, one that is cut short, an empty file, text named .mp4, and a note."""
    folder = tmp_path / "videos"
    folder.mkdir()
    squats = draw_video(folder / "squats.mp4", 100)
    draw_video(folder / "rows.avi", 90)
    (folder / "cut.mp4").write_bytes(squats.read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    (folder / "note.txt").write_text("not even named like one")
    return folder


def rows(path, sql):
    with duckdb.connect(str(path), read_only=True) as database:
        return database.execute(sql).fetchall()


def test_another_backend_of_keras_fails_no_video(videos, tmp_path):
    command = [sys.executable, "-m", "pipeline", "run", "--input", str(videos), "--output", f"duckdb:{tmp_path}/counts.duckdb"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1:] == [
        "repcount run: Keras' backend must be tensorflow: set KERAS_BACKEND=tensorflow before Keras is imported. "
        "Received: 'jax'"
    ]
    assert not (tmp_path / "counts.duckdb").exists()


def test_every_video_is_counted_or_has_a_coded_failure(repcount, videos, tmp_path, capsys):
    assert repcount("--input", f"{videos}/**", "--output", "duckdb:counts.duckdb") == 0
    out = capsys.readouterr().out
    assert "listed 5 = counted 2 + failed 3 + skipped 0" in out
    assert re.search(r"frames/s \(decode [\d.]+ s, score [\d.]+ s, count [\d.]+ s, commit [\d.]+ s\)", out)
    assert f"tables: {tmp_path}/counts.duckdb" in out
    counted = rows("counts.duckdb", "SELECT video_uri, count_rounded FROM video_counts ORDER BY video_uri")
    assert counted == [(f"{videos}/rows.avi", 4), (f"{videos}/squats.mp4", 5)]
    failed = rows("counts.duckdb", "SELECT video_uri, code FROM failures ORDER BY video_uri")
    assert failed == [
        (f"{videos}/cut.mp4", "NOT_A_VIDEO"),
        (f"{videos}/empty.mp4", "EMPTY_FILE"),
        (f"{videos}/text.mp4", "NOT_A_VIDEO"),
    ]


def test_the_printed_table_names_videos_and_why_they_failed(repcount, videos, capsys):
    repcount("--input", videos, "--output", "duckdb:counts.duckdb")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line]
    assert [fields[0] for fields in lines] == sorted(str(path) for path in videos.iterdir() if path.suffix != ".txt")
    assert {fields[0]: fields[1:3] for fields in lines}[f"{videos}/squats.mp4"] == ["5", "5.0"]
    assert {fields[0]: fields[5] for fields in lines}[f"{videos}/empty.mp4"].startswith("EMPTY_FILE: ")


def test_the_curve_ends_at_the_count(repcount, videos):
    repcount("--input", videos / "squats.mp4", "--output", "duckdb:counts.duckdb")
    ((count,),) = rows("counts.duckdb", "SELECT count FROM video_counts")
    points = rows("counts.duckdb", "SELECT count FROM frame_curve_points ORDER BY frame")
    assert len(points) == 100
    assert points[-1][0] == pytest.approx(count)


def test_running_again_adds_no_row(repcount, videos):
    arguments = ("--input", videos, "--output", "duckdb:counts.duckdb")
    tables = ("video_counts", "frame_curves", "failures")
    assert repcount(*arguments) == 0
    before = [rows("counts.duckdb", f"SELECT count(*) FROM {table}") for table in tables]
    assert repcount(*arguments) == 0
    assert [rows("counts.duckdb", f"SELECT count(*) FROM {table}") for table in tables] == before
    assert rows("counts.duckdb", "SELECT count(*) FROM runs") == [(2,)]


@pytest.mark.slow
def test_other_options_are_other_rows(repcount, videos):
    thresholds = ("--video_threshold=0.2", "--video_threshold=0.3")
    for change in (*thresholds, "--overlap_from=2", "--repeat_below_fps=20", "--exact_decoding"):
        assert repcount("--input", videos / "squats.mp4", "--output", "duckdb:c.duckdb", change) == 0
    assert rows("c.duckdb", "SELECT count(DISTINCT options_hash) FROM video_counts") == [(5,)]


def test_a_row_says_what_it_depends_on(repcount, videos):
    repcount("--input", videos / "squats.mp4", "--output", "duckdb:c.duckdb", "--max_fps", "15", "--precision", "float32")
    columns = "model, model_sha256, options_json, precision, stride"
    ((model, sha256, options_json, precision, stride),) = rows("c.duckdb", f"SELECT {columns} FROM video_counts")
    assert (model, sha256, precision) == ("lite", "f" * 64, "float32")
    assert stride in (1, 2)
    options = json.loads(options_json)
    assert options["max_fps"] == 15
    assert options["strides"] == [1, 2]
    assert options["model_sha256"] == "f" * 64
    assert (options["overlap_from"], options["repeat_below_fps"]) == (4, 20)
    assert len(options["counting"]["certainty"]) == 5


def test_an_option_that_is_off_leaves_rows_as_those_from_before_there_was_such_an_option(repcount, videos):
    off = ("--overlap_from", "0", "--repeat_below_fps", "0")
    repcount("--input", videos / "squats.mp4", "--output", "duckdb:c.duckdb", *off)
    ((options_json,),) = rows("c.duckdb", "SELECT options_json FROM video_counts")
    assert not {"overlap_from", "repeat_below_fps", "exact"} & set(json.loads(options_json))


def test_a_chunk_that_cannot_be_scored_fails_its_video_only(repcount, tmp_path):
    draw_video(tmp_path / "good.mp4", 60)
    draw_video(tmp_path / "bright.mp4", draw=lambda index: np.full((48, 64, 3), 255, np.uint8))
    assert repcount("--input", "*.mp4", "--output", "duckdb:c.duckdb") == 0
    assert rows("c.duckdb", "SELECT stage, code FROM failures") == [("score", "SCORING_FAILED")]
    assert rows("c.duckdb", "SELECT count(*) FROM video_counts") == [(1,)]


def test_the_table_says_when_it_does_not_show_all(repcount, videos, capsys):
    repcount("--input", videos, "--output", "duckdb:c.duckdb", "--show", "2")
    assert "The first 2 of 5 videos." in capsys.readouterr().out
    repcount("--input", videos, "--output", "duckdb:c.duckdb", "--show", "5")
    assert "The first" not in capsys.readouterr().out


def test_nothing_is_left_beside_the_database(repcount, videos, tmp_path):
    repcount("--input", videos, "--output", "duckdb:out/counts.duckdb")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["counts.duckdb"]


class TestWhatIsCounted:
    ARGUMENTS = ("--input", "videos", "--output", "duckdb:c.duckdb")

    def results(self, capsys):
        return re.search(r"listed (\d+) = counted (\d+) \+ failed (\d+) \+ skipped (\d+)", capsys.readouterr().out).groups()

    def test_a_second_run_counts_nothing_says_so_and_is_green(self, repcount, videos, capsys):
        repcount(*self.ARGUMENTS)
        capsys.readouterr()
        assert repcount(*self.ARGUMENTS) == 0
        out, err = capsys.readouterr()
        assert "listed 5 = counted 0 + failed 0 + skipped 5" in out
        assert "nothing new: the tables have all these videos for this model and these options" in out
        assert err == "Loading model lite …\n"  # no job was started

    def test_only_what_was_uploaded_since_is_counted(self, repcount, videos, capsys):
        repcount(*self.ARGUMENTS)
        draw_video(videos / "new.mp4", 80)
        (videos / "squats.mp4").touch()  # another version, by its time
        capsys.readouterr()
        assert repcount(*self.ARGUMENTS) == 0
        assert self.results(capsys) == ("6", "2", "0", "4")

    def test_all_are_counted_where_that_is_asked_for(self, repcount, videos, capsys):
        repcount(*self.ARGUMENTS)
        capsys.readouterr()
        assert repcount(*self.ARGUMENTS, "--mode=all") == 0
        assert self.results(capsys) == ("5", "2", "3", "0")

    def test_failures_are_tried_again_by_their_code(self, repcount, videos, capsys):
        repcount(*self.ARGUMENTS)
        capsys.readouterr()
        assert repcount(*self.ARGUMENTS, "--requeue", "EMPTY_FILE") == 0
        assert self.results(capsys) == ("5", "0", "1", "4")

    def test_a_limit_leaves_the_rest_to_the_next_run(self, repcount, videos, capsys):
        assert repcount(*self.ARGUMENTS, "--limit", "3") == 0
        assert "2 more were left out by --limit" in capsys.readouterr().out
        assert repcount(*self.ARGUMENTS, "--limit", "3") == 0
        assert self.results(capsys)[3] == "3"
        assert rows("c.duckdb", "SELECT SUM(counted), SUM(failed), COUNT(*) FROM runs") == [(2, 3, 2)]

    def test_a_run_in_slices_prints_one_summary_of_all_videos(self, repcount, videos, capsys):
        assert repcount(*self.ARGUMENTS, "--slices", "2", "--show", "4") == 0
        out, err = capsys.readouterr()
        assert "listed 5 = counted 2 + failed 3 + skipped 0" in out
        assert "The first 4 of 5 videos." in out
        assert [line.split("\t")[0] for line in out.splitlines() if "\t" in line] == sorted(
            str(path) for path in videos.iterdir() if path.suffix != ".txt"
        )[:4]
        assert re.search(r"^slices in the table `runs`: 2, from (\S+)-1of2 to \1-2of2$", out, re.MULTILINE)
        assert re.findall(r"Slice \d of 2", err) == ["Slice 1 of 2", "Slice 2 of 2"]
        assert rows("c.duckdb", "SELECT SUM(listed), SUM(counted), SUM(failed), COUNT(*) FROM runs") == [(5, 2, 3, 2)]

    def test_only_uploads_of_some_days_are_counted(self, repcount, videos, capsys):
        assert repcount(*self.ARGUMENTS, "--updated_before", "2000-01-01") == 0
        assert "nothing to do: no video passes the filters" in capsys.readouterr().out
        assert repcount(*self.ARGUMENTS, "--updated_after", "2000-01-01T00:00:00Z") == 0
        assert self.results(capsys)[0] == "5"

    def test_folders_are_named_by_days(self, repcount, videos, tmp_path, capsys):
        (tmp_path / "2026-01-02").mkdir()
        (videos / "squats.mp4").rename(tmp_path / "2026-01-02" / "squats.mp4")
        output = ("--output", "duckdb:c.duckdb")
        assert repcount("--input", "{date}/**", "--dates", "2026-01-01..2026-01-31", *output) == 0
        assert self.results(capsys) == ("1", "1", "0", "0")

    @pytest.mark.parametrize("pattern", ["{date}/**", "{date}", "{date:%Y-%m}-02/*.mp4"])
    def test_a_day_without_uploads_is_green(self, repcount, videos, tmp_path, pattern, capsys, caplog):
        (tmp_path / "2026-01-02").mkdir()
        (videos / "squats.mp4").rename(tmp_path / "2026-01-02" / "squats.mp4")
        output = ("--output", "duckdb:c.duckdb")
        assert repcount("--input", pattern, "--dates", "2026-02-01..2026-02-03", *output) == 0
        assert f"no videos on the days of --dates: {pattern!r}" in caplog.text
        assert self.results(capsys) == ("0", "0", "0", "0")
        assert rows("c.duckdb", "SELECT listed FROM runs") == [(0,)]

    def test_a_prefix_that_exists_on_no_day_is_an_error(self, repcount, videos, tmp_path, capsys):
        (tmp_path / "2026-01-02").mkdir()
        (videos / "squats.mp4").rename(tmp_path / "2026-01-02" / "squats.mp4")
        assert repcount("--input", "uplods/{date}/**", "--dates", "7d", "--output", "duckdb:c.duckdb") == 2
        assert "matches nothing on any day" in capsys.readouterr().err
        assert not (tmp_path / "c.duckdb").exists()

    def test_a_dry_run_tells_what_there_is_to_do_and_writes_nothing(self, repcount, videos, tmp_path, capsys):
        assert repcount(*self.ARGUMENTS, "--dry_run") == 0
        size = sum(path.stat().st_size for path in videos.iterdir() if path.suffix != ".txt")
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert lines[:2] == ["would count 5 videos", f"bytes: {size:,}"]
        assert lines[2] == "minutes of video: about 0.1 (from 2 of 4 headers, 2 more could not be read)"
        assert err.splitlines()[1:] == ["Reading the headers of 4 videos …"]
        assert re.fullmatch(r"worker-hours: about 0\.00 \(two cores each, 10\.7 s of 1080p video a second\)", lines[3])
        assert [path.name for path in tmp_path.iterdir()] == ["videos"]

    @pytest.mark.slow
    def test_a_dry_run_knows_what_the_tables_have(self, repcount, videos, capsys):
        repcount(*self.ARGUMENTS)
        before = rows("c.duckdb", "SELECT * FROM runs")
        capsys.readouterr()
        for arguments, line in (
            ((), "would count 0 videos; 5 are in the tables already"),
            (
                ("--requeue", "EMPTY_FILE,NOT_A_VIDEO", "--limit", "2"),
                "would count 2 videos; 2 are in the tables already; 1 are left out by --limit",
            ),
            (("--mode", "all"), "would count 5 videos"),
        ):
            assert repcount(*self.ARGUMENTS, *arguments, "--dry_run") == 0
            out = capsys.readouterr().out
            assert out.splitlines()[0] == line
        seconds = sum(seconds for (seconds,) in rows("c.duckdb", "SELECT duration_sec FROM video_counts"))
        assert f"of 2 videos known, {seconds / 60:.1f} min" in out
        assert "at the pace of the earlier runs with this model" in out
        assert rows("c.duckdb", "SELECT * FROM runs") == before

    def test_rows_that_stay_those_of_another_run_are_told(self, repcount, videos, capsys):
        arguments = ("--input", videos / "squats.mp4", "--output", "duckdb:c.duckdb")
        repcount(*arguments)
        with duckdb.connect("c.duckdb") as database:  # as if that machine's clock had been ahead
            database.execute("UPDATE video_counts SET run_started = run_started + INTERVAL 1 YEAR")
        assert "the rows of another run" not in capsys.readouterr().out
        assert repcount(*arguments, "--mode", "all") == 0
        assert "1 video keeps the rows of another run: " in capsys.readouterr().out

    def test_what_is_left_out_is_told_with_its_reason(self, repcount, videos, capsys):
        for name in ("._squats.mp4", ".DS_Store"):
            (videos / name).touch()
        line = (
            "left out: 1 without a video's suffix (.txt 1), 2 companions or trash of an operating system; "
            "--suffixes and --all_files take other names"
        )
        assert repcount(*self.ARGUMENTS, "--dry_run") == 0
        assert capsys.readouterr().out.splitlines()[-1] == line
        assert repcount(*self.ARGUMENTS) == 0
        assert line in capsys.readouterr().out.splitlines()

    def test_companions_of_many_videos_do_not_turn_a_run_red(self, repcount, tmp_path, capsys):
        (tmp_path / "videos").mkdir()
        for number in range(21):
            (tmp_path / "videos" / f"._{number}.mp4").write_bytes(b"\0\5\x16\7")
        draw_video(tmp_path / "videos" / "squats.mp4", 70)
        assert repcount(*self.ARGUMENTS) == 0
        assert self.results(capsys) == ("1", "1", "0", "0")

    @pytest.mark.slow
    def test_other_suffixes_or_all_files_are_counted_if_asked_for(self, repcount, videos, capsys):
        (videos / "squats.mp4").rename(videos / "squats.VIDEO")
        assert repcount(*self.ARGUMENTS, "--suffixes", "video") == 0
        assert self.results(capsys) == ("1", "1", "0", "0")
        assert repcount(*self.ARGUMENTS, "--all_files", "--mode=all") == 0
        assert self.results(capsys) == ("6", "2", "4", "0")

    @pytest.mark.parametrize("name", ["gone.mp4", *slow("unmounted")])
    def test_what_cannot_be_looked_at_is_named_and_turns_a_run_red(self, repcount, videos, tmp_path, capsys, caplog, name):
        (videos / name).symlink_to(tmp_path / "nothing")
        assert repcount(*self.ARGUMENTS) == 1
        out, err = capsys.readouterr()
        assert err.splitlines()[-1] == (
            "repcount run: 1 matched names cannot be looked at, so videos may be missing; the rows of all others are committed"
        )
        assert "1 files that cannot be looked at" in out
        assert f"'{videos}/{name}' cannot be looked at: the link leads nowhere" in caplog.text
        assert rows("c.duckdb", "SELECT counted, failed FROM runs") == [(2, 3)]
        assert repcount(*self.ARGUMENTS, "--dry_run") == 1

    def test_too_many_failures_turn_a_run_red_when_all_is_committed(self, repcount, videos, capsys):
        for number in range(20):
            (videos / f"{number}.mp4").touch()
        assert repcount(*self.ARGUMENTS, "--show", "2") == 1
        out, err = capsys.readouterr()
        assert err.splitlines()[-1] == (
            "repcount run: 23 of 25 videos failed, more than the 5.0% that --max_failure_ratio allows. All rows are committed; "
            "the view failures_by_code shows the causes, and the log those of videos that keep a count"
        )
        assert "listed 25 = counted 2 + failed 23 + skipped 0" in out
        assert rows("c.duckdb", "SELECT failed FROM runs") == [(23,)]
        assert repcount(*self.ARGUMENTS, "--mode=all", "--max_failure_ratio", "0.95") == 0


@pytest.mark.slow
def test_the_billing_project_pays_for_listing_and_reading(repcount, videos, cloud_storage, capsys):
    cloud_storage.contents = {f"gym/{path.name}": path.read_bytes() for path in videos.iterdir()}
    cloud_storage.requester_pays = True
    arguments = ("--input", "gs://gym/**", "--output", "duckdb:c.duckdb")
    assert repcount(*arguments) == 2
    assert "--billing_project must name a project that pays" in capsys.readouterr().err
    assert repcount(*arguments, "--billing_project", "payer-project", "--dry_run") == 0
    assert "(from 2 of 4 headers, 2 more could not be read)" in capsys.readouterr().out
    assert repcount(*arguments, "--billing_project", "payer-project") == 0
    assert rows("c.duckdb", "SELECT counted, failed FROM runs") == [(2, 3)]
    assert "bucket" not in cloud_storage.requests


def test_a_run_that_is_interrupted_leaves_nothing_beside_the_database(repcount, videos, monkeypatch, capsys):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    removed = []
    monkeypatch.setattr(execute, "build_pipeline", interrupt)
    monkeypatch.setattr(
        "transforms.warehouse.duckdb_warehouse.DuckDBWarehouse.remove_staging", lambda self, run_id: removed.append(run_id)
    )
    assert repcount("--input", videos, "--output", "duckdb:out/counts.duckdb") == 130
    assert len(removed) == 1
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nothing/**", "--output", "duckdb:c.duckdb"], "matches nothing"),
        (["--input", "videos", "--output", "c.db"], "output must be duckdb:PATH or bigquery:PROJECT.DATASET"),
        (["--input", "videos", "--output", "bigquery:my-project.gym"], "--temp_location must be a folder of a bucket"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--mode", "some"], "--mode"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--mode", "all", "--requeue", "GONE"],
            "requeue works only with mode=new",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--label_regex", "(?P<user>"], "must be a regular expression"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--label_regex", "[^/]+/"], "must have named groups"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--requeue", "WENT"], "must be one of EMPTY_FILE, "),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--limit", "0"],
            "--limit: must be a whole number of at least 1. Received: '0'",
        ),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--limit", "9" * 5000],
            f"--limit: must be a whole number of at most 18 digits. Received: {'9' * 18}…. See",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--slices", "0"], "--slices must be at least 1"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--sample", "2"], "sample must be above 0 and at most 1"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--max_failure_ratio", "5"],
            "max_failure_ratio must be from 0 to 1",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--dates", "2026-01-31"], "--dates needs {date} in each input"),
        (["--input", "videos/{date}", "--output", "duckdb:c.duckdb"], "an input with {date} needs --dates"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--billing_project", "My Project"],
            "digits and '-', such as my-project. Received: 'My Project'",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--suffixes", "mp4,"], "must be ends of names such as .mp4,.mov"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--suffixes", ".mp4", "--all_files"],
            "--all_files leaves no use for --suffixes",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--updated_after", "now"], "must be a day such as 2026-01-31"),
        (["--input", "videos", "--output", "duckdb:videos"], "must be a file, not a folder"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--model", "heavy"], "a model is one of"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--no_such_option", "1"], "--no_such_option"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--max_fps", "0"], "max_fps must be a positive number"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--max_fps", "many"], "must be a number such as 0.5"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--max_failure_ratio", "5%"],
            "--max_failure_ratio: must be a number such as 0.5. Received: '5%'",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--sample", "nan"], "sample must be"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--strides", "1,1"], "strides must be different"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--strides", "1,x"], "must be whole numbers"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--video_threshold", "7"], "video_threshold"),
        (
            [*ON_DATAFLOW, "--input", "videos", "--output", "duckdb:c.duckdb"],
            "machines cannot reach",
        ),
        ([*ON_DATAFLOW, "--input", "videos"], "--input must be on gs://"),
        ([*ON_DATAFLOW, "--input", "gs://gym/**", "--no_wait", "--slices", "2"], "--no_wait submits a single one"),
        ([*ON_DATAFLOW, "--input", "gs://gym/**", "--model", "repnet-2020"], "repnet-2020.safetensors"),
        ([*ON_DATAFLOW, "--input", "gs://gym/**", "--model", "models/ckpt-70"], "Copy its files to a bucket"),
        (
            ["--input", "videos", "--output", "duckdb:c.duckdb", "--runner", "Nonsense"],
            "--runner must be FnApiRunner or DirectRunner",
        ),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--strides", "5,7,11"], "least common multiple of at most 24"),
        (["--input", "videos", "--output", "duckdb:c.duckdb", "--show", "-1"], "--show"),
        (["--output", "duckdb:c.duckdb"], "--input"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(repcount, videos, tmp_path, capsys, arguments, message):
    assert repcount("--quiet", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


@pytest.mark.parametrize("arguments", [["--no_such_option", "1"], ["--max_hours", "1"], ["--dates", "2026-01-31"]])
@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
def test_a_mistake_is_found_before_the_model_is_loaded(repcount, videos, capsys, arguments, dry_run):
    assert repcount("--input", videos, "--output", "duckdb:c.duckdb", *arguments, *dry_run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("repcount run: ")


def test_tables_that_cannot_be_made_are_a_mistake_before_any_work(repcount, videos, monkeypatch, capsys):
    def refuse(self):
        raise WarehouseError("the database's folder cannot be made. Received: c.duckdb")

    monkeypatch.setattr("transforms.warehouse.duckdb_warehouse.DuckDBWarehouse.prepare", refuse)
    assert repcount("--input", videos, "--output", "duckdb:c.duckdb") == 2
    assert capsys.readouterr().err == f"{LOADING}repcount run: the database's folder cannot be made. Received: c.duckdb\n"


def test_a_database_that_vanishes_under_the_run_is_exit_code_1(repcount, videos, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise WarehouseError("the disk is full. Received: c.duckdb")

    monkeypatch.setattr("transforms.warehouse.duckdb_warehouse.DuckDBWarehouse.run_totals", fail)
    assert repcount("--input", videos, "--output", "duckdb:c.duckdb") == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_gpu_that_is_required_is_looked_for_before_anything_begins(repcount, videos, capsys):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    assert repcount("--input", videos, "--output", "duckdb:counts.duckdb", "--require_gpu") == 2
    assert "a GPU is required" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("counts.duckdb").exists()


def test_a_sandbox_that_is_required_is_looked_for_before_anything_begins(repcount, videos, monkeypatch, capsys):
    monkeypatch.setattr("transforms.decoding.sandbox.has_seccomp", lambda: False)
    assert repcount("--input", videos, "--output", "duckdb:counts.duckdb", "--require_sandbox") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--require_sandbox needs a system that can filter system calls (seccomp)" in line
    assert "Received: " in line
    assert not Path("counts.duckdb").exists()


def test_a_gpu_that_is_to_decode_is_looked_for_before_anything_begins(repcount, videos, monkeypatch, capsys, tmp_path):
    arguments = ("--input", videos, "--output", "duckdb:counts.duckdb", "--decoder", "nvdec")
    monkeypatch.setattr("pipeline.options.has_nvidia_gpu", lambda: False)
    assert repcount(*arguments) == 2
    assert "--decoder nvdec needs a machine with an NVIDIA GPU" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setattr("pipeline.options.has_nvidia_gpu", lambda: True)
    monkeypatch.setattr("transforms.decoding.nvdec.has_decoders", lambda: False)
    assert repcount(*arguments) == 2
    assert "--decoder nvdec needs PyAV with FFmpeg's decoders av1_cuvid" in capsys.readouterr().err.splitlines()[-1]
    assert repcount(*arguments, "--exact_decoding") == 2
    assert not Path("counts.duckdb").exists()


@pytest.mark.slow
def test_where_a_video_is_decoded_is_no_reason_to_count_it_again(repcount, videos):
    for decoder in ("auto", "cpu"):
        assert repcount("--input", videos / "squats.mp4", "--output", "duckdb:c.duckdb", "--decoder", decoder) == 0
    assert rows("c.duckdb", "SELECT count(*) FROM video_counts") == [(1,)]
