"""An estimate says what a run would count, from the listing, the tables and a few headers, and writes nothing."""

import dataclasses
import datetime
import functools
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from model.counting_options import CountingOptions
from pipeline.durations import TYPICAL_BYTES_PER_SEC, Basis
from pipeline.estimate import Estimate, estimate
from pipeline.run_config import RunConfig, SourceConfig
from tests.support.samples import STARTED, make_provenance, make_video_count
from tests.support.videos import draw_video
from tests.support.warehouses import commit
from transforms.decoding.header_sample import read_headers
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.objects import list_objects
from transforms.records import Selection
from transforms.scoring import ModelConfig
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

pytestmark = pytest.mark.usefixtures("patient_header_sample")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Three files of 1000 bytes."""
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    return tmp_path


@pytest.fixture
def warehouse(folder):
    return DuckDBWarehouse(str(folder / "counts.duckdb"), lock_timeout_sec=60.0)


def estimate_run(folder, warehouse, names=("*.mp4", "*.mkv"), **selection):
    config = RunConfig(
        source=SourceConfig(tuple(f"{folder}/{name}" for name in names), selection=Selection(**selection)),
        decoding=DecodingOptions(chunk_frames=128),
        model=ModelConfig("lite", "f" * 64, (1, 2), "float32", 1),
        counting=CountingOptions(),
        warehouse=warehouse,
    )
    return estimate(config, make_provenance("now", started=STARTED + datetime.timedelta(days=1)))


def commit_count(folder, warehouse, name):
    (video,) = list_objects(f"{folder}/{name}")
    counted = dataclasses.replace(make_video_count(), video=dataclasses.replace(video, size_bytes=12_345))
    commit(warehouse, make_provenance("before"), counted)


def test_without_tables_every_video_would_be_counted_and_no_file_is_created(folder, warehouse):
    found = estimate_run(folder, warehouse)
    assert (found.videos, found.skipped, found.left, found.size_bytes) == (3, 0, 0, 3000)
    assert (found.basis, found.pace) == (Basis(tried_headers=3, assumed_videos=3), None)
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "b.mp4", "c.mp4"]


def test_videos_in_the_tables_are_skipped_and_their_speed_is_used(folder, warehouse):
    commit_count(folder, warehouse, "a.mp4")
    found = estimate_run(folder, warehouse)
    assert (found.videos, found.skipped, found.left, found.size_bytes) == (2, 1, 0, 2000)
    assert found.pace == pytest.approx(10.0 / 300.0)  # 10 s of video in 5 minutes
    assert found.video_sec == pytest.approx(2000 / (12_345 / 10.0))


@pytest.mark.parametrize("has_tables", [False, True])
def test_a_video_that_two_patterns_match_is_one(folder, warehouse, has_tables):
    if has_tables:
        warehouse.prepare()
    found = estimate_run(folder, warehouse, names=("*.mp4", "a.*", "b.mp4"))
    assert (found.videos, found.skipped, found.left, found.size_bytes) == (3, 0, 0, 3000)


def test_a_limit_leaves_videos_to_later_runs(folder, warehouse):
    found = estimate_run(folder, warehouse, limit=1)
    assert (found.videos, found.left) == (1, 2)


def test_what_is_left_out_is_counted_and_what_cannot_be_looked_at_is_named(folder, warehouse, caplog):
    (folder / "._a.mp4").touch()
    (folder / "gone.mp4").symlink_to(folder / "nothing")
    found = estimate_run(folder, warehouse)
    assert (found.videos, found.left_out) == (3, {"COMPANION": 1, "UNREADABLE": 1})
    assert found.lines()[-1].startswith("left out: 1 companions ")
    assert "gone.mp4' cannot be looked at: the link leads nowhere" in caplog.text


def test_the_duration_of_a_video_counted_before_is_known(folder, warehouse):
    commit_count(folder, warehouse, "a.mp4")
    found = estimate_run(folder, warehouse, new_only=False)
    assert (found.videos, found.skipped, found.basis.known_videos, found.basis.known_sec) == (3, 0, 1, 10.0)
    assert found.video_sec == pytest.approx(10.0 + 2000 / (12_345 / 10.0))


def test_a_video_takes_as_long_as_counted_videos_of_its_size(folder, warehouse):
    small, large = make_video_count("small"), make_video_count("large")  # 12,345 bytes and 10 s each
    large = dataclasses.replace(large, video=dataclasses.replace(large.video, size_bytes=1_000_000))
    commit(warehouse, make_provenance("before"), small, large)
    for name in ("a.mp4", "b.mp4"):
        (folder / name).unlink()
    (folder / "c.mp4").write_bytes(b"x" * 16_000)
    assert estimate_run(folder, warehouse).video_sec == pytest.approx(16_000 / (12_345 / 10.0))


@pytest.fixture
def uploads(tmp_path):
    """Eight long videos that barely move, four short ones of noise, and their total duration in seconds.

    A second of the first kind has 2 kB, and one of the second kind 320 kB.
    """
    noise = np.random.default_rng(0)
    folder, total_sec = tmp_path / "uploads", 0.0
    folder.mkdir()
    for number in range(8):
        draw_video(folder / f"quiet{number}.mp4", 240 + 20 * number)
        total_sec += 8 + 2 * number / 3
    for number in range(4):
        frames = 12 + 3 * number
        draw_video(folder / f"noise{number}.mkv", frames, draw=lambda index: noise.integers(0, 255, (48, 64, 3), np.uint8))
        total_sec += frames / 30
    return folder, total_sec


def test_a_first_estimate_is_near_the_truth_whatever_the_bit_rates(uploads):
    folder, total_sec = uploads
    found = estimate_run(folder, DuckDBWarehouse(str(folder / "c.duckdb")))
    assert found.size_bytes / TYPICAL_BYTES_PER_SEC < total_sec / 8  # what 6 Mbit/s would make of it
    assert total_sec / 1.5 < found.video_sec < total_sec * 1.5
    assert found.basis == Basis(tried_headers=12, read_headers=12, header_videos=12)
    assert not (folder / "c.duckdb").exists()


def test_a_sample_of_headers_stands_for_many_videos(uploads):
    folder, total_sec = uploads
    for path in list(folder.iterdir()):
        for copy in range(4):
            shutil.copy(path, folder / f"{copy}{path.name}")
    found = estimate_run(folder, DuckDBWarehouse(str(folder / "c.duckdb")))
    assert 5 * total_sec / 1.5 < found.video_sec < 5 * total_sec * 1.5
    assert found.basis == Basis(tried_headers=20, read_headers=20, header_videos=60)


def test_a_hostile_sample_changes_neither_the_estimate_nor_what_is_read_of_others(uploads, monkeypatch):
    folder, total_sec = uploads
    lie = b'[0, {"header": {"width": 1, "height": 1, "codec": "h264", "fps": 30.0, "duration_sec": 1e300}}]'
    for number, attack in enumerate((b"ATTACK send\n" + lie, b'ATTACK send\n[0, {"header": 1}]')):
        (folder / f"bad{number}.mp4").write_bytes(attack.ljust(16_400))
    make_decoder = functools.partial(DecoderProcess, "tests.support.hostile_decoder_child")
    monkeypatch.setattr("pipeline.estimate.read_headers", functools.partial(read_headers, make_decoder=make_decoder))
    total_sec += 2 * 8.0  # of two videos of their size
    found = estimate_run(folder, DuckDBWarehouse(str(folder / "c.duckdb")))
    assert total_sec / 1.5 < found.video_sec < total_sec * 1.5
    assert (found.basis.tried_headers, found.basis.read_headers) == (14, 13)


def test_no_header_is_read_if_enough_videos_of_similar_size_are_counted(folder, warehouse, monkeypatch):
    monkeypatch.setattr("pipeline.estimate.read_headers", None)
    counted = [make_video_count(f"old/{number}") for number in range(20)]  # 12,345 bytes and 10 s each
    commit(warehouse, make_provenance("before"), *counted)
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(b"x" * 10_000)
    found = estimate_run(folder, warehouse)
    assert found.video_sec == pytest.approx(30_000 / 1234.5)
    assert found.basis == Basis(counted_videos=20)


def test_headers_are_read_of_sizes_of_which_too_few_videos_are_counted(folder, warehouse):
    commit(warehouse, make_provenance("before"), *(make_video_count(f"old/{number}") for number in range(20)))
    (folder / "a.mp4").write_bytes(b"x" * 10_000)
    draw_video(folder / "b.mp4", 900)
    found = estimate_run(folder, warehouse)
    assert found.basis == Basis(tried_headers=2, read_headers=1, header_videos=2, counted_videos=20)
    assert found.video_sec == pytest.approx(30 + 10_000 / 1234.5, rel=0.1)


@pytest.mark.slow
def test_the_videos_themselves_are_never_opened_by_this_process(tmp_path):
    draw_video(tmp_path / "a.mp4", 90)
    script = (
        "import sys\n"
        "from tests.support.fake_run import run_fake\n"
        "run_fake(['run', '--input', sys.argv[1], '--output', f'duckdb:{sys.argv[1]}/c.duckdb', '--dry_run'])\n"
        "print(sorted({'av', 'cv2'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert lines[2] == "minutes of video: about 0.1 (from 1 of 1 headers)"
    assert lines[-1] == "[]"


def test_videos_in_the_tables_that_are_not_listed_are_not_read(folder, warehouse, monkeypatch):
    commit(warehouse, make_provenance("before"), *(make_video_count(f"old/{number}") for number in range(50)))
    commit_count(folder, warehouse, "a.mp4")
    rows = []
    for name in ("query", "durations"):
        read = getattr(DuckDBWarehouse, name)

        def record(*arguments, read=read):
            for row in read(*arguments):
                rows.append(row)
                yield row

        monkeypatch.setattr(DuckDBWarehouse, name, record)
    assert estimate_run(folder, warehouse).skipped == 1
    assert 0 < len(rows) < 10


def test_nothing_stays_staged(folder, warehouse):
    commit_count(folder, warehouse, "a.mp4")
    before = sorted(path.name for path in folder.iterdir())
    estimate_run(folder, warehouse)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_tables_with_outdated_descriptions_are_read_all_the_same(folder, warehouse):
    commit_count(folder, warehouse, "a.mp4")
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("COMMENT ON COLUMN video_counts.count IS 'An older description.'")
        connection.execute("DROP VIEW daily_summary")
    assert warehouse.changes() == ["describe column video_counts.count", "create view daily_summary"]
    assert estimate_run(folder, warehouse).skipped == 1


def test_the_lines_name_videos_bytes_minutes_and_hours():
    found = Estimate(
        videos=2,
        skipped=3,
        left=1,
        size_bytes=2000,
        video_sec=120.0,
        basis=Basis(known_videos=1, known_sec=60.0, tried_headers=1, read_headers=1, header_videos=1),
        pace=2.0,
        typical_speed=8.0,
    )
    lines = found.lines()
    assert lines[0] == "would count 2 videos; 3 are in the tables already; 1 are left out by --limit"
    assert lines[1:3] == [
        "bytes: 2,000",
        "minutes of video: about 2.0 (of 1 videos known, 1.0 min; the others from 1 of 1 headers)",
    ]
    assert lines[-1] == "hours until it is done: about 0.02 at the pace of the earlier runs with this model"
