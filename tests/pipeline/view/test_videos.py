"""The viewer lists every counted video once, least certain first, and knows one by its number alone."""

import os

import duckdb
import numpy as np
import pytest

from pipeline.command_line import UsageError
from pipeline.view.videos import MAX_CURVE_POINTS, VideoList, find_video, path_below, shared_folder
from tests.support.samples import make_failure, make_provenance, make_video_count
from tests.support.warehouses import KINDS, commit, later_run, make_warehouse
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path):
    """Empty tables in DuckDB."""
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    return warehouse


@pytest.fixture(params=KINDS)
def either(request):
    """Empty tables in either database."""
    warehouse = make_warehouse(request.param, request)
    warehouse.prepare()
    return warehouse


def names(listed, numbers=None):
    return [listed[number].video_uri for number in (range(len(listed)) if numbers is None else numbers)]


def test_videos_are_listed_once_with_their_latest_count_and_the_least_certain_first(either):
    first = [
        make_video_count(f"/v/{name}.mp4", certainty=certainty) for name, certainty in [("a", 0.9), ("b", 0.4), ("c", 0.6)]
    ]
    commit(either, make_provenance(), *first, make_failure("/v/broken.mp4"))
    commit(either, later_run("run-2", model="other"), make_video_count("/v/c.mp4", 2, certainty=0.99, count=7.0))
    listed = VideoList(either)
    assert names(listed) == ["/v/b.mp4", "/v/a.mp4", "/v/c.mp4"]
    assert listed.by_uri == {"/v/b.mp4": 0, "/v/a.mp4": 1, "/v/c.mp4": 2}
    assert (listed[2].model, listed[2].video_generation, listed[2].count_rounded) == ("other", 2, 7)
    assert [listed[0].count, listed[0].certainty, listed[0].flags] == [2.5, 0.4, ()]
    assert [video.review for video in listed] == ["The count may be wrong by more than one.", None, None]


def test_a_video_is_known_by_its_number_alone(warehouse):
    commit(warehouse, make_provenance(), make_video_count("/v/a.mp4"))
    listed = VideoList(warehouse)
    for number in (-1, 1):
        with pytest.raises(IndexError):
            listed[number]


def test_names_are_searched_without_regard_to_capitals_or_wildcards_and_sorted(warehouse):
    certainties = {"/v/Zoe/Squats.mp4": 0.1, "/v/ann/squats.mp4": 0.8, "/v/ann/100%_(x).mp4": 0.5}
    commit(warehouse, make_provenance(), *(make_video_count(uri, certainty=value) for uri, value in certainties.items()))
    listed = VideoList(warehouse)
    assert names(listed, listed.find("SQUATS")) == ["/v/Zoe/Squats.mp4", "/v/ann/squats.mp4"]
    assert names(listed, listed.find("", "name")) == ["/v/Zoe/Squats.mp4", "/v/ann/100%_(x).mp4", "/v/ann/squats.mp4"]
    assert names(listed, listed.find("%_(x")) == ["/v/ann/100%_(x).mp4"]
    assert listed.find(".*") == []


def test_tables_of_an_older_version_name_the_command_that_updates_them(warehouse):
    commit(warehouse, make_provenance(), make_video_count("/v/a.mp4"))
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("DROP VIEW review_queue")
    with pytest.raises(WarehouseError, match=r"^the tables must be up to date; repcount tables updates them: .*review_queue"):
        VideoList(warehouse)


def test_tables_without_a_count_are_refused(warehouse):
    commit(warehouse, make_provenance(), make_failure("/v/broken.mp4"))
    with pytest.raises(UsageError, match="at least one counted video"):
        VideoList(warehouse)


def test_numbers_and_curve_are_those_of_the_listed_row(either):
    commit(either, make_provenance(), make_video_count("/v/a.mp4", fps=10.0), make_video_count("/v/b.mp4", period=10))
    listed = VideoList(either)
    video = listed[listed.by_uri["/v/a.mp4"]]
    numbers = listed.numbers_of(video)
    assert (numbers["count"], numbers["fps"], numbers["model"], numbers["first_frame_sec"]) == (2.5, 10.0, "lite", 0.0)
    assert numbers["segments"] == [{"start_sec": 2.5, "end_sec": 7.5, "count": 2.5}]
    assert numbers["repetition_times_sec"] == [4.5, 6.5]
    curve = listed.curve(video)
    assert curve["time_sec"] == pytest.approx(np.arange(100) / 10)
    assert curve["count"][-1] == pytest.approx(2.5)
    assert set(curve["periodicity"]) == {0.0, 1.0}


