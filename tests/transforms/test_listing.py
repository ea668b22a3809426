"""A run lists every video once, whatever its name, and nothing that is not a video."""

import collections
import datetime
import logging

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.support.samples import HOSTILE_NAMES
from transforms.coders import VideoRefCoder
from transforms.left_out import MAX_NAMED_LOST
from transforms.listing import MAX_NAMED, ListVideos
from transforms.matching import ListingFilter, list_videos
from transforms.objects import find_object
from transforms.warehouse.schema import LISTING

FILES = []
"""Files that the pipeline of `run_listing` reported. It runs in this process."""


def remember(file):
    FILES.append(file)


def run_listing(patterns, folder, **options):
    """Lists in a pipeline. Returns the videos in the files that it reported, and its counters."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | ListVideos(patterns, str(folder), **options) | beam.Map(remember)
    FILES.clear()
    result = pipeline.run()
    found = result.metrics().query(MetricsFilter().with_namespace("repcount"))["counters"]
    rows = [(file, row) for file in FILES for row in pq.read_table(file.path).to_pylist()]
    assert all(pq.read_schema(file.path).equals(LISTING.arrow_schema) for file in FILES)
    assert {file.path: file.num_rows for file in FILES} == collections.Counter(file.path for file, _ in rows)
    videos = [VideoRefCoder().decode(row["video"].encode()) for _, row in rows]
    return videos, {counter.key.metric.name: counter.committed for counter in found}


def test_each_pattern_lists_its_videos_into_files(videos_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staging")
    videos, counters = run_listing([f"{videos_dir}/**", f"{videos_dir}/deep", f"{videos_dir}/*.json"], folder)
    expected = [*list_videos(f"{videos_dir}/**"), *list_videos(f"{videos_dir}/deep")]
    assert sorted(videos) == sorted(expected)
    assert counters == {"objects_skipped": 3, "objects_skipped_SUFFIX_json": 2, "objects_skipped_SUFFIX_txt": 1}


def test_every_reason_to_leave_out_a_name_has_a_counter(videos_dir, tmp_path_factory, caplog):
    (videos_dir / "._a.mp4").touch()
    (videos_dir / "gone.mp4").symlink_to(videos_dir / "nothing")
    _, counters = run_listing([f"{videos_dir}/*"], tmp_path_factory.mktemp("staging"))
    assert counters == {
        "objects_skipped": 3,
        "objects_skipped_COMPANION": 1,
        "objects_skipped_SUFFIX_txt": 1,
        "objects_skipped_UNREADABLE": 1,
    }
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"'{videos_dir}/gone.mp4' cannot be looked at: the link leads nowhere"]


def test_many_names_that_cannot_be_looked_at_are_a_bounded_number_of_messages(tmp_path, tmp_path_factory, caplog):
    for number in range(MAX_NAMED_LOST + 3):
        (tmp_path / f"{number}.mp4").symlink_to(tmp_path / "nothing")
    run_listing([f"{tmp_path}/**"], tmp_path_factory.mktemp("staging"))
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == MAX_NAMED_LOST + 1
    assert errors[-1] == f"3 more names that '{tmp_path}/**' matches cannot be looked at"


def test_many_names_that_are_no_videos_are_a_bounded_number_of_messages(tmp_path, tmp_path_factory, caplog):
    caplog.set_level(logging.INFO, logger="transforms.listing")
    for number in range(MAX_NAMED + 3):
        (tmp_path / f"{number}.jpg").touch()
        (tmp_path / f"._{number}.mp4").touch()
    _, counters = run_listing([f"{tmp_path}/**"], tmp_path_factory.mktemp("staging"))
    infos = [record.getMessage() for record in caplog.records if record.name == "transforms.listing"]
    assert sum("jpg" in info for info in infos) == sum("._" in info for info in infos) == MAX_NAMED
    assert len(infos) == 2 * MAX_NAMED + 1
    assert infos[-1] == f"6 more names that '{tmp_path}/**' matches are left out"
    assert counters["objects_skipped_SUFFIX_jpg"] == counters["objects_skipped_COMPANION"] == MAX_NAMED + 3


def test_hostile_suffixes_make_a_bounded_number_of_counters(tmp_path, tmp_path_factory):
    for number in range(100):
        (tmp_path / f"a.{number}").touch()
    _, counters = run_listing([f"{tmp_path}/**"], tmp_path_factory.mktemp("staging"))
    assert counters["objects_skipped"] == 100
    assert counters["objects_skipped_SUFFIX_OTHER"] == 60
    assert len(counters) == 42


def test_hostile_names_pass_through_the_pipeline_unchanged(tmp_path, tmp_path_factory):
    for name in HOSTILE_NAMES:
        (tmp_path / name).touch()
    videos, _ = run_listing([f"{tmp_path}/**"], tmp_path_factory.mktemp("staging"))
    assert sorted(videos) == sorted(find_object(str(tmp_path / name)) for name in HOSTILE_NAMES)


def test_an_empty_listing_writes_no_file(tmp_path):
    assert run_listing([f"{tmp_path}/**"], tmp_path / "staging") == ([], {})
    assert not (tmp_path / "staging").exists()


def test_a_long_listing_is_written_in_several_files(videos_dir, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("transforms.warehouse.parquet.FILE_BYTES", 1)
    monkeypatch.setattr("transforms.warehouse.parquet.ROW_GROUP_BYTES", 1)
    monkeypatch.setattr("transforms.listing.ROW_GROUP_ROWS", 3)
    videos, _ = run_listing([f"{videos_dir}/**"], tmp_path_factory.mktemp("staging"))
    assert len(videos) == 4
    assert sorted(file.num_rows for file in FILES) == [1, 3]


def test_filtered_videos_are_not_listed(videos_dir, tmp_path_factory):
    long_ago = ListingFilter(updated_before=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    assert run_listing([f"{videos_dir}/**"], tmp_path_factory.mktemp("s"), listing_filter=long_ago)[0] == []
