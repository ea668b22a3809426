"""Staged rows go to files of bounded size that together hold every row."""

import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import Forbidden

from tests.support.samples import make_failure, make_provenance, make_video_count
from transforms.warehouse import parquet
from transforms.warehouse.parquet import TableWriter
from transforms.warehouse.rows import count_row, curve_row, failure_row, to_record_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS


def write(folder, table, rows):
    """Writes rows one by one and returns the files."""
    writer = TableWriter(str(folder), table)
    for row in rows:
        writer.write(to_record_batch(row, table))
    return writer.close()


def test_a_file_has_the_schema_of_its_table_and_all_rows(tmp_path):
    (file,) = write(tmp_path, FAILURES, [failure_row(make_failure(f"gs://b/{n}"), make_provenance()) for n in range(3)])
    assert (file.table, file.num_rows) == ("failures", 3)
    read = pq.read_table(file.path)
    assert read.schema.equals(FAILURES.arrow_schema)
    assert read["video_uri"].to_pylist() == ["gs://b/0", "gs://b/1", "gs://b/2"]


def test_an_upload_that_is_refused_says_why(cloud):
    cloud.storage.fail(lambda request: request.method in ("POST", "PUT"), status=403, reason="forbidden", times=9)
    with pytest.raises(Forbidden, match="as the test wishes"):
        write(f"{cloud.temp_location}/rows", FAILURES, [failure_row(make_failure(), make_provenance())])


def test_without_a_row_there_is_no_file(tmp_path):
    assert write(tmp_path, FAILURES, []) == []
    assert list(tmp_path.iterdir()) == []


def test_many_small_rows_are_written_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 6)
    rows = [count_row(make_video_count(f"gs://b/{number}"), make_provenance()) for number in range(11)]
    (file,) = write(tmp_path, VIDEO_COUNTS, rows)
    assert file.num_rows == 11
    assert pq.read_metadata(file.path).num_row_groups == 2


def test_large_rows_are_written_to_several_files(tmp_path, monkeypatch):
    one_curve = 24 * 1024
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2 * one_curve)
    monkeypatch.setattr(parquet, "FILE_BYTES", 4 * one_curve)
    videos = [make_video_count(f"gs://b/{number}", num_frames=512) for number in range(11)]
    files = write(tmp_path, FRAME_CURVES, [curve_row(video, make_provenance()) for video in videos])
    assert [file.num_rows for file in files] == [4, 4, 3]
    assert [pq.read_metadata(file.path).num_row_groups for file in files] == [2, 2, 2]
    assert all(file.num_bytes < 5 * one_curve for file in files)


def test_a_discarded_file_is_closed_and_not_returned(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1)
    streams = []
    create = parquet.FileSystems.create
    monkeypatch.setattr(parquet.FileSystems, "create", lambda path: streams.append(create(path)) or streams[-1])
    writer = TableWriter(str(tmp_path), FAILURES)
    writer.write(to_record_batch(failure_row(make_failure(), make_provenance()), FAILURES))
    assert [stream.closed for stream in streams] == [False]
    writer.discard()
    assert [stream.closed for stream in streams] == [True]
    assert writer.close() == []


@pytest.mark.parametrize("num_rows", [1, 5])
def test_the_size_in_memory_is_counted(tmp_path, num_rows):
    batch = to_record_batch(failure_row(make_failure(), make_provenance()), FAILURES)
    (file,) = write(tmp_path, FAILURES, [failure_row(make_failure(), make_provenance())] * num_rows)
    assert file.num_bytes == num_rows * batch.nbytes
