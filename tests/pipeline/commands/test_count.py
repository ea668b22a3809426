"""`repcount count` prints what it counted, says which videos failed and why, and counts as the pipeline does."""

import csv
import dataclasses
import errno
import io
import json
import sys

import av
import numpy as np
import pytest

from model.errors import WeightsError
from pipeline.counter import count_video
from pipeline.main import main
from tests.support.scorers import FAKE_COUNTER
from tests.support.videos import draw_video
from transforms.machine_faults import MachineFaultError


@pytest.fixture
def count():
    """Runs the command with the fake model and returns its exit code."""

    def run(*arguments, load_counter=lambda args: FAKE_COUNTER):
        return main(["count", "--quiet", *map(str, arguments)], load_counter=load_counter)

    return run


def uniform(level):
    return lambda index: np.full((48, 64, 3), level, np.uint8)


def test_json_lines_tell_all_of_a_count(count, tmp_path, capsys):
    squats = draw_video(tmp_path / "squats.mp4", 100)
    still = draw_video(tmp_path / "still.mp4", 80, draw=uniform(0))
    assert count("--json", squats, still) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["video_uri"] == str(squats)
    assert (first["status"], first["flags"], first["certainty"]) == ("counted", [], None)
    assert (first["count"], first["count_rounded"]) == (pytest.approx(5.0), 5)
    assert 0.9 < first["confidence"] <= 1.0
    assert first["repetition_times_sec"] == pytest.approx([2 / 3, 4 / 3, 2, 8 / 3, 10 / 3])
    (segment,) = first["segments"]
    assert segment == pytest.approx(
        {"start_sec": 0, "end_sec": 10 / 3, "count": 5, "rate_hz": 1.5, "rate_per_minute": 90}, abs=1e-5
    )
    assert (first["mean_period_sec"], first["mean_rate_hz"]) == pytest.approx((2 / 3, 1.5), abs=1e-5)
    assert set(first["stride_scores"]) == {"1", "2"}
    assert (first["stride"], first["model"], first["model_sha256"]) == (1, "fake", "0" * 64)
    assert (first["duration_sec"], first["fps"]) == pytest.approx((10 / 3, 30), abs=1e-5)
    assert (first["width"], first["height"], first["codec"]) == (64, 48, "mpeg4")
    assert first["options"]["counting"]["video_threshold"] == 0.2
    assert first["wall_sec"] > 0
    assert (second["count"], second["count_rounded"], second["flags"]) == (0.0, 0, ["NOT_PERIODIC"])
    assert (second["segments"], second["repetition_times_sec"], second["mean_period_sec"]) == ([], [], None)


def test_json_is_short_for_format_json(count, tmp_path, capsys):
    video = draw_video(tmp_path / "squats.mp4", 70)
    assert count("--format", "json", "--curve", video) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["curve"]) == len(record["times_sec"]) == 70
    with pytest.raises(SystemExit):
        count("--json", "--format", "csv", video)


def test_csv_has_one_header(count, tmp_path, capsys):
    videos = [draw_video(tmp_path / f"{name}.mp4", 100) for name in "ab"]
    assert count("--format", "csv", *videos) == 0
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (first["video_uri"], second["video_uri"]) == tuple(map(str, videos))
    assert first["count_rounded"] == second["count_rounded"] == "5"


def test_the_subtitles_of_one_video_are_printed_and_open_in_a_player(count, tmp_path, capsys):
    video = draw_video(tmp_path / "squats.mp4", 100)
    subtitles = tmp_path / "squats.srt"
    assert count("--format", "srt", video) == 0
    subtitles.write_text(capsys.readouterr().out)
    with av.open(str(subtitles)) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        shown = [(bytes(packet).decode(), float(packet.pts * packet.time_base)) for packet in packets]
    starts = [2 / 3, 4 / 3, 2, 8 / 3, 3.0]  # the last repetition ends with the video
    assert [text for text, _ in shown] == ["1", "2", "3", "4", "5"]
    assert [start for _, start in shown] == pytest.approx(starts, abs=2e-3)
    assert count("--format", "vtt", video) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:00.667 --> 00:00:01.333\n1\n")


def test_a_failed_video_without_subtitles_is_a_line_on_standard_error(count, tmp_path, capsys):
    (tmp_path / "empty.mp4").touch()
    assert count("--format", "srt", tmp_path / "empty.mp4") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"repcount count: {tmp_path}/empty.mp4: EMPTY_FILE: ")


