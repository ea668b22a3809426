"""JSON, CSV and subtitles of a video: complete, readable by their programs, whatever the video is called."""

import csv
import io
import json

import numpy as np
import pytest

from pipeline.count_formats import CSV_COLUMNS, CURVE_FIELDS, TEXT_FORMATS, Outcome, to_text
from pipeline.counted_video import describe
from tests.support.samples import HOSTILE_NAMES, make_failure, make_video_count
from tests.support.scorers import FAKE_COUNTER


def text(result, text_format, **options):
    return to_text(Outcome(result, FAKE_COUNTER, wall_sec=0.25), text_format, **options)


def rows(table):
    return list(csv.DictReader(io.StringIO(table)))


def test_json_has_all_of_a_count_in_one_line():
    result = make_video_count()
    line = text(result, "json")
    assert line.index("\n") == len(line) - 1
    record = json.loads(line)
    counted = describe(result, FAKE_COUNTER)
    assert record["repetition_times_sec"] == pytest.approx(counted.repetition_times_sec)
    segment = {"start_sec": 2.5, "end_sec": 7.5, "count": 2.5, "rate_hz": 0.5, "rate_per_minute": 30.0}
    assert record["segments"] == [segment]
    assert record["stride_scores"] == {"1": 0.25, "2": 0.5}
    assert record["options"] == json.loads(json.dumps(counted.options))
    assert record["wall_sec"] == 0.25
    assert not set(CURVE_FIELDS) & set(record)


def test_the_curve_is_added_on_request():
    result = make_video_count()
    record = json.loads(text(result, "json", with_curve=True))
    for name in CURVE_FIELDS:
        expected = getattr(describe(result, FAKE_COUNTER), name)
        np.testing.assert_allclose(np.array(record[name], np.float64), expected, atol=1e-6, err_msg=name)
    assert record["period_sec"][0] is None


def test_json_of_a_count_of_zero_is_valid():
    result = make_video_count(
        count=0.0, certainty=None, segments=(), repetition_frames=np.array([]), is_periodic=np.zeros(100, bool)
    )
    record = json.loads(text(result, "json", with_curve=True))
    assert (record["mean_period_sec"], record["mean_rate_hz"], record["certainty"]) == (None, None, None)
    assert (record["repetition_times_sec"], record["segments"]) == ([], [])


def test_csv_is_a_row_below_a_header():
    counted, failed = rows(text(make_video_count(), "csv") + text(make_failure(), "csv", with_header=False))
    assert tuple(counted) == CSV_COLUMNS
    assert (counted["status"], counted["count_rounded"], counted["rate_per_minute"]) == ("counted", "3", "30.0")
    assert (counted["num_segments"], counted["first_start_sec"], counted["last_end_sec"]) == ("1", "2.5", "7.5")
    assert [float(time) for time in counted["repetition_times_sec"].split()] == pytest.approx(
        make_video_count().repetition_times_sec, abs=1e-3
    )
    assert (failed["status"], failed["count"], failed["code"]) == ("failed", "", make_failure().code.value)


def test_subtitles_of_a_failed_video_do_not_exist():
    assert text(make_failure(), "srt") is None
    assert text(make_failure(), "vtt") is None


def test_subtitles_have_a_cue_for_each_repetition():
    result = make_video_count()
    assert text(result, "srt").count("-->") == text(result, "vtt").count("-->") == len(result.repetition_times_sec)


@pytest.mark.parametrize("text_format", TEXT_FORMATS)
@pytest.mark.parametrize("name", ["=HYPERLINK(1)", *HOSTILE_NAMES])
def test_a_name_breaks_no_line_and_no_encoding(text_format, name):
    written = text(make_video_count(name), text_format)
    written.encode("utf-8")
    lines = {"json": 1, "csv": 2}
    assert written.count("\n") == lines.get(text_format, written.count("\n"))
    if text_format == "csv":
        (row,) = rows(written)
        assert row["video_uri"][0] not in "=+-@"
        assert row["status"] == "counted"
