"""The closing line adds up and says where the time went."""

from pipeline.summary import summary_line
from transforms.warehouse.rows import RunTotals


def test_the_line_accounts_for_every_video():
    totals = RunTotals(listed=1234, counted=1200, failed=30, skipped=4, scored_frames=90_000, video_sec=3000.0)
    line = summary_line("r1", totals, 60.0, {"decode": 12.34, "score": 40.0})
    assert line == (
        "run r1: listed 1,234 = counted 1,200 + failed 30 + skipped 4; 90,000 frames of 3,000.0 s video "
        "in 60.0 s, 1,500 frames/s (decode 12.3 s, score 40.0 s)"
    )
