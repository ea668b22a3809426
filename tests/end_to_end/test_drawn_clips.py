"""`repcount evaluate` with the shipped model counts three drawn clips correctly.

The clips in `drawn_clips/` were drawn by `demo.draw_videos` and encoded with H.264 (libx264, preset veryslow, CRF 31).
`labels.csv` has their true counts. One clip rests after its repetitions, one has none.
"""

import json
from pathlib import Path

from pipeline import main

FOLDER = Path(__file__).parent / "drawn_clips"


def test_every_count_is_off_by_at_most_one_and_nothing_is_counted_at_rest(capsys):
    assert main.main(["evaluate", "--videos", str(FOLDER), "--labels", str(FOLDER / "labels.csv"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    errors = {clip["file"]: clip["error"] for clip in report["clips"]}
    assert set(errors) == {"squats.mp4", "toe_touches_then_rest.mp4", "no_repetition.mp4"}
    assert abs(errors["squats.mp4"]) < 0.5
    assert abs(errors["toe_touches_then_rest.mp4"]) <= 1
    assert abs(errors["no_repetition.mp4"]) < 0.5
    assert (report["measures"]["obo"], report["measures"]["zero_share"]) == (1.0, 1.0)
