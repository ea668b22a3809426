"""The closing line adds up and says where the time went."""

import dataclasses
import re

import pytest

from pipeline.execute import RunOutcome
from pipeline.summary import exit_code, summary_line
from transforms.failure_limit import FailureLimit
from transforms.warehouse.rows import RunTotals


def test_the_line_accounts_for_every_video():
    totals = RunTotals(listed=1234, counted=1200, failed=30, skipped=4, scored_frames=90_000, video_sec=3000.0)
    line = summary_line("r1", totals, 60.0, {"decode": 12.34, "score": 40.0})
    assert line == (
        "run r1: listed 1,234 = counted 1,200 + failed 30 + skipped 4; 90,000 frames of 3,000.0 s video "
        "in 60.0 s, 1,500 frames/s (decode 12.3 s, score 40.0 s)"
    )


class TestExitCode:
    TOTALS = RunTotals(listed=1, counted=1, failed=0, skipped=0, scored_frames=64, video_sec=2.0)

    @pytest.mark.parametrize(
        ("outcome", "code", "said"),
        [
            (RunOutcome("r1", TOTALS), 0, None),
            (RunOutcome("r1", TOTALS, "run r1 ended as CANCELLED"), 1, "^repcount run: run r1 ended as CANCELLED$"),
            (RunOutcome("r1", dataclasses.replace(TOTALS, listed=2)), 1, "run r1 lost videos: listed 2, but counted 1"),
            (RunOutcome("r1", TOTALS, left_out={"SUFFIX_txt": 5, "PLACEHOLDER": 1}), 0, None),
            (
                RunOutcome("r1", TOTALS, left_out={"UNREADABLE": 2, "UNREADABLE_FOLDER": 1}),
                1,
                "3 matched names cannot be looked",
            ),
            (RunOutcome("r1", RunTotals(21, 19, 2, 0, 64, 2.0)), 1, "2 of 21 videos failed, more than the 5.0%"),
            (RunOutcome("r1", None, "run r1 failed: no disk"), 1, "failed: no disk; it is not in the table `runs`"),
            (RunOutcome("r1", None, "run r1 failed", unreadable="busy"), 1, "failed; its rows may be committed, but .*: busy"),
            (RunOutcome("r1", None, unreadable="busy"), 1, "ended; its rows are committed, but .* cannot be read: busy"),
        ],
    )
    def test_the_sentence_is_true_of_what_was_committed(self, outcome, code, said, capsys):
        assert exit_code(outcome, FailureLimit()) == code
        assert re.search(said or "^$", capsys.readouterr().err)
