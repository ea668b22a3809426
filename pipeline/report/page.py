"""Renders a report as one HTML file: styles, charts and pictures inside, no script, nothing from a network.

Names and messages come from strangers. `pipeline.pages` makes them harmless, and a policy in the page forbids it to load or run
anything.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.pages import UNKNOWN, make_environment
from pipeline.report import charts
from pipeline.report.content import Curve, Report, ReviewedVideo
from pipeline.report.data import MAX_DIFFERENCE
from transforms.failure_codes import EXPLANATIONS
from transforms.text import printable
from transforms.warehouse.views import UNSURE_BELOW, UNSURE_CONFIDENCE


@dataclasses.dataclass(frozen=True)
class Card:
    """A number with its label.

    Attributes:
      label: What the number is.
      value: The number as text.
      detail: A few words about it; "" for none.
      before: The number of what came before; "" if nothing did.
      change: How much it has changed since; "" if that is unknown.
      is_bad: Whether it should draw attention.
    """

    label: str
    value: str
    detail: str = ""
    before: str = ""
    change: str = ""
    is_bad: bool = False


def _make_environment() -> jinja2.Environment:
    """Returns the environment of every page, with the filters of the report."""
    environment = make_environment(Path(__file__).parent / "templates")
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "bin_name": charts.bin_name,
        "decimals": _decimals,
        "difference_name": lambda difference: charts.difference_name(difference, MAX_DIFFERENCE),
        "duration": duration,
        "file_name": lambda uri: uri.rstrip("/").rpartition("/")[2] or uri,
        "number": _number,
        "percent": _percent,
        "period": charts.period,
        "signed": _signed,
        "size": size,
        "videos": charts.videos,
        "when": lambda time: f"{time:%Y-%m-%d %H:%M}",
    }
    return environment


def render(report: Report, written: datetime.datetime) -> str:
    """Returns the page of a report.

    Args:
      report: What the page shows.
      written: Time (UTC) at which the page is written.
    """
    scope = report.scope
    title = f"Run {scope.name}" if scope.is_run else f"Videos of {scope.name.replace('..', ' to ')}"
    sections = [
        ("totals", "Totals", True),
        ("days", "Days", bool(report.days)),
        ("failures", "Failures", bool(report.failures or report.failures_before)),
        ("sureness", "Sureness", bool(report.totals.in_tables)),
        ("review", "To review", bool(report.review)),
        ("longest", "Longest", bool(report.longest)),
        ("comparison", "Two models", report.comparison is not None),
    ]
    return (
        _make_environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            title=title,
            subtitle=_subtitle(report),
            sections=[(anchor, text) for anchor, text, is_there in sections if is_there],
            lead=_lead(report),
            cards=_cards(report),
            most_of_days=max((day.counted + day.failed for day in report.days), default=0),
            days_chart=charts.days_chart,
            histogram=charts.histogram,
            curve_chart=_curve_chart,
            differences_chart=lambda by_difference: charts.differences_chart(by_difference, MAX_DIFFERENCE),
            difference_ends=[charts.difference_name(number, MAX_DIFFERENCE) for number in (-MAX_DIFFERENCE, 0, MAX_DIFFERENCE)],
            explanations={code.value: explanation for code, explanation in EXPLANATIONS.items()},
            review_lead=_review_lead(report),
            longest_caption=_longest_caption(report),
            version=importlib.metadata.version("repcount"),
            written=written,
        )
    )


def duration(seconds: float | None) -> str:
    """Returns a duration in the units that suit it, such as "10.7 s" or "2.3 h"."""
    if seconds is None:
        return UNKNOWN
    for unit, unit_sec in (("s", 1), ("min", 60)):
        if seconds / unit_sec < 99.95:
            return f"{seconds / unit_sec:.1f} {unit}"
    return f"{seconds / 3600:,.1f} h"


def size(num_bytes: int) -> str:
    """Returns a size in decimal units, such as "3.2 MB"."""
    amount = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 99.95 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def _curve_chart(video: ReviewedVideo, curve: Curve, name: str) -> Markup:
    file_name = printable(video.uri.rpartition("/")[2])
    return charts.curve_chart(
        curve, video.duration_sec or 0.0, video.segments, video.repetition_times_sec, video=file_name, name=name
    )


def _subtitle(report: Report) -> str:
    scope = report.scope
    parts = [f"Model {scope.model}"]
    if scope.started is not None:
        parts.append(f"{'started' if scope.is_run else 'last counted'} {scope.started:%Y-%m-%d %H:%M} UTC")
    if report.before is not None:
        parts.append(f"beside it: {'run ' if scope.is_run else ''}{report.before.name.replace('..', ' to ')}")
    elif scope.is_run:
        parts.append("no earlier run to put beside it")
    return " · ".join(parts)


def _lead(report: Report) -> str:
    totals = report.totals
    if totals.listed is None:
        which = "with this model and these options" if report.has_others else "uploaded"
        outcomes = charts.videos(totals.counted + totals.failed)
        return f"{outcomes} {which}: {totals.counted:,} counted, {totals.failed:,} failed."
    listed = charts.videos(totals.listed)
    text = f"{listed} listed: {totals.counted:,} counted, {totals.failed:,} failed, {totals.skipped:,} skipped"
    if totals.listed and totals.listed == totals.skipped:
        return f"{text}. Nothing was new: the tables had all these videos."
    return f"{text} since the tables had them." if totals.skipped else f"{text}."


def _cards(report: Report) -> list[Card]:
    now, before = report.totals, report.totals_before
    outcomes, zeros = now.counted + now.failed, now.in_tables - now.repeating
    remaining = f"of {now.in_tables:,} counts still in the tables" if now.in_tables < now.counted else ""
    speed = (
        f"{now.video_sec / now.wall_sec:,.1f} s of video a second" if now.wall_sec and now.wall_sec > 0 < now.video_sec else ""
    )
    without = ", ".join(filter(None, [f"{zeros:,} without repetition", remaining])) if zeros else ""
    cards = [
        _card("Counted", now.counted, before and before.counted, _number, without),
        _card("Failed", now.failed, before and before.failed, _number, _percent(now.failed / outcomes) if now.failed else ""),
        _card("Repetitions", now.repetitions, before and before.repetitions, _number, remaining),
        _card("Video", now.video_sec, before and before.video_sec, duration),
        _card("Mean confidence", now.mean_confidence, before and before.mean_confidence, _two_decimals, "of counts > 0"),
        _card("Mean certainty", now.mean_certainty, before and before.mean_certainty, _percent, "to be within one"),
        _card("Time taken", now.wall_sec, before and before.wall_sec, duration, speed),
    ]
    return [card for card in cards if card.value != UNKNOWN]


def _card(label: str, now: float | None, before: Any, write: Callable[[float | None], str], detail: str = "") -> Card:
    """Returns a card. Numbers of videos and repetitions also say by how much they have changed."""
    change = ""
    if write is _number and now is not None and before:
        change = f"({(now - before) / before:+.0%})".replace("-", "−").replace("%", " %") if now != before else ""
    earlier = write(before) if before is not None else ""
    is_bad = label == "Failed" and bool(now)
    return Card(label, write(now), detail, "" if earlier == UNKNOWN else earlier, change, is_bad)


def _review_lead(report: Report) -> str:
    shown, unsure, counts = len(report.review), report.to_review, report.totals.in_tables
    measure, limit = "certainty", f"{UNSURE_BELOW:.0%}".replace("%", " %")
    if report.totals.mean_certainty is None:
        measure, limit = "confidence", str(UNSURE_CONFIDENCE)
    if unsure:
        reason = f"their {measure} is below {limit}, or they are 0 although something nearly repeats"
        text = f"{unsure:,} of {counts:,} counts should be checked: {reason}."
    else:
        text = f"No count is in doubt: each has a {measure} of at least {limit}, or is clearly 0."
    if shown == counts:
        return f"{text} Least sure first."
    return (
        f"{text} These are the {shown:,} least sure ones; {counts - shown:,} are left out. The view review_queue "
        "lists what to check of all runs."
    )


def _longest_caption(report: Report) -> str:
    shown, all_videos = len(report.longest), report.totals.in_tables
    return (
        f"All {charts.videos(shown)}, longest first."
        if shown == all_videos
        else f"The {shown:,} longest of {charts.videos(all_videos)}."
    )


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _two_decimals(value: float | None) -> str:
    return _decimals(value, 2)


def _decimals(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.{0 if value in (0, 1) or value >= 0.1 else 1}f} %"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
