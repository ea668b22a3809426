"""Dates and times on the command line: days, ranges of days, times, and `{date}` in a pattern."""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Iterator, Sequence

from transforms.local_files import WILDCARD

MAX_DAYS = 3660
"""Most days in a range. Each day makes a pattern of its own."""

_WORDS = {"today": 0, "yesterday": 1}
"""Days before today, by word."""

_LAST_DAYS = re.compile(r"([0-9]{1,9})d")

_ANYTHING = re.compile(r"(?:%-?[A-Za-z])+")
"""Parts of a date format that stand for something else every day."""

_FIELD = re.compile(r"\{date(?::([^{}]*))?\}")


def parse_day(text: str) -> datetime.date:
    """Parses a day such as 2026-01-31, for argparse."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a day such as 2026-01-31. Received: {text!r}") from None


def parse_days(text: str) -> tuple[datetime.date, ...]:
    """Parses a day, a range such as 2026-01-01..2026-01-31 that includes both ends, or the last days, for argparse.

    A day may also be `today` or `yesterday` (UTC). `7d` is today and the six days before it.
    """
    if last_days := _LAST_DAYS.fullmatch(text):
        days = int(last_days[1])
        if not 0 < days <= MAX_DAYS:
            raise argparse.ArgumentTypeError(f"must be from 1d to {MAX_DAYS}d. Received: {text!r}")
        return _days_from(_parse_day_or_word("today") - datetime.timedelta(days=days - 1), days)
    first, separator, last = text.partition("..")
    start = _parse_day_or_word(first)
    end = _parse_day_or_word(last) if separator else start
    days = (end - start).days + 1
    if not 0 < days <= MAX_DAYS:
        raise argparse.ArgumentTypeError(
            f"must be a day or a range such as 2026-01-01..2026-01-31 of at most {MAX_DAYS} days. Received: {text!r}"
        )
    return _days_from(start, days)


def _days_from(start: datetime.date, number_of_days: int) -> tuple[datetime.date, ...]:
    return tuple(start + datetime.timedelta(days=number) for number in range(number_of_days))


def _parse_day_or_word(text: str) -> datetime.date:
    if text in _WORDS:
        return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=_WORDS[text])
    return parse_day(text)


def parse_time(text: str) -> datetime.datetime:
    """Parses a day, or a time such as 2026-01-31T18:30:00+01:00, for argparse. Without a zone it is UTC."""
    try:
        time = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a day such as 2026-01-31, or a time such as 2026-01-31T18:30:00+01:00. Received: {text!r}"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def with_dates(patterns: Sequence[str], days: Sequence[datetime.date] | None) -> Iterator[str]:
    """Yields each pattern once per day, with the day in place of `{date}`, or of `{date:%Y/%m/%d}` for another format.

    Raises:
      ValueError: Days are given but a pattern has no `{date}`, or a pattern has `{date}` but no days are given.
    """
    for pattern in patterns:
        has_place = _FIELD.search(pattern) is not None
        if has_place and days is None:
            raise ValueError(f"an input with {{date}} needs --dates, such as 2026-01-01..2026-01-31. Received: {pattern!r}")
        if days is None:
            yield pattern
        elif has_place:
            yield from dict.fromkeys(_on(pattern, day) for day in days)
        else:
            raise ValueError(f"--dates needs {{date}} in each input, such as 'gs://bucket/{{date}}/**'. Received: {pattern!r}")


def on_any_day(pattern: str) -> list[str]:
    """Returns patterns that match what `pattern` matches on any day: each part of `{date}` becomes `*`.

    A pattern without a wildcard may name a folder, so the result also has the pattern of everything below it.
    """
    any_day = _FIELD.sub(lambda field: _ANYTHING.sub("*", field[1] or "%Y-%m-%d").replace("%%", "%"), pattern)
    return [any_day] if WILDCARD.search(_FIELD.sub("", pattern)) else [any_day, f"{any_day.rstrip('/')}/**"]


def _on(pattern: str, day: datetime.date) -> str:
    return _FIELD.sub(lambda field: day.strftime(field[1] or "%Y-%m-%d"), pattern)
