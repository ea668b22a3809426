"""Charts as inline SVG, without numbers: a page writes those beside them, since the shapes are stretched to its width.

A chart's colours come from the classes of `pipeline/static/base.css`. All text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from pipeline.report.content import HISTOGRAM_BINS, Curve, Day

_WIDTH = 600
"""Width of a chart's coordinates; a page stretches it."""

_HEIGHT = 100
"""Height of a chart's coordinates."""

_GAP = 0.2
"""Share of a bar's place that stays free."""

_WIDEST_BAR = 60.0
"""Width of a bar if there are few."""

_MOST_MARKS = 200
"""Most repetitions that are marked one by one. More would cover the curve."""

_SETS_HEIGHT = 5
"""Height of the strip that shows the sets."""


def svg(title: str, description: str, shapes: Sequence[Markup], *, name: str) -> Markup:
    """Returns a chart.

    Args:
      title: What it shows, in a few words.
      description: What can be read from it, in a sentence.
      shapes: Its shapes, in coordinates from (0, 0) at the top left to (600, 100).
      name: Id of the chart, unique on its page.
    """
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-labelledby="{}-title {}-text">'
        '<title id="{}-title">{}</title><desc id="{}-text">{}</desc>{}</svg>'
    ).format(_WIDTH, _HEIGHT, name, name, name, title, name, description, Markup("").join(shapes))


def days_chart(days: Sequence[Day]) -> Markup:
    """Returns bars of counted and failed videos by day; those of the page's days are strong, the others pale."""
    most = max((day.counted + day.failed for day in days), default=0)
    shapes = []
    for number, day in enumerate(days):
        text = f"{period(day)}: {day.counted:,} counted, {day.failed:,} failed, {day.repetitions:,.0f} repetitions"
        pale = "" if day.in_scope else " pale"
        shapes.append(_bar(number, len(days), most, [(day.counted, f"counted{pale}"), (day.failed, f"failed{pale}")], text))
    total = sum(day.counted for day in days)
    description = (
        f"{videos(total)} counted and {sum(day.failed for day in days):,} failed from {days[0].first} to {days[-1].last}; "
        f"at most {videos(most)} in a bar."
        if days
        else "No videos."
    )
    return svg("Videos by upload date", description, shapes, name="days")


def period(day: Day) -> str:
    """Returns the dates of a bar."""
    return str(day.first) if day.first == day.last else f"{day.first} to {day.last}"


def videos(number: int) -> str:
    """Returns a number of videos in words."""
    return f"{number:,} video" if number == 1 else f"{number:,} videos"


