"""Charts are well-formed SVG that says in words what it shows."""

import datetime
import re
from xml.etree import ElementTree

import pytest

from pipeline.report import charts
from pipeline.report.content import HISTOGRAM_BINS, Curve, Day

FIRST = datetime.date(2026, 1, 1)


def parse(chart):
    return ElementTree.fromstring(str(chart))


def heights(chart, kind):
    return [float(bar.get("height")) for bar in parse(chart).iter("rect") if bar.get("class") == kind]


def test_every_chart_has_a_title_and_a_description_that_belong_to_it():
    for chart in (
        charts.days_chart([Day(FIRST, FIRST, 1)]),
        charts.days_chart([]),
        charts.histogram([0] * HISTOGRAM_BINS, "confidence"),
        charts.differences_chart({}, 5),
        charts.curve_chart(Curve([0.0], [0.0], [0.5]), 0.0, [], [], video="a.mp4", name="curve-1"),
    ):
        root = parse(chart)
        labels = [root.find(f"*[@id='{name}']") for name in root.get("aria-labelledby").split()]
        assert [label.tag for label in labels] == ["title", "desc"]
        assert all(label.text for label in labels)
        assert root.get("role") == "img"


def test_bars_are_as_high_as_their_numbers_and_a_single_video_is_still_seen():
    days = [Day(FIRST, FIRST, 900, 100, in_scope=True), Day(FIRST, FIRST, 500, 1, in_scope=True), Day(FIRST, FIRST, 250)]
    chart = charts.days_chart(days)
    assert heights(chart, "counted") == [90.0, 50.0]
    assert heights(chart, "failed") == [10.0, 1.0]
    assert heights(chart, "counted pale") == [25.0]
    assert "2026-01-01: 900 counted, 100 failed" in chart


def test_a_histogram_names_the_limits_of_each_bar():
    chart = charts.histogram([0, 0, 3, 0, 0, 0, 0, 0, 0, 6], "certainty")
    assert heights(chart, "counted") == [50.0, 100.0]
    assert "certainty 0.2 to 0.3: 3 videos" in chart
    assert "Of 9 videos, 3 below 0.5." in chart


def test_differences_beyond_the_limit_share_a_bar():
    chart = charts.differences_chart({-2: 1, 0: 4, 2: 2}, 2)
    assert "−2 or less: 1 video<" in chart
    assert "0: 4 videos" in chart
    assert "+2 or more: 2 videos" in chart
    assert (heights(chart, "counted"), heights(chart, "failed")) == ([100.0], [25.0, 50.0])


def test_a_curve_spans_the_video_and_shows_sets_and_repetitions():
    curve = Curve([0.0, 5.0, 10.0], [0.0, 2.0, 4.0], [0.0, 1.0, 0.0])
    chart = charts.curve_chart(curve, 20.0, [(5.0, 10.0)], [5.0, 10.0], video="a.mp4", name="curve-1")
    root = parse(chart)
    (line,) = [shape.get("points") for shape in root.iter("polyline")]
    assert line == "0.0,95.0 150.0,48.5 300.0,2.0"
    (marks,) = [shape.get("d") for shape in root.iter("path")]
    assert marks.count("M") == 2
    (segment,) = [shape for shape in root.iter("rect") if shape.get("class") == "set"]
    assert (segment.get("x"), segment.get("width")) == ("150.0", "150.0")
    assert "4.0 repetitions in 20.0 s; sets: 1." in chart


def test_many_repetitions_are_not_marked_since_they_would_cover_the_curve():
    curve = Curve([0.0, 300.0], [0.0, 500.0], [1.0, 1.0])
    chart = charts.curve_chart(curve, 300.0, [], [float(time) for time in range(300)], video="a.mp4", name="curve-1")
    assert list(parse(chart).iter("path")) == []


@pytest.mark.parametrize("name", ["<script>alert(1)</script>.mp4", '"><img src=x onerror=alert(1)>', "]]>&amp;.mp4"])
def test_a_hostile_name_is_text(name):
    chart = charts.curve_chart(Curve([0.0], [0.0], [0.5]), 1.0, [], [], video=name, name="curve-1")
    root = parse(chart)
    assert root.find("title").text == f"Count over time of {name}"
    assert {element.tag for element in root.iter()} <= {"svg", "title", "desc", "polygon", "path", "polyline"}
    assert not re.search(r"<(script|img)", str(chart))