@pytest.mark.parametrize("text_format", ["json", "csv", "srt", "vtt"])
def test_a_folder_gets_a_file_per_video_and_none_overwrites_another(count, tmp_path, capsys, text_format):
    for name in ("mon/squats.mp4", "tue/squats.mp4", "tue/rows.mp4", "tue/bad.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        draw_video(tmp_path / name, 70)
    (tmp_path / "tue" / "bad.mp4").write_text("no video")
    folder = tmp_path / "new" / "results"
    assert count("--format", text_format, "--output_dir", folder, tmp_path / "mon", tmp_path / "tue") == 1
    names = {"mon-squats", "tue-squats", "rows"} | ({"bad"} if text_format in ("json", "csv") else set())
    assert {path.name for path in folder.iterdir()} == {f"{name}.{text_format}" for name in names}
    assert len(capsys.readouterr().out.splitlines()) == 4  # the table


@pytest.mark.parametrize(("suffix", "beginning"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")])
def test_one_video_is_drawn_into_the_file(count, tmp_path, capsys, suffix, beginning):
    path = tmp_path / f"out{suffix}"
    assert count("--plot", path, draw_video(tmp_path / "squats.mp4", 100)) == 0
    assert path.read_bytes().startswith(beginning)
    assert capsys.readouterr().out.startswith(f"{tmp_path}/squats.mp4\t5\t")


def test_a_folder_gets_a_picture_per_counted_video_beside_its_text(count, tmp_path, capsys):
    videos = [draw_video(tmp_path / f"{name}.mp4", 70) for name in "ab"]
    (tmp_path / "bad.mp4").write_text("no video")
    options = ("--plot", "png", "--format", "srt", "--output_dir", tmp_path / "out")
    assert count(*options, *videos, tmp_path / "bad.mp4") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a.srt", "b.png", "b.srt"}
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_picture_that_cannot_be_written_is_one_line(count, tmp_path, capsys, monkeypatch):
    def fill_disk(figure, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.plotting.save", fill_disk)
    assert count("--json", "--plot", tmp_path / "out.png", draw_video(tmp_path / "squats.mp4", 70)) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["status"] == "counted"
    assert captured.err == f"repcount count: [Errno 28] No space left on device: '{tmp_path}/out.png'\n"


def test_where_matplotlib_is_missing_nothing_is_counted(count, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert count("--plot", tmp_path / "a.png", tmp_path, load_counter=None) == 2
    assert "pip install 'repcount[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--plot", "a.jpg"], "--plot must end with .png, .svg, .pdf. Received: 'a.jpg'"),
        (["--plot", "a.png"], "--plot FILE takes one video, and --output_dir DIR writes a file for each. Received: 2 videos"),
        (["--plot", "png"], "--plot must be a file, or with --output_dir a suffix. Received: 'png'"),
        (["--curve"], "--curve needs --format json. Received: no --format"),
        (
            ["--output_dir", "x"],
            "--output_dir needs --plot, --annotate, or --format json, csv, srt, vtt. Received: no --format",
        ),
        (["--format", "srt"], "--format srt prints one video, and --output_dir DIR writes a file for each. Received: 2 videos"),
        (["--json", "--output_dir", "gs://gym/x"], "--output_dir must be a folder of this machine. Received: 'gs://gym/x'"),
    ],
)
def test_options_that_do_not_fit_are_told_before_anything_is_counted(count, tmp_path, capsys, monkeypatch, options, reason):
    monkeypatch.chdir(tmp_path)
    videos = [draw_video(tmp_path / f"{name}.mp4", 10) for name in "ab"]
    assert count(*options, *videos, load_counter=lambda args: pytest.fail("the model was loaded")) == 2
    assert capsys.readouterr().err == f"repcount count: {reason}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}


def test_failures_are_lines_too_and_make_the_exit_code_1(count, tmp_path, capsys):
    good = draw_video(tmp_path / "good.mp4", 70)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert count("--json", empty, good) == 1
    failed, counted = map(json.loads, capsys.readouterr().out.splitlines())
    assert failed.pop("message")
    assert failed == {
        "video_uri": str(empty),
        "count": None,
        "count_rounded": None,
        "confidence": None,
        "certainty": None,
        "stride": None,
        "status": "failed",
        "code": "EMPTY_FILE",
    }
    assert counted["status"] == "counted"


def test_a_video_is_one_line_as_soon_as_it_is_counted(count, tmp_path, capsys, monkeypatch):
    draw_video(tmp_path / "squats.mp4", 100)
    (tmp_path / "notes.mp4").write_text("no video")
    seen = []

    def count_and_see(video, counter, watch):
        seen.append(capsys.readouterr().out)
        return count_video(video, counter, watch)

    monkeypatch.setattr("pipeline.commands.count.count_video", count_and_see)
    assert count(tmp_path) == 1
    assert seen[0] == ""
    assert seen[1].startswith(f"{tmp_path}/notes.mp4\t-\t-\t-\t-\tNOT_A_VIDEO: ")
    assert capsys.readouterr().out.split("\t") == [f"{tmp_path}/squats.mp4", "5", "5.0", "1.00", "3.3", "-\n"]


@pytest.mark.parametrize("option", ["--json", None])
def test_an_interrupted_command_prints_what_it_has_counted(count, tmp_path, capsys, monkeypatch, option):
    for name in ("a.mp4", "b.mp4"):
        draw_video(tmp_path / name, 70)

    def interrupt_second(video, counter, watch):
        if video.uri.endswith("b.mp4"):
            raise KeyboardInterrupt
        return count_video(video, counter, watch)

    monkeypatch.setattr("pipeline.commands.count.count_video", interrupt_second)
    assert count(tmp_path, *filter(None, [option])) == 130
    captured = capsys.readouterr()
    assert f"{tmp_path}/a.mp4" in captured.out
    assert captured.err == "repcount count: interrupted\n"


def test_a_model_that_breaks_on_one_video_does_not_stop_the_others(count, tmp_path, capsys):
    bright = draw_video(tmp_path / "bright.mp4", 70, draw=uniform(250))
    good = draw_video(tmp_path / "good.mp4", 70)
    assert count("--json", bright, good) == 1
    failed, counted = map(json.loads, capsys.readouterr().out.splitlines())
    assert (failed["code"], failed["message"]) == ("SCORING_FAILED", "RuntimeError: out of memory while scoring")
    assert counted["status"] == "counted"


def test_a_machine_that_fails_is_one_line_after_the_counts_so_far(count, tmp_path, capsys, monkeypatch):
    def lose_gpu(video, counter, watch):
        if video.uri.endswith("b.mp4"):
            raise MachineFaultError("scoring 'b.mp4' met a fault of the machine, not of the video: InternalError: lost")
        return count_video(video, counter, watch)

    for name in "abc":
        draw_video(tmp_path / f"{name}.mp4", 70)
    monkeypatch.setattr("pipeline.commands.count.count_video", lose_gpu)
    assert count("--json", tmp_path) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["status"] for line in captured.out.splitlines()] == ["counted"]
    assert captured.err.endswith(
        "repcount count: scoring 'b.mp4' met a fault of the machine, not of the video: InternalError: lost\n"
    )