def test_a_long_curve_is_thinned_and_keeps_its_end(either):
    commit(either, make_provenance(), make_video_count("/v/long.mp4", num_frames=10_001, period=20))
    listed = VideoList(either)
    curve = listed.curve(listed[0])
    assert {len(values) for values in curve.values()} == {1_667}
    assert len(curve["count"]) <= MAX_CURVE_POINTS
    assert (curve["time_sec"][-1], curve["count"][-1]) == (pytest.approx(1000.0), pytest.approx(250.0))
    assert curve["time_sec"] == sorted(curve["time_sec"])
    assert curve["count"] == sorted(curve["count"])


def test_a_file_that_changed_or_is_gone_since_it_was_counted_says_so(warehouse, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    generation = os.stat(path).st_mtime_ns
    commit(warehouse, make_provenance(), make_video_count(str(path), generation))
    video = VideoList(warehouse)[0]
    assert find_video(video, None)[1] == ""
    os.utime(path, ns=(generation + 1, generation + 1))
    found, problem = find_video(video, None)
    assert (found.uri, found.generation) == (str(path), generation + 1)
    assert problem.startswith("The video was changed after it was counted.")
    path.unlink()
    found, problem = find_video(video, None)
    assert found is None
    assert problem.startswith("The video is no longer on this machine.")


def test_a_file_whose_name_is_not_utf_8_is_found(warehouse, tmp_path):
    path = tmp_path / "caf\udce9.mp4"
    path.write_bytes(b"x")
    commit(warehouse, make_provenance(), make_video_count(str(path), os.stat(path).st_mtime_ns))
    found, problem = find_video(VideoList(warehouse)[0], None)
    assert (found.uri, problem) == (str(path), "")


def test_an_object_on_cloud_storage_is_looked_up_and_an_error_is_a_sentence(warehouse, cloud_storage):
    cloud_storage.contents["gym/a.mp4"] = b"content"
    commit(warehouse, make_provenance(), make_video_count("gs://gym/a.mp4", 1), make_video_count("gs://gym/gone.mp4", 1))
    listed = VideoList(warehouse)
    found, problem = find_video(listed[listed.by_uri["gs://gym/a.mp4"]], None)
    assert (found.size_bytes, problem) == (7, "")
    assert find_video(listed[listed.by_uri["gs://gym/gone.mp4"]], None)[1].startswith("The video is no longer there.")
    cloud_storage.requester_pays = True
    found, problem = find_video(listed[listed.by_uri["gs://gym/a.mp4"]], None)
    assert found is None
    assert problem.startswith("The video cannot be read: ")


@pytest.mark.parametrize(
    ("uris", "folder"),
    [
        (["/v/a.mp4"], "/v"),
        (["/v/ann/a.mp4", "/v/anna/a.mp4", "/v/b.mp4"], "/v"),
        (["/a.mp4", "/v/b.mp4"], "/"),
        (["gs://gym/ann/a.mp4", "gs://gym/ann/b/c.mp4"], "gs://gym/ann"),
        (["gs://gym/a.mp4", "gs://gym/b.mp4"], "gs://gym"),
        (["gs://gym/a.mp4", "gs://gym2/b.mp4"], None),
        (["/v/a.mp4", "gs://gym/a.mp4"], None),
    ],
)
def test_labels_start_at_the_deepest_folder_of_all_videos(uris, folder):
    assert shared_folder(uris) == folder
    if folder:
        for uri in uris:
            assert f"{folder.rstrip('/')}/{path_below(uri, folder)}" == uri


@pytest.mark.parametrize(
    ("uri", "folder"),
    [("/v/a.mp4", "/w"), ("/vv/a.mp4", "/v"), ("gs://gym/a/../b.mp4", "gs://gym"), ("gs://gym//a", "gs://gym")],
)
def test_a_video_outside_the_folder_or_with_dots_in_its_path_has_no_label(uri, folder):
    assert path_below(uri, folder) is None
