"""The table shows what there is to know and leaves out columns that have nothing to say."""

import io

import pytest
from rich.console import Console

from pipeline.results_table import fit_columns, print_line, print_results, print_table, results_table, text_table
from transforms.records import VideoResult


def test_columns_that_are_needed_least_are_left_out_until_the_rest_fits():
    columns = {"a": ["1" * 20], "b": ["2" * 20], "c": ["3" * 20]}
    assert list(fit_columns(columns, ("b", "a"), 80)) == ["a", "b", "c"]
    assert list(fit_columns(columns, ("b", "a"), 50)) == ["a", "c"]
    assert list(fit_columns(columns, ("b", "a"), 10)) == ["c"]


def rendered(results, width=120):
    out = io.StringIO()
    Console(file=out, width=width).print(results_table(results, width))
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


COUNTED = VideoResult("squats.mp4", 8.24, 0.876, 11.8, ("ROTATED",), wall_sec=0.52)
FAILED = VideoResult("empty.mp4", None, code="EMPTY_FILE", message="the file is empty, which is not much of a video")


def test_the_whole_number_comes_first_and_the_fraction_beside_it():
    heading, _, row = rendered([COUNTED])
    assert heading.split() == ["video", "count", "exact", "confidence", "seconds", "took", "remark"]
    assert row.split() == ["squats.mp4", "8", "8.2", "0.88", "11.8", "0.5", "s", "ROTATED"]


def test_columns_without_anything_in_them_are_left_out():
    heading, _, row = rendered([VideoResult("squats.mp4", 6.0, 0.9, 11.8)])
    assert heading.split() == ["video", "count", "exact", "confidence", "seconds"]
    assert row.split() == ["squats.mp4", "6", "6.0", "0.90", "11.8"]


def test_a_failed_video_has_no_numbers():
    *_, row = rendered([COUNTED, FAILED], width=200)
    assert row.split()[:3] == ["empty.mp4", "EMPTY_FILE:", "the"]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (85, ["video", "count", "exact", "confidence", "seconds", "remark"]),
        (75, ["video", "count", "exact", "confidence", "remark"]),
        (63, ["video", "count", "exact", "remark"]),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_lines(width, headings):
    failed = VideoResult("empty.mp4", None, code="EMPTY_FILE", message="the file is empty")
    lines = rendered([COUNTED, failed], width)
    assert lines[0].split() == headings
    assert len(lines) == 4
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_gets_the_code_of_a_failure_without_its_message():
    *_, row = rendered([COUNTED, FAILED], width=46)
    assert row.split() == ["empty.mp4", "EMPTY_FILE"]


def test_a_long_name_is_folded_and_never_cut():
    name = "x" * 100 + ".mp4"
    lines = rendered([VideoResult(name, 1.0, 0.5, 2.0)], width=60)
    assert "".join(line.split()[0] for line in lines[2:]) == name


def test_without_a_terminal_a_video_is_one_line_of_fields(capsys):
    print_results([COUNTED, FAILED])
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["squats.mp4", "8", "8.2", "0.88", "11.8", "ROTATED"],
        ["empty.mp4", "-", "-", "-", "-", "EMPTY_FILE: the file is empty, which is not much of a video"],
    ]


def test_names_and_messages_cannot_add_fields_or_lines(capsys):
    print_line(VideoResult("a\tb\n.mp4", None, code="READ_ERROR", message="x\ty"))
    assert capsys.readouterr().out == "a\ufffdb\ufffd.mp4\t-\t-\t-\t-\tREAD_ERROR: x\ufffdy\n"


def test_in_a_file_a_table_is_as_wide_as_it_needs_to_be(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name, words = "x" * 200 + ".mp4", "a word " * 30
    print_table(text_table(("file", "remark"), [(name, words)]))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "x" in line)
    assert line.split() == [name, *words.split()]


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["gs://gym/2026/a/squats.mp4", "gs://gym/2026/abs.mp4"], ["a/squats.mp4", "abs.mp4"]),
        (["/videos/squats.mp4"], ["squats.mp4"]),
        (["/videos/1.mp4", "gs://gym/1.mp4"], ["/videos/1.mp4", "gs://gym/1.mp4"]),
        (["1.mp4", "10.mp4"], ["1.mp4", "10.mp4"]),
        (["/squats/1.mp4", "/squats_2/1.mp4"], ["squats/1.mp4", "squats_2/1.mp4"]),
    ],
)
def test_folders_that_all_videos_share_are_left_out(uris, names):
    _, _, *rows = rendered([VideoResult(uri, 1.0, 0.5, 2.0) for uri in uris])
    assert [row.split()[0] for row in rows] == names
