"""A run lists its videos once, and divides those to count so that a slice takes about an hour at most."""

import pyarrow.parquet as pq
import pytest

from pipeline.machines import CORE_DECODE_FPS, core_count_fps
from pipeline.run_config import make_pipeline_options
from pipeline.slices import Plan, choose_slices, make_plan, typical_speed
from tests.support.runs import make_config
from tests.support.samples import make_failure, make_provenance
from tests.support.warehouses import commit, later_run
from transforms.objects import list_objects
from transforms.records import Selection, Slice, slice_hash, slice_number
from transforms.warehouse.base import EarlierRuns
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

OPTIONS = make_pipeline_options([])

DATAFLOW = ["--runner", "DataflowRunner"]

HOUR = 3600.0


@pytest.fixture
def folder(tmp_path):
    """Ten files of 1000 bytes."""
    for number in range(10):
        (tmp_path / f"{number}.mp4").write_bytes(b"x" * 1000)
    return tmp_path


def plan_run(config):
    config.warehouse.prepare()
    return make_plan(config, OPTIONS, later_run("now"))


@pytest.mark.parametrize(("hours_of_video", "slices"), [(0, 1), (0.1, 1), (10, 1), (10.1, 2), (25, 3), (1e6, 1000)])
def test_a_slice_takes_about_an_hour_at_most(hours_of_video, slices):
    assert choose_slices(hours_of_video * HOUR, speed=10.0) == slices


@pytest.mark.parametrize(
    ("words", "cores"),
    [
        ([], 2),
        (["--direct_num_workers", "4"], 8),
        ([*DATAFLOW, "--max_num_workers", "5"], 10),
        ([*DATAFLOW, "--max_num_workers", "5", "--worker_machine_type", "n2-standard-16"], 80),
        (DATAFLOW, 20),
    ],
)
def test_the_speed_follows_from_the_workers(words, cores, tmp_path):
    options = make_pipeline_options(words)
    assert typical_speed(options, make_config(tmp_path).model) == pytest.approx(cores * core_count_fps("lite") / 30)
    assert typical_speed(options, make_config(tmp_path, require_gpu=True).model) == pytest.approx(cores * CORE_DECODE_FPS / 30)


def test_few_videos_are_one_slice(folder):
    plan = plan_run(make_config(folder))
    assert plan.num_videos == (10,)
    assert [str(part) for part in plan.slices] == ["slice 1 of 1"]


def test_the_longer_the_videos_the_more_slices(folder, monkeypatch):
    earlier = EarlierRuns({9: 1000 / HOUR}, {9: 10}, run_video_sec=4 * HOUR, run_wall_sec=HOUR)
    monkeypatch.setattr(DuckDBWarehouse, "earlier_runs", lambda self, model: earlier)
    monkeypatch.setattr("pipeline.slices.typical_speed", lambda options, model: 3.0)
    assert len(plan_run(make_config(folder)).slices) == 3  # 10 hours of video, of which 4 are counted an hour


def test_without_a_video_to_count_the_tables_are_not_asked_for_earlier_runs(folder, monkeypatch):
    config = make_config(folder)
    config.warehouse.prepare()
    failed = [make_failure(video.uri, video.generation, updated=video.updated) for video in list_objects(f"{folder}/*.mp4")]
    commit(config.warehouse, make_provenance("before"), *failed)
    monkeypatch.setattr(DuckDBWarehouse, "earlier_runs", None)  # reads all days, for which BigQuery charges
    assert plan_run(config).num_videos == (0,)


def test_videos_are_listed_once_and_each_is_in_one_slice(folder):
    config = make_config(folder, slices=3)
    plan = plan_run(config)
    videos = list(list_objects(f"{folder}/*.mp4"))
    numbers = [slice_number(slice_hash(video), 3) for video in videos]
    assert plan.num_videos == tuple(numbers.count(number) for number in (1, 2, 3))
    listed = [row["video_uri"] for file in plan.listing for row in pq.read_table(file.path).to_pylist()]
    assert sorted(listed) == sorted(video.uri for video in videos)
    folder_of_the_run = config.warehouse.staging_folder("now")
    assert all(file.path.startswith(folder_of_the_run) for file in plan.listing)


def test_only_videos_to_count_make_slices(folder):
    config = make_config(folder, slices=4)
    config.warehouse.prepare()
    done = [video for video in list_objects(f"{folder}/*.mp4") if slice_number(slice_hash(video), 4) == 2]
    failed = [make_failure(video.uri, video.generation, updated=video.updated) for video in done]
    commit(config.warehouse, make_provenance("before"), *failed)
    plan = make_plan(config, OPTIONS, later_run("now"))
    assert plan.num_videos[1] == 0
    assert sum(plan.num_videos) == 10 - len(done)


def test_there_are_never_more_slices_than_videos(folder, tmp_path):
    assert len(plan_run(make_config(folder, slices=50)).num_videos) == 10
    empty = tmp_path / "empty"
    empty.mkdir()
    assert plan_run(make_config(empty, slices=5)) == Plan((), (0,))


def test_a_limit_is_kept_over_all_slices(folder):
    config = make_config(folder, slices=3, limit=4)
    plan = plan_run(config)
    assert sum(plan.num_videos) == 4
    taken = []
    for part, num_videos in zip(plan.slices, plan.num_videos, strict=True):
        if num_videos:
            selection = plan.selection(part, config.source.selection)
            assert (selection.limit, selection.part) == (num_videos, part)
            taken += config.warehouse.select(later_run(f"now-{part.number}"), plan.listing, selection)[1]
    _, expected = config.warehouse.select(later_run("now"), plan.listing, Selection(limit=4))
    assert sorted(taken) == sorted(expected)


def test_without_a_limit_a_slice_has_none():
    assert Plan((), (3, 4)).selection(Slice(2, 2), Selection()) == Selection(part=Slice(2, 2))
