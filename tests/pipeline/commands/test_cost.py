"""`repcount cost` adds up what a nightly run costs, from speeds and prices."""

import pytest

from pipeline import main
from pipeline.commands.cost import Bill, Prices, Speeds, bills

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
