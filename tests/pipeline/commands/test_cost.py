"""`repcount cost` adds up what a nightly run costs, from speeds and prices."""

import re

import pytest

from model.presets import PRESETS
from pipeline import main
from pipeline.commands.cost import Bill, Prices, Speeds, bills
from pipeline.machines import CORE_DECODE_FPS_BY_HEIGHT, GPU_KINDS, core_score_fps, cores_of
from tests.support.markdown import ROOT, table_rows

PRICES = Prices(core_hour=0.1, gb_hour=0.0, gpu_hour=1.0, shuffled_gb=0.0)

HOUR = 3600


def by_name(frames, cores, speeds, prices=PRICES, scoring_cores=4):
    return {bill.name: bill for bill in bills(frames, cores, scoring_cores, speeds, prices)}


def test_fused_a_machine_with_few_cores_is_as_fast_as_its_cores():
    found = by_name(800 * HOUR, 4, Speeds(core_decode=100, core_score=10, gpu_score=10_000))["fused"]
    assert found == Bill("fused", core_hours=8.0, gpu_hours=2.0, dollars=pytest.approx(2 * (0.4 + 1.0)))


def test_fused_a_machine_with_a_slow_gpu_is_as_fast_as_its_gpu():
    found = by_name(800 * HOUR, 4, Speeds(core_decode=100, core_score=10, gpu_score=200))["fused"]
    assert (found.core_hours, found.gpu_hours) == (16.0, 4.0)


def test_nvdec_a_machine_is_as_fast_as_the_slower_of_its_gpus_decoders_and_its_scoring():
    slow, fast = (Speeds(100, 10, gpu_score=400, gpu_decode=decode) for decode in (200, 800))
    assert by_name(800 * HOUR, 4, slow)["NVDEC"] == Bill("NVDEC", 16.0, 4.0, pytest.approx(4 * (0.4 + 1.0)))
    assert by_name(800 * HOUR, 4, fast)["NVDEC"] == Bill("NVDEC", 8.0, 2.0, pytest.approx(2 * (0.4 + 1.0)))


def test_nvdec_is_left_out_if_its_speed_is_not_known():
    assert "NVDEC" not in by_name(800 * HOUR, 4, Speeds(core_decode=100, core_score=10, gpu_score=400))


def test_split_decoding_and_scoring_are_paid_for_their_own_time():
    found = by_name(800 * HOUR, 32, Speeds(core_decode=100, core_score=10, gpu_score=400))["split"]
    assert (found.core_hours, found.gpu_hours) == (8 + 4 * 2, 2.0)
    assert found.dollars == pytest.approx(8 * 0.1 + 2 * (0.4 + 1.0))


def test_split_frames_that_are_sent_cost():
    speeds = Speeds(core_decode=100, core_score=10, gpu_score=400)
    dear = Prices(core_hour=0.1, gb_hour=0.0, gpu_hour=1.0, shuffled_gb=1.0)
    extra = by_name(1e6, 4, speeds, dear)["split"].dollars - by_name(1e6, 4, speeds)["split"].dollars
    assert extra == pytest.approx(2 * 8.73 * 0.25)


@pytest.mark.parametrize(("sent_gb", "dollars"), [(125, 62.5), (1125, 62.5 + 1000), (4000, 62.5 + 2435 + 2880)])
def test_a_jobs_first_shuffled_gigabytes_are_cheaper_and_each_is_written_and_read(sent_gb, dollars):
    assert Prices(gpu_hour=1.0, shuffled_gb=1.0).shuffle(sent_gb) == pytest.approx(dollars)


def test_without_gpus_cores_do_both():
    found = by_name(800 * HOUR, 4, Speeds(core_decode=100, core_score=50, gpu_score=400))["no GPU"]
    assert found == Bill("no GPU", core_hours=24.0, gpu_hours=0.0, dollars=pytest.approx(2.4))


def test_cores_that_feed_a_gpu():
    assert Speeds(core_decode=100, core_score=10, gpu_score=4_840).cores_per_gpu == pytest.approx(48.4)


