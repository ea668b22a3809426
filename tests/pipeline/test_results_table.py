"""The table shows what there is to know and leaves out columns that have nothing to say."""

import io

import pytest
from rich.console import Console

from pipeline.results_table import print_table, printable, results_table
from transforms.records import VideoResult


def rendered(rows, width=120):
    out = io.StringIO()
    Console(file=out, width=width).print(results_table(rows))
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def test_every_column_has_its_unit_or_its_scale():
    heading, _, row = rendered([VideoResult("squats.mp4", 6.04, 0.876, 11.8, ("ROTATED",), wall_sec=0.52)])
    assert heading.split() == ["video", "count", "confidence", "seconds", "took", "remark"]
    assert row.split() == ["squats.mp4", "6.0", "0.88", "11.8", "0.5", "s", "ROTATED"]


def test_columns_without_anything_in_them_are_left_out():
    heading, _, row = rendered([VideoResult("squats.mp4", 6.0, 0.9, 11.8)])
    assert heading.split() == ["video", "count", "confidence", "seconds"]
    assert row.split() == ["squats.mp4", "6.0", "0.90", "11.8"]


def test_a_failed_video_has_no_numbers():
    *_, row = rendered([VideoResult("a.mp4", 1.0, 0.5, 2.0), VideoResult("b.mp4", None, code="EMPTY_FILE", message="no bytes")])
    assert row.split() == ["b.mp4", "EMPTY_FILE:", "no", "bytes"]


def test_a_long_name_is_folded_and_never_cut():
    name = "x" * 100 + ".mp4"
    lines = rendered([VideoResult(name, 1.0, 0.5, 2.0)], width=60)
    assert "".join(line.split()[0] for line in lines[2:]) == name


def test_in_a_file_a_line_is_as_long_as_it_needs_to_be(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name, message = "x" * 200 + ".mp4", "a word " * 30
    print_table(results_table([VideoResult(name, None, None, 2.0, (), "READ_ERROR", message)]))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "x" in line)
    assert line.split() == [name, "2.0", "READ_ERROR:", *message.split()]


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


def test_bytes_that_are_no_text_and_commands_are_replaced():
    assert printable("caf\u00e9 \udcff\n\x1b[2J") == "café \ufffd\ufffd\ufffd[2J"
