"""`repcount evaluate` compares counts with labels, refuses invalid input before it loads a model, and hides no failure."""

import dataclasses
import json
import os

import cv2
import numpy as np
import pytest

from model.counting_options import CountingOptions
from model.errors import WeightsError
from pipeline import evaluation_report
from pipeline.counter import Counter
from pipeline.main import main
from tests.support.mat_files import write_mat
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig

MODEL = ModelConfig("fake", "0" * 64, FakeScorer.strides, "float32", period_offset=1)
INTERVALS = "95 % intervals: Wilson's for OBO; for all others, 10,000 bootstrap resamples of the clips, seed 0"

COUNTER = Counter(DecodingOptions(chunk_frames=128), FakeScorer(), CountingOptions(), MODEL)


@pytest.fixture
def folder(tmp_path):
    """A folder with a video that counts 5, one that counts 3.5, one that counts 0 and one that fails."""
    videos = tmp_path / "videos"
    (videos / "sets").mkdir(parents=True)
    draw_video(videos / "squats.mp4", 100)
    draw_video(videos / "sets" / "lunges.mp4", 70)
    draw_video(videos / "still.mp4", 80, draw=lambda index: np.zeros((48, 64, 3), np.uint8))
    (videos / "empty.mp4").touch()
    return videos


@pytest.fixture
def loader():
    """Holds the function that loads the model; tests replace it."""
    return {"load_counter": lambda args: COUNTER}


@pytest.fixture
def evaluate(monkeypatch, tmp_path, folder, loader):
    """Runs the command with the fake model on labels, which are text or bytes, and returns its exit code."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(labels, *arguments, videos=folder):
        path = tmp_path / "labels.csv"
        path.write_bytes(labels if isinstance(labels, bytes) else labels.encode("utf-8"))
        return main([str(word) for word in ["evaluate", "--labels", path, "--videos", videos, *arguments]], **loader)

    return run


@pytest.fixture
def no_model(loader):
    """Makes the test fail if a model is loaded."""

    def refuse(args):
        raise AssertionError("the model was loaded")

    return lambda: loader.update(load_counter=refuse)


def error_lines(text):
    """Returns the lines of standard error, without the note that a model is being loaded."""
    return [line for line in text.splitlines() if not line.startswith("Loading model ")]


def one_line(capsys):
    """Returns the only line of output, which is on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = error_lines(captured.err)
    assert line.startswith("repcount evaluate: ")
    return line


def test_json_has_the_measures_the_baseline_and_every_clip(evaluate, capsys):
    labels = "file,count\nsquats.mp4,5\nsets/lunges.mp4,7\nstill.mp4,0\n"
    assert evaluate(labels, "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    measures, published, baseline, clips = (
        report.pop(key) for key in ("measures", "measures_as_published", "baseline", "clips")
    )
    low, high = measures.pop("mae_interval")
    assert 0 <= low < measures["mae"] < high <= 1
    assert report == {
        "model": "fake",
        "model_sha256": "0" * 64,
        "precision": "float32",
        "options": {**dataclasses.asdict(CountingOptions()), "stride_rule": "real_frames", "certainty": []},
        "strides": [1, 2],
        "overlap_from": 0,
        "max_fps": 30.0,
        "repeat_below_fps": 0.0,
    }
    assert measures == {
        "num_clips": 3,
        "obo": pytest.approx(2 / 3),
        "obo_interval": [pytest.approx(0.208, abs=5e-4), pytest.approx(0.939, abs=5e-4)],
        "num_mae_clips": 2,
        "mae": pytest.approx((0.0 + 3.5 / 7) / 2),
        "bias": pytest.approx((0.0 - 3.5 / 7) / 2),
        "num_whole_clips": 3,
        "exact_share": pytest.approx(2 / 3),
        "num_zero_clips": 1,
        "zero_share": 1.0,
    }
    assert published == {
        "num_clips": 3,
        "obo": pytest.approx(2 / 3),
        "num_mae_clips": 2,
        "mae": pytest.approx((0.0 + 3 / 7) / 2),  # 3.5 becomes 4
    }
    assert (baseline["obo"], baseline["zero_share"]) == (pytest.approx(1 / 3), 0.0)
    assert [clip["file"] for clip in clips] == ["sets/lunges.mp4", "squats.mp4", "still.mp4"]
    assert 0.9 < clips[0].pop("confidence") <= 1.0
    assert clips[0] == {
        "file": "sets/lunges.mp4",
        "part": None,
        "true_count": 7.0,
        "count": pytest.approx(3.5),
        "error": pytest.approx(-3.5),
        "stride": 1,
        "duration_sec": pytest.approx(70 / 30),
        "flags": [],
        "code": None,
        "message": None,
    }
    assert clips[2]["flags"] == ["NOT_PERIODIC"]