def cost(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "120")
    assert main.main(["cost", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_command_prints_three_placements_and_the_speeds_behind_them(capsys, monkeypatch):
    printed = cost(capsys, monkeypatch, "--videos", "60", "--minutes", "60", "--fps", "30", "--decode_fps", "100")
    assert "60 videos of 60 min with lite. One core decodes 100 and" in printed
    for name in ("fused", "split", "no GPU"):
        assert name in printed


def test_the_command_prints_as_many_gpus_as_the_hours_ask_for_and_scores_on_the_usual_machine(capsys, monkeypatch):
    speeds = ("--decode_fps", "100", "--gpu_score_fps", "400", "--core_score_fps", "10", "--cores", "2")
    printed = cost(capsys, monkeypatch, "--videos", "48", "--minutes", "60", "--hours", "3", *speeds)
    hours = 48 * HOUR * 30 / 400 / HOUR  # of GPUs, if each scores all the time
    assert f"fused {4 * hours:.0f} {2 * hours:.1f} {4 * hours / 3:.0f} {2 * hours / 3:.1f} " in printed
    assert f"split {4 * hours + 8 * hours:.0f} {hours:.1f} {12 * hours / 3:.0f} {hours / 3:.1f} " in printed


def test_nvdec_is_printed_if_its_speed_is_given(capsys, monkeypatch):
    assert "NVDEC" not in cost(capsys, monkeypatch)
    assert "NVDEC" in cost(capsys, monkeypatch, "--gpu_decode_fps", "3000")


@pytest.mark.parametrize("arguments", [["--videos", "0"], ["--hours", "nan"], ["--cores", "2.5"], ["--gpu", "l4"]])
def test_an_invalid_value_is_refused_in_one_line(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main.main(["cost", *arguments])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert arguments[1] in line


def test_a_gpu_without_an_example_price_needs_one(capsys, monkeypatch):
    assert main.main(["cost", "--gpu", "nvidia-tesla-t4"]) == 2
    assert "--gpu_hour is required" in capsys.readouterr().err
    assert "nvidia-tesla-t4 scores" in cost(capsys, monkeypatch, "--gpu", "nvidia-tesla-t4", "--gpu_hour", "0.5")


NIGHT_FRAMES = 1_000_000 * 60 * 30

NIGHT_HOURS = 6

L4 = GPU_KINDS["nvidia-l4"]


def night(model, height=1080, cores=8, gpu_decode=None):
    """The bills of the night in the documentation, by placement."""
    gpu_score = L4.score_fps(PRESETS[model].gflop_per_frame)
    speeds = Speeds(CORE_DECODE_FPS_BY_HEIGHT[height], core_score_fps(model), gpu_score, gpu_decode)
    found = bills(NIGHT_FRAMES, cores, cores_of(L4.machine_type), speeds, Prices(L4.dollars_per_hour))
    return {bill.name: bill for bill in found}


def text_of(page):
    return " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("height", [1080, 360])
@pytest.mark.parametrize("model", ["lite", "repnet-2020"])
def test_the_dollars_in_the_documentation_are_those_of_the_command_and_the_least_is_bold(model, height):
    few, many = night(model, height), night(model, height, cores=32)
    dollars = [bill.dollars for bill in (few["no GPU"], few["fused"], many["fused"], few["split"])]
    cells = table_rows("docs/operations.md", "model and video")[f"{model}`, {height}p"]
    assert [cell.strip("*") for cell in cells] == [f"{value:,.0f}" for value in dollars]
    assert [cell.startswith("*") for cell in cells] == [value == min(dollars) for value in dollars]


@pytest.mark.parametrize(("model", "row"), [("lite", "lite"), ("repnet-2020", "repnet-2020`, `repnet-2025")])
def test_the_speeds_in_the_documentation_are_those_of_the_command(model, row):
    gflop, gpu_fps = PRESETS[model].gflop_per_frame, L4.score_fps(PRESETS[model].gflop_per_frame)
    *speeds, at_1080p, at_360p = table_rows("docs/operations.md", "model")[row]
    assert speeds == [
        f"{gflop:.3g}".rstrip("0"),
        f"{core_score_fps(model):.0f} frames/s",
        f"{round(gpu_fps, -1):,.0f} frames/s",
    ]
    for cell, height in ((at_1080p, 1080), (at_360p, 360)):
        assert cell == f"{gpu_fps / CORE_DECODE_FPS_BY_HEIGHT[height]:.0f}"


def test_the_machines_in_the_documentation_are_those_of_the_command():
    few, many = night("repnet-2020"), night("repnet-2020", cores=32)
    fused_8, fused_32, split = (round(bill.gpu_hours / NIGHT_HOURS) for bill in (few["fused"], many["fused"], few["split"]))
    found = re.search(r"it takes (\d+) L4 for six hours; fused on g2-standard-8 takes (\d+)", text_of("operations.md"))
    assert found.groups() == (str(split), str(fused_8))
    found = re.search(
        r"take (\d+) L4 on g2-standard-8 or (\d+) on g2-standard-32. A split job takes (\d+)", text_of("scale.md")
    )
    assert found.groups() == (str(fused_8), str(fused_32), str(split))


@pytest.mark.parametrize("model", ["lite", "repnet-2020"])
def test_the_speed_from_which_nvdec_is_cheapest_is_that_of_the_documentation(model):
    found = re.search(r"from about ([\d,]+) frames/s of an L4 on", text_of("operations.md"))
    gpu_decode = float(found[1].replace(",", ""))
    others = [*night(model).values(), *night(model, cores=32).values()]
    assert night(model, cores=4, gpu_decode=gpu_decode)["NVDEC"].dollars == pytest.approx(
        min(bill.dollars for bill in others), rel=0.01
    )


def test_the_load_in_the_documentation_follows_from_the_same_speeds():
    rows = table_rows("docs/scale.md", "part")
    cores = night("lite")["no GPU"].core_hours / NIGHT_HOURS
    assert f"With `lite` and no GPU, six hours take {round(cores, -1):.0f} cores" in text_of("scale.md")
    for part, fps in (("decoding", CORE_DECODE_FPS_BY_HEIGHT[1080]), ("scoring with `lite", core_score_fps("lite"))):
        per_video, per_night, _ = rows[part]
        assert per_video == f"{60 * 30 / fps:.1f} core-seconds (*measured*)"
        assert per_night == f"{round(NIGHT_FRAMES / fps / 3600, -1):,.0f} core-hours"