def test_a_video_that_is_named_twice_is_counted_once(count, tmp_path, capsys):
    path = draw_video(tmp_path / "squats.mp4", 70)
    assert count("--json", path, tmp_path, tmp_path / "*.mp4") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_what_matches_nothing_is_wrong_usage_and_nothing_is_counted(count, tmp_path, capsys):
    path = draw_video(tmp_path / "squats.mp4", 70)
    assert count("--json", path, tmp_path / "missing.mp4") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("repcount count: ")
    assert "missing.mp4" in line


def test_what_is_left_out_is_told_and_what_cannot_be_looked_at_makes_the_exit_code_1(count, tmp_path, capsys):
    draw_video(tmp_path / "squats.mp4", 70).with_name("notes.txt").touch()
    arguments = ["count", "--json", str(tmp_path)]
    assert main(arguments, load_counter=lambda args: FAKE_COUNTER) == 0
    line = "left out: 1 without a video's suffix (.txt 1); --suffixes and --all_files take other names"
    assert f"repcount count: {line}\n" in capsys.readouterr().err
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
    assert count("--json", tmp_path) == 1
    captured = capsys.readouterr()
    assert captured.err == f"repcount count: '{tmp_path}/gone.mp4' cannot be looked at: the link leads nowhere\n"
    assert len(captured.out.splitlines()) == 1


def test_the_billing_project_pays_for_listing_and_reading(count, tmp_path, cloud_storage, monkeypatch):
    cloud_storage.contents = {"gym/a.mp4": draw_video(tmp_path / "a.mp4", 70).read_bytes()}
    cloud_storage.requester_pays = True

    def load(args):
        return dataclasses.replace(
            FAKE_COUNTER, decoding=dataclasses.replace(FAKE_COUNTER.decoding, billing_project=args.billing_project)
        )

    assert count("--billing_project", "payer-project", "gs://gym/**", load_counter=load) == 0
    assert count("gs://gym/**", load_counter=load) == 2


def test_other_names_can_be_counted(count, tmp_path):
    draw_video(tmp_path / "squats.mp4", 70).rename(tmp_path / "squats.video")
    assert count(tmp_path) == 2
    assert count("--suffixes", "VIDEO,.mp4", tmp_path) == 0
    assert count("--all_files", tmp_path) == 0


def test_a_missing_model_is_wrong_usage(count, tmp_path, capsys):
    def refuse(args):
        raise WeightsError(f"the models with a name are lite. Received: {args.model!r}")

    assert count("--model", "heavy", draw_video(tmp_path / "squats.mp4", 10), load_counter=refuse) == 2
    assert capsys.readouterr().err == "repcount count: the models with a name are lite. Received: 'heavy'\n"


def test_file_names_cannot_command_the_terminal(count, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    draw_video(tmp_path / "plain.mp4", 70).rename(tmp_path / "\x1b[2J[red]squats\n[bold].mp4")
    assert count(tmp_path) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/\ufffd[2J[red]squats\ufffd[bold].mp4\t")


@pytest.mark.parametrize("quiet", [False, True])
def test_loading_the_model_is_announced_unless_it_is_to_be_quiet(tmp_path, capsys, quiet):
    video = draw_video(tmp_path / "squats.mp4", 70)
    options = ["--quiet"] if quiet else []
    assert main(["count", *options, str(video)], load_counter=lambda args: FAKE_COUNTER) == 0
    assert capsys.readouterr().err == ("" if quiet else "Loading model lite …\n")
