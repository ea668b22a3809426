"""A run lists every video once, whatever its name, and nothing that is not a video."""

import collections
import datetime

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.support.samples import HOSTILE_NAMES
from transforms.coders import VideoRefCoder
from transforms.listing import ListVideos
from transforms.matching import ListingFilter, list_videos
from transforms.objects import find_object
from transforms.warehouse.schema import LISTING

FILES = []
"""Files that the pipeline of `run_listing` reported. It runs in this process."""


@pytest.fixture
def videos_dir(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.mp4", "B.MOV", "notes.txt", "deep/c.webm", "deep/er/d.gif", "deep/er/e.json"):
        (tmp_path / name).write_bytes(b"x" * 10)
    return tmp_path


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
    assert counters == {"objects_skipped": 3}


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
