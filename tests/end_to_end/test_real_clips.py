"""The default model counts real clips accurately. The clips are not part of the repository; `test_drawn_clips` needs none."""

import functools
from pathlib import Path

import pytest

from pipeline import main
from tests.support.shipped_model import count_against_truth

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "realset"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the real clips in ../shared/realset, which are missing"),
]


@functools.cache
def count_clips(*options):
    """Returns {file: (count, true count)} of all clips."""
    return count_against_truth(FOLDER / "clips", FOLDER / "labels.csv", *options)


def test_most_clips_are_off_by_at_most_one():
    within_one = [abs(count - true) <= 1 for count, true in count_clips().values()]
    assert sum(within_one) / len(within_one) >= 0.91  # 0.94 in float32; one clip may differ in another number format


def test_the_mean_relative_error_is_small():
    errors = [abs(count - true) / true for count, true in count_clips().values() if true > 1]
    assert sum(errors) / len(errors) <= 0.10


def test_clips_without_repetitions_count_below_one():
    assert all(count < 1 for count, true in count_clips().values() if true == 0)


@pytest.mark.parametrize("max_fps", ["15", "10", "7.5", "5"])
def test_most_thinned_clips_count_as_before_and_none_counts_what_does_not_repeat(max_fps):
    thinned, whole = count_clips("--max_fps", max_fps), count_clips()
    changed = [name for name, (count, _) in thinned.items() if abs(count - whole[name][0]) > 1]
    assert len(changed) <= 5, changed  # 4 in float32; see docs/lite.md
    assert all(count < 1 for count, true in thinned.values() if true == 0)


def test_every_odd_file_is_counted_or_fails_with_a_code(tmp_path, capsys):
    assert main.main(["run", "--input", str(FOLDER / "odd"), "--output", f"duckdb:{tmp_path}/odd.duckdb"]) == 0
    assert "listed 6 = counted 2 + failed 4 + skipped 0" in capsys.readouterr().out
