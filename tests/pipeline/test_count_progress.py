"""A terminal shows how many videos are done; results on standard output stay apart from it."""

import json
import re

import pytest

from pipeline.count_progress import show_videos
from tests.support.marks import slow
from tests.support.terminals import run_at_terminal
from tests.support.videos import draw_video

COUNT = "import sys; from pipeline.main import main; from tests.support.scorers import FAKE_COUNTER as c; "


@pytest.mark.parametrize("num_videos", [*slow(1), 3])
def test_results_go_to_the_file_and_progress_to_the_terminal(tmp_path, num_videos):
    for number in range(num_videos):
        draw_video(tmp_path / f"squats[red]{number}.mp4", 100)
    command = f"sys.exit(main(['count', '--json', {str(tmp_path)!r}], load_counter=lambda args: c))"
    exit_code, output, shown = run_at_terminal(COUNT + command, width=300)
    assert exit_code == 0, shown
    assert [json.loads(line)["count_rounded"] for line in output.splitlines()] == [5] * num_videos
    assert "video_uri" not in shown
    assert f"Counting {tmp_path}/squats[red]0.mp4" in shown
    assert (f"0/{num_videos} videos" in shown) == (num_videos > 1)


def test_at_the_same_terminal_each_result_is_a_whole_line(tmp_path):
    for number in range(2):
        draw_video(tmp_path / f"squats{number}.mp4", 100)
    command = f"sys.exit(main(['count', '--json', {str(tmp_path)!r}], load_counter=lambda args: c))"
    exit_code, _, shown = run_at_terminal(COUNT + command, width=80, with_output=True)
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.startswith("{")]
    assert (exit_code, [json.loads(line)["count_rounded"] for line in lines]) == (0, [5, 5])


def test_a_narrow_terminal_cuts_the_name_off(tmp_path):
    for number in range(2):
        draw_video(tmp_path / f"{'x' * 200}{number}.mp4", 30)
    command = f"sys.exit(main(['count', '--format', 'csv', {str(tmp_path)!r}], load_counter=lambda args: c))"
    exit_code, output, shown = run_at_terminal(COUNT + command, width=80)
    assert (exit_code, len(output.splitlines())) == (0, 3)
    assert "…" in shown
    assert "xxx0.mp4" not in shown


def test_without_a_terminal_nothing_is_shown(capsys):
    with show_videos(2) as progress:
        progress.begin("a.mp4")
        with progress.printing():
            print("a.mp4 8")
    assert capsys.readouterr() == ("a.mp4 8\n", "")
