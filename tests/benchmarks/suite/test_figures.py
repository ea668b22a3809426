"""The file of figures keeps the latest record of each benchmark, and is whole at any moment."""

import json

import pytest

from benchmarks.suite.figures import FiguresError, merge_record, read_figures
from tests.support.figures import READING, record


def test_a_missing_file_has_no_figures(tmp_path):
    assert read_figures(tmp_path / "benchmarks.json") == {}


def test_a_record_replaces_the_one_of_its_benchmark_and_keeps_the_others(tmp_path):
    path = tmp_path / "benchmarks.json"
    merge_record(path, "reading", record(READING))
    merge_record(path, "progress", record({"share": 0.003}))
    merge_record(path, "reading", record(READING, date="2026-02-01"))
    assert read_figures(path) == {"progress": record({"share": 0.003}), "reading": record(READING, date="2026-02-01")}
    assert [other.name for other in tmp_path.iterdir()] == ["benchmarks.json"]


def test_a_record_that_cannot_be_written_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "benchmarks.json"
    merge_record(path, "reading", record(READING))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        merge_record(path, "progress", record({"share": object()}))
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"reading": {"seconds": 1}}', '{"reading": 1}'])
def test_a_file_of_another_kind_is_named_and_kept(content, tmp_path):
    path = tmp_path / "benchmarks.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FiguresError, match=r"benchmarks\.json must be written by `python -m benchmarks`\. Received: "):
        merge_record(path, "reading", record(READING))
    assert path.read_text(encoding="utf-8") == content


def test_the_file_is_json_that_people_can_read(tmp_path):
    path = tmp_path / "benchmarks.json"
    merge_record(path, "reading", record(READING))
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) > 10
    assert json.loads(text)["reading"]["results"] == READING
