"""Tables show both sides, the ratio, and where and when they were measured."""

import pytest

from benchmarks.suite.comparison import Comparison, Ratio, figure
from benchmarks.suite.entries import ENTRIES
from benchmarks.suite.figures import FiguresError
from benchmarks.suite.tables import describe_machine, rows_of, table
from tests.support.figures import MACHINE, READING, record


def test_a_table_shows_both_sides_their_ratio_and_the_source():
    lines = table("reading", {"reading": record(READING)}).splitlines()
    assert lines[0] == "| what | figure | against | figure | ratio |"
    assert lines[3].endswith(
        "of 100 MB from a server on this machine | 0.300\N{NO-BREAK SPACE}s | Beam's file system "
        "| 0.720\N{NO-BREAK SPACE}s | 2.40× as fast |"
    )
    assert lines[-1] == "`python -m benchmarks.reading`: measured on 2 cores of AMD EPYC with AVX2, 2026-01-31."


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_benchmark_that_has_not_run_is_told_with_its_command(entry):
    assert table(entry.name, {}) == f"`{entry.command}`: not measured yet."


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_results_that_lack_their_figures_still_make_a_table(entry):
    assert table(entry.name, {entry.name: record({})}).startswith("| ")


def test_the_readme_quotes_what_was_measured_and_where():
    text = table("readme", {"progress": record({"share": 0.0031}), "reading": record(READING)})
    assert text.splitlines()[2:] == [
        "| Progress display of a run while `lite` scores | 0.3\N{NO-BREAK SPACE}% of one core |  |  |  |",
        "",
        "Measured on 2 cores of AMD EPYC with AVX2, 2026-01-31.",
    ]
    busy = table("readme", {"progress": record({"share": 0.0031}, other_cores=1.0)})
    assert busy.endswith("with AVX2 that had other work, 2026-01-31.")
    assert table("readme", {}).endswith("Nothing is measured yet.")


def test_videos_decoded_have_rates_and_ratios():
    msec = {"decode_only": 4.0, "in_process": 4.2, "child_process": 5.0, "exact": 6.0, "notebook": 10.0}
    lines = table("decoding", {"decoding": record({"msec_per_frame": {"1080p VP9 30 fps": msec}})}).splitlines()
    assert lines[2] == "| 1080p VP9 30 fps | 200 | 1.25× | 1.50× | 1.05× | 2.50× |"


def test_models_scored_have_their_share_of_the_machine():
    row = {"model": "lite", "precision": "float32", "batch_frames": 64, "frames_per_sec": 600.4, "share_of_matrix_rate": 0.75}
    lines = table("devices", {"devices": record({"results": [row]})}).splitlines()
    assert lines[2] == "| `lite` | float32 | 64 | 600 | 75 % |"


def test_nights_have_their_rate_and_memory():
    night = {"seconds": 20.0, "runner_bytes": 300 << 20, "worker_bytes": 400 << 20, "row_bytes": 7_000_000}
    lines = table("scale", {"scale": record({"nights": {"5000": night}, "element_bytes": {"decoded": 2_300_000}})}).splitlines()
    assert lines[2] == "| 5,000 | 250 | 300 MiB | 400 MiB | 1.4 kB |"
    assert "| frames | 2,300,000 |" in lines


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(FiguresError, match=r"a block must name one of readme, decoding, .*\. Received: speed"):
        table("speed", {})


def test_large_ratios_have_fewer_digits():
    comparison = Comparison("ours", "theirs", figure("ours"), figure("theirs"), "s", 1, Ratio.TIMES_FASTER)
    cells = [row[-1] for theirs in (1.0, 31.46) for row in rows_of([comparison], record({"ours": 1.0, "theirs": theirs}))]
    assert cells == ["1.00× as fast", "31.5× as fast"]


def test_a_figure_that_is_missing_is_a_dash():
    comparison = Comparison("ours", "theirs", figure("ours"), figure("gone"), "s")
    assert list(rows_of([comparison], record({"ours": 1.0}))) == [("ours", "1\N{NO-BREAK SPACE}s", "theirs", "–", "–")]


def test_the_best_instructions_of_a_machine_are_named():
    assert describe_machine(MACHINE) == "2 cores of AMD EPYC with AVX2"
    assert describe_machine({**MACHINE, "matrix_flags": ["amx_bf16", "avx2", "avx512f"]}) == "2 cores of AMD EPYC with AMX"
    assert describe_machine({**MACHINE, "matrix_flags": []}) == "2 cores of AMD EPYC"


def test_other_work_on_the_machine_is_told():
    assert "other work" not in table("reading", {"reading": record(READING, other_cores=0.1)})
    text = table("reading", {"reading": record(READING, other_cores=0.84)})
    assert "AVX2, of which other work kept 0.8 busy, 2026-01-31." in text