def histogram(numbers: Sequence[int], what: str) -> Markup:
    """Returns bars of the number of videos by confidence or certainty, from 0 to 1.

    Args:
      numbers: (HISTOGRAM_BINS,) number of videos.
      what: What is distributed, in lower case; also the chart's id.
    """
    shapes = [
        _bar(number, HISTOGRAM_BINS, max(numbers), [(value, "counted")], f"{what} {bin_name(number)}: {videos(value)}")
        for number, value in enumerate(numbers)
    ]
    low = sum(numbers[: HISTOGRAM_BINS // 2])
    description = f"Of {videos(sum(numbers))}, {low:,} below 0.5."
    return svg(f"Videos by {what}", description, shapes, name=what)


def bin_name(number: int) -> str:
    """Returns the limits of a bar of a histogram."""
    return f"{number / HISTOGRAM_BINS:.1f} to {(number + 1) / HISTOGRAM_BINS:.1f}"


def differences_chart(by_difference: Mapping[int, int], limit: int) -> Markup:
    """Returns bars of the number of videos by difference of two counts, from -limit to limit."""
    most = max(by_difference.values(), default=0)
    places = range(-limit, limit + 1)
    shapes = [
        _bar(
            number,
            len(places),
            most,
            [(by_difference.get(difference, 0), "counted" if abs(difference) <= 1 else "failed")],
            f"{difference_name(difference, limit)}: {videos(by_difference.get(difference, 0))}",
        )
        for number, difference in enumerate(places)
    ]
    description = f"Of {videos(sum(by_difference.values()))}, {by_difference.get(0, 0):,} differing by less than a half."
    return svg("Videos by difference of the two counts", description, shapes, name="differences")


def difference_name(difference: int, limit: int) -> str:
    """Returns a rounded difference in words; the outermost ones stand for all beyond."""
    beyond = " or more" if difference == limit else " or less" if difference == -limit else ""
    return f"{difference:+d}{beyond}".replace("-", "−") if difference else "0"


def curve_chart(
    curve: Curve,
    duration_sec: float,
    segments: Sequence[tuple[float, float]],
    repetition_times_sec: Sequence[float],
    *,
    video: str,
    name: str,
) -> Markup:
    """Returns the count over time as a line, periodicity as an area, sets as bars at the bottom, repetitions as marks.

    Args:
      curve: The curve.
      duration_sec: Seconds that the width stands for.
      segments: Start and end in seconds of each set.
      repetition_times_sec: Times in seconds at which repetitions were complete.
      video: Name of the video.
      name: Id of the chart, unique on its page.
    """
    width_sec = max(duration_sec, *curve.times_sec, 1e-6)
    most = max(*curve.counts, 1.0)
    floor = _HEIGHT - _SETS_HEIGHT

    def x(time_sec: float) -> float:
        return round(_WIDTH * min(max(time_sec / width_sec, 0.0), 1.0), 1)

    def y(share: float) -> float:
        return round(floor - (floor - 2) * min(max(share, 0.0), 1.0), 1)

    area = " ".join(f"{x(time)},{y(value)}" for time, value in zip(curve.times_sec, curve.periodicity, strict=True))
    line = " ".join(f"{x(time)},{y(count / most)}" for time, count in zip(curve.times_sec, curve.counts, strict=True))
    first, last = x(curve.times_sec[0]), x(curve.times_sec[-1])
    shapes = [
        Markup('<polygon class="periodicity" points="{},{} {} {},{}"/>').format(first, floor, area, last, floor),
    ]
    if len(repetition_times_sec) <= _MOST_MARKS:
        marks = "".join(f"M{x(time)} 0V{floor}" for time in repetition_times_sec)
        shapes.append(Markup('<path class="mark" d="{}"/>').format(marks))
    shapes.append(Markup('<polyline class="count" points="{}"/>').format(line))
    for start_sec, end_sec in segments:
        width = max(round(x(end_sec) - x(start_sec), 1), 1.0)
        shapes.append(
            Markup('<rect class="set" x="{}" y="{}" width="{}" height="{}"/>').format(x(start_sec), floor, width, _SETS_HEIGHT)
        )
    description = f"{curve.counts[-1]:.1f} repetitions in {width_sec:.1f} s; sets: {len(segments):,}."
    return svg(f"Count over time of {video}", description, shapes, name=name)


def _bar(number: int, places: int, most: int, parts: Sequence[tuple[int, str]], text: str) -> Markup:
    """Returns a bar of stacked parts, each a value and a class, with a text that shows under the pointer."""
    place = _WIDTH / max(places, 1)
    width = min(place * (1 - _GAP), _WIDEST_BAR)
    left = round(place * number + (place - width) / 2, 2)
    bottom = float(_HEIGHT)
    shapes = []
    for value, kind in parts:
        height = _HEIGHT * value / most if most else 0.0
        height = max(height, 1.0) if value else 0.0  # one video among thousands is still seen
        bottom -= height
        if value:
            shape = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
            shapes.append(shape.format(kind, left, round(max(bottom, 0.0), 2), round(width, 2), round(height, 2)))
    # An invisible bar of full height, so that the text shows wherever the pointer is.
    touched = Markup('<rect class="touched" x="{}" y="0" width="{}" height="{}"/>')
    shapes.append(touched.format(round(place * number, 2), round(place, 2), _HEIGHT))
    return Markup("<g><title>{}</title>{}</g>").format(text, Markup("").join(shapes))