def test_the_tables_show_every_clip_and_the_measures(evaluate, capsys):
    assert evaluate("file,count\nsquats.mp4,5\nsets/lunges.mp4,7.5\nstill.mp4,0\n") == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert printed[:4] == [
        ["file", "true", "count", "exact", "error", "confidence", "stride", "remark"],
        ["sets/lunges.mp4", "7.5", "4", "3.5", "-4.0", "1.00", "1"],
        ["squats.mp4", "5", "5", "5.0", "+0.0", "1.00", "1"],
        ["still.mp4", "0", "0", "0.0", "+0.0", "0.01", "1", "NOT_PERIODIC"],
    ]
    assert " ".join(printed[4]) == "OBO MAE bias exact below 1 where true is 0"
    assert " ".join(printed[5]) == "fake 66.7 % of 3 26.7 % over 2 -26.7 % 2 of 2 1 of 1"
    assert " ".join(printed[6]) == "95 % interval 20.8 to 93.9 % 0.0 to 53.3 %"
    assert " ".join(printed[7]) == "always 5 33.3 % of 3 16.7 % over 2 -16.7 % 1 of 2 0 of 1"
    assert " ".join(printed[8]) == INTERVALS


def test_a_narrow_terminal_gets_the_columns_that_matter(evaluate, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(evaluation_report, "is_terminal", lambda: True)
    assert evaluate("file,count\nsets/lunges.mp4,7.5\nstill.mp4,0\n") == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert printed[0] == ["file", "true", "count", "error", "remark"]


def test_the_speed_is_on_standard_output_or_with_json_on_standard_error(evaluate, capsys):
    labels = "file,count\nsquats.mp4,5\nsets/lunges.mp4,3.5\n"
    assert evaluate(labels) == 0
    *_, speed = capsys.readouterr().out.splitlines()
    assert speed.startswith("5.7 s of video counted in ")
    assert speed.endswith(" times real time, decoding included)")
    assert evaluate(labels, "--json") == 0
    warning, speed = error_lines(capsys.readouterr().err)
    assert warning == "repcount evaluate: the folder has videos without a label, which are ignored: 2"
    assert speed.startswith("5.7 s ")


def test_a_failed_video_is_wrong_by_every_measure_and_sets_exit_code_1(evaluate, capsys):
    assert evaluate("file,count\nsquats.mp4,5\nempty.mp4,4\n") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert lines[1].split()[:8] == ["empty.mp4", "4", "–", "–", "–", "–", "–", "EMPTY_FILE:"]
    assert " ".join(lines[4].split()) == "fake 50.0 % of 2 50.0 % over 2 -50.0 % 1 of 2 –"

    assert evaluate("file,count\nsquats.mp4,5\nempty.mp4,0\n", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["measures"]["zero_share"] == 0.0
    clip = report["clips"][0]
    assert clip.pop("message")
    assert clip == {
        "file": "empty.mp4",
        "part": None,
        "true_count": 0.0,
        "count": None,
        "error": None,
        "confidence": None,
        "stride": None,
        "duration_sec": None,
        "flags": [],
        "code": "EMPTY_FILE",
    }


def test_videos_without_a_label_are_ignored_with_a_warning(evaluate, capsys, folder):
    (folder / "notes.txt").write_text("no video")
    assert evaluate("file,count\nsquats.mp4,5\n") == 0
    captured = capsys.readouterr()
    assert error_lines(captured.err) == ["repcount evaluate: the folder has videos without a label, which are ignored: 3"]
    assert "still.mp4" not in captured.out


def test_invalid_labels_are_one_line_before_any_model_is_loaded(evaluate, no_model, capsys):
    no_model()
    assert evaluate("file,count\nsquats.mp4,five\n") == 2
    assert "line 2 of the labels: the count must be a number" in one_line(capsys)


def test_up_to_three_missing_files_are_named(evaluate, no_model, capsys):
    no_model()
    names = ["squats.mp4", "a\nb.mp4", "sets", "c.mp4", "d.mp4"]
    assert evaluate("file,count\n" + "".join(f'"{name}",1\n' for name in names)) == 2
    line = one_line(capsys)
    assert "4 of 5 are missing" in line
    assert line.endswith(r"Received: 'a\nb.mp4', 'sets', 'c.mp4', …")


@pytest.mark.parametrize("videos", ["gs://bucket/videos", "missing", "", "squats.mp4"])
def test_videos_must_be_a_folder_of_this_machine(evaluate, no_model, capsys, monkeypatch, folder, videos):
    no_model()
    monkeypatch.chdir(folder)
    assert evaluate("file,count\nsquats.mp4,5\n", videos=videos) == 2
    assert f"--videos must be a folder on this machine. Received: '{videos}'" in one_line(capsys)


def test_the_folder_may_be_relative(evaluate, capsys, monkeypatch, folder):
    monkeypatch.chdir(folder.parent)
    assert evaluate("file,count\nsquats.mp4,5\n", "--json", videos="videos") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["measures"]["obo"] == 1.0
    assert "ignored: 3" in captured.err


def test_a_missing_model_is_wrong_usage(evaluate, capsys, loader):
    def refuse(args):
        raise WeightsError(f"the models with a name are lite. Received: {args.model!r}")

    loader["load_counter"] = refuse
    assert evaluate("file,count\nsquats.mp4,5\n", "--model", "heavy") == 2
    assert one_line(capsys) == "repcount evaluate: the models with a name are lite. Received: 'heavy'"


def test_file_names_cannot_control_the_terminal(evaluate, capsys, folder, tmp_path):
    name = "\x1b[2J[red]squats\n$\\frac{[bold].mp4"
    (folder / "squats.mp4").rename(folder / name)
    plot = tmp_path / "report.svg"
    assert evaluate(f'file,count\n"{name}",5\n', "--plot", plot) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\ufffd[2J[red]squats\ufffd$\\frac{[bold].mp4" in printed
    assert plot.exists()


def test_only_the_picture_is_written(evaluate, tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    plot = reports / "report.png"
    plot.write_text("an older one")
    assert evaluate("file,count\nsquats.mp4,5\nsets/lunges.mp4,7\nstill.mp4,0\nempty.mp4,3\n", "--plot", plot) == 1
    image = cv2.imread(str(plot))
    assert image is not None
    height, width = image.shape[:2]
    assert 500 < height < 1500 < 2 * width < 4000
    assert os.listdir(reports) == ["report.png"]


@pytest.mark.parametrize(
    "name", ["report", "report.jpg", "report.png.txt", "missing/report.png", "file/report.png", "folder.png"]
)
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_counted(evaluate, no_model, capsys, tmp_path, name):
    no_model()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    assert evaluate("file,count\nsquats.mp4,5\n", "--plot", tmp_path / name) == 2
    line = one_line(capsys)
    assert "--plot must " in line
    assert line.endswith(f"Received: '{tmp_path / name}'")


def test_too_many_curves_for_a_picture_are_refused(evaluate, no_model, capsys):
    no_model()
    assert evaluate("file,count\nsquats.mp4,5\n", "--worst", "13") == 2
    assert one_line(capsys).endswith("--worst must be at most 12. Received: 13")


def test_results_are_printed_even_if_the_picture_cannot_be_written(evaluate, capsys, monkeypatch, tmp_path):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.output_files.os.replace", refuse)
    plot = tmp_path / "report.png"
    assert evaluate("file,count\nsquats.mp4,5\n", "--plot", plot) == 1
    captured = capsys.readouterr()
    assert "always 5" in captured.out
    *_, line = captured.err.splitlines()
    assert line.startswith("repcount evaluate: cannot write the picture: [Errno 28] No space left on device: '")
    assert line.endswith("report.png'")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png"]


def test_parts_of_a_video_are_counted_on_their_own(evaluate, capsys):
    labels = "file,start_sec,end_sec,count\nsquats.mp4,0,2,3\nsquats.mp4,2,,1\nsquats.mp4,,,5\n"
    assert evaluate(labels, "--json") == 0
    clips = {clip["part"]: clip for clip in json.loads(capsys.readouterr().out)["clips"]}
    assert {part: clip["count"] for part, clip in clips.items()} == {
        "0 s to 2 s": pytest.approx(60 / 20),
        "2 s to the end": pytest.approx(40 / 20),
        None: pytest.approx(100 / 20),
    }
    durations = {part: clip["duration_sec"] for part, clip in clips.items()}
    assert durations["2 s to the end"] == pytest.approx(durations[None] - 2, abs=0.1)
    assert {clip["file"] for clip in clips.values()} == {"squats.mp4"}
    assert evaluate(labels) == 0
    assert "squats.mp4 (2 s to the end)" in capsys.readouterr().out


def test_a_part_without_frames_is_a_failed_video(evaluate, capsys):
    assert evaluate("file,start_sec,count\nsquats.mp4,60,1\nsquats.mp4,0,5\n", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["clips"][0]["code"] == "NO_FRAMES"
    assert report["measures"]["obo"] == 0.5


@pytest.fixture
def loaded(loader):
    """Replaces the loader by one that doubles every count with the model `double`; returns the arguments that it gets."""
    calls = []

    def load(args):
        calls.append(args)
        scale = 2 if args.model == "double" else 1
        model = dataclasses.replace(MODEL, name=args.model, period_offset=1 - 10 * (scale - 1))
        return dataclasses.replace(COUNTER, model=model)

    loader["load_counter"] = load
    return calls


def test_another_model_is_compared_clip_by_clip(evaluate, capsys, loaded):
    labels = "file,count\nsquats.mp4,10\nsets/lunges.mp4,3.5\nstill.mp4,0\n"
    assert evaluate(labels, "--model", "single", "--compare", "double") == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert printed[:4] == [
        ["file", "true", "count", "exact", "error", "confidence", "stride", "other", "change", "remark"],
        ["squats.mp4", "10", "5", "5.0", "-5.0", "1.00", "1", "10.0", "-5.0"],
        ["sets/lunges.mp4", "3.5", "4", "3.5", "+0.0", "1.00", "1", "7.0", "+3.5"],
        ["still.mp4", "0", "0", "0.0", "+0.0", "0.01", "1", "0.0", "+0.0", "NOT_PERIODIC"],
    ]
    assert " ".join(printed[5]).startswith("single 66.7 % of 3 25.0 % over 2 ")
    assert " ".join(printed[7]).startswith("double 66.7 % of 3 50.0 % over 2 ")
    assert printed[10] == ["OBO", "MAE", "better", "worse", "same"]
    assert " ".join(printed[11]) == "double against single +0.0 % +25.0 % 1 1 1"
    assert " ".join(printed[12]) == "95 % interval -100.0 to +100.0 % -50.0 to +100.0 %"


def test_json_has_both_counters_and_the_comparison(evaluate, capsys, loaded):
    labels = "file,count\nsquats.mp4,10\nsets/lunges.mp4,3.5\n"
    assert evaluate(labels, "--json", "--compare", "double") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["other"]["model"]) == ("lite", "double")
    assert [clip["count"] for clip in report["other"]["clips"]] == [pytest.approx(7.0), pytest.approx(10.0)]
    comparison = report["comparison"]
    assert (comparison["num_better"], comparison["num_worse"], comparison["num_same"]) == (1, 1, 0)
    assert comparison["mae_difference"] == pytest.approx(0.25)


def test_the_compared_options_are_those_of_the_command_line_where_none_are_named(evaluate, loaded):
    options = ["--model", "single", "--video_threshold", "0.3", "--strides", "1,2", "--max_fps", "15"]
    assert evaluate("file,count\nsquats.mp4,5\n", *options, "--compare", "double --strides 1 --max-fps=20") == 0
    first, other = loaded
    assert (first.model, first.strides, first.max_fps, first.video_threshold) == ("single", (1, 2), 15.0, 0.3)
    assert (other.model, other.strides, other.max_fps, other.video_threshold) == ("double", (1,), 20.0, 0.3)
    loaded.clear()
    assert evaluate("file,count\nsquats.mp4,5\n", "--compare=--peak_share=0.3") == 0
    assert evaluate("file,count\nsquats.mp4,5\n", "--compare", "--peak_share=0.3") == 0
    assert [(args.model, args.peak_share) for args in loaded] == [("lite", None), ("lite", 0.3)] * 2


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        ("lite", "--compare must name another model, or an option with another value. Received: 'lite'"),
        ("", "--compare must name another model, or an option with another value. Received: ''"),
        ("'lite", '--compare must be a model and options in one argument: No closing quotation. Received: "\'lite"'),
        ("lite --peak_shares 0.3", "repcount evaluate --compare: unrecognized arguments: --peak_shares 0.3."),
        (
            "lite --peak_share x",
            "repcount evaluate --compare: argument --peak_share: must be a number such as 0.5. Received: 'x'.",
        ),
        ("--", "repcount evaluate: argument --compare: expected one argument. See repcount evaluate --help."),
        ("lite other", "repcount evaluate --compare: unrecognized arguments: other. See repcount evaluate --help."),
    ],
)
def test_a_comparison_that_is_none_is_refused_before_a_model_is_loaded(evaluate, no_model, capsys, compared, said):
    no_model()
    try:
        code = evaluate("file,count\nsquats.mp4,5\n", "--compare", compared)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = error_lines(captured.err)
    assert said in line


def test_a_video_that_only_the_other_model_cannot_count_sets_exit_code_1(evaluate, capsys, loader):
    def load(args):
        decoding = dataclasses.replace(COUNTER.decoding, max_sec=3.0 if args.model == "short" else 60.0)
        return dataclasses.replace(COUNTER, decoding=decoding)

    loader["load_counter"] = load
    assert evaluate("file,count\nsquats.mp4,5\nsets/lunges.mp4,3.5\n", "--compare", "short") == 1
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert ["squats.mp4", "5", "5", "5.0", "+0.0", "1.00", "1", "–", "–"] in printed


def test_a_public_set_is_shown_beside_what_papers_report(evaluate, capsys):
    labels = "type,name,count\nsquat,squats.mp4,6\nlunge,lunges.mp4,7\nlunge,gone.mp4,2\nsquat,still.mp4,\nsquat,empty.mp4,\n"
    assert evaluate(labels, "--labels_format", "repcount") == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip(" ─")]
    assert printed[4:11] == [
        "fake 50.0 % of 2 33.3 % over 2 -33.3 % 0 of 2 –",
        "95 % interval 9.5 to 90.5 % 16.7 to 50.0 %",
        "always 5 50.0 % of 2 22.6 % over 2 -22.6 % 0 of 2 –",
        "fake, rounded 50.0 % of 2 29.8 % over 2",
        "TransRAC (CVPR 2022) 29.1 % 44.3 %",
        "RepNet, by TransRAC's authors 1.3 % 99.5 %",
        INTERVALS,
    ]
    assert printed[11:13] == [
        "labels without a video, which are left out: 1",
        "labels without a count, which are left out: 2",
    ]

    assert evaluate(labels, "--labels_format", "repcount", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_missing"], report["num_left_out"]) == (1, 2)
    assert report["published"][0] == {"name": "TransRAC (CVPR 2022)", "obo": 0.2913, "mae": 0.4431}


def test_a_part_in_frames_is_counted_whatever_the_frame_rate(evaluate, capsys, folder, tmp_path):
    draw_video(folder / "v_Squat_g01_c01.avi", 100, fps=24.0)
    annotations = tmp_path / "val"
    annotations.mkdir()
    fields = {"temporal_bound": [21.0, 41.0, 61.0, 81.0], "start_frame": [21.0], "end_frame": [80.0]}
    (annotations / "v_Squat_g01_c01.mat").write_bytes(write_mat("label", fields))
    assert main(["evaluate", "--labels", str(annotations), "--labels_format", "ucfrep", "--videos", str(folder), "--json"],
                load_counter=lambda args: COUNTER) == 0  # fmt: skip
    (clip,) = json.loads(capsys.readouterr().out)["clips"]
    assert (clip["part"], clip["true_count"], clip["count"]) == ("frames 20 to 79", 3.0, pytest.approx(60 / 20))
