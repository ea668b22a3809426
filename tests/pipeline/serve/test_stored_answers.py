"""Rows of the tables become the records of fresh answers; what is not there is left out."""

import pytest

from pipeline.serve.stored_answers import COUNTED_ANEW, key_of, read_answers
from tests.support.samples import make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import commit
from transforms.failure_codes import FailureCode
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def warehouse(tmp_path):
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    failure = make_failure("gs://b/2")
    commit(warehouse, make_provenance(), make_video_count("gs://b/1"), failure, make_failure("gs://b/3", code=FailureCode.GONE))
    return warehouse


def change(warehouse, statement):
    warehouse._connected(lambda connection: connection.execute(statement), 10)


def test_counts_and_failures_are_found_and_all_else_is_left_out(warehouse):
    videos = [make_video(f"gs://b/{number}") for number in (1, 2, 3, 4)]
    records = read_answers(warehouse, make_provenance(), videos)
    assert {video.uri: record["status"] for video, record in records.items()} == {"gs://b/1": "counted", "gs://b/2": "failed"}
    assert records[videos[0]]["options"] == {"stride_rule": "real_frames", "video_threshold": 0.2}
    assert records[videos[0]]["wall_sec"] is None
    assert "curve" not in records[videos[0]]
    assert read_answers(warehouse, make_provenance(), []) == {}


def test_the_version_of_one_video_is_not_that_of_another(warehouse):
    commit(warehouse, make_provenance("second"), make_video_count("gs://b/5", 7))
    videos = [make_video("gs://b/1", 7), make_video("gs://b/5", 1)]
    assert read_answers(warehouse, make_provenance(), videos) == {}


def test_an_old_row_does_not_know_when_its_first_frame_appears(warehouse):
    change(warehouse, "UPDATE video_counts SET first_frame_sec = NULL")
    video = make_video("gs://b/1")
    assert read_answers(warehouse, make_provenance(), [video])[video]["first_frame_sec"] is None


def test_a_count_whose_curve_is_asked_for_and_gone_is_no_answer(warehouse):
    change(warehouse, "DELETE FROM frame_curves")
    video = make_video("gs://b/1")
    assert read_answers(warehouse, make_provenance(), [video], [video]) == {}
    assert read_answers(warehouse, make_provenance(), [video])


def test_failures_of_the_file_and_of_the_program_are_answers():
    answers = {FailureCode(code) for code in FailureCode} - COUNTED_ANEW
    assert answers == {
        FailureCode.EMPTY_FILE,
        FailureCode.NOT_A_VIDEO,
        FailureCode.NO_VIDEO_STREAM,
        FailureCode.NO_FRAMES,
        FailureCode.DECODER_CRASHED,
        FailureCode.WORKER_DIED,
        FailureCode.SCORING_FAILED,
        FailureCode.COUNTING_FAILED,
    }


def test_a_name_that_is_not_utf8_has_the_key_of_its_row():
    assert key_of(make_video("/\udcff.mp4", 3)) == ("/\\udcff.mp4", 3)
