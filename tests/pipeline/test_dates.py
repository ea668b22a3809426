"""Days and times are parsed, or refused in one line, and replace {date} in patterns."""

import argparse
import datetime

import pytest

from pipeline.dates import on_any_day, parse_day, parse_days, parse_time, with_dates

UTC = datetime.UTC
JANUARY_31 = datetime.date(2026, 1, 31)


def test_a_range_has_both_its_ends():
    assert parse_days("2026-01-31") == (JANUARY_31,)
    assert parse_days("2026-01-30..2026-02-01") == (datetime.date(2026, 1, 30), JANUARY_31, datetime.date(2026, 2, 1))
    assert len(parse_days("2024-01-01..2024-12-31")) == 366


def test_today_and_yesterday_are_days():
    yesterday, today = parse_days("yesterday..today")
    assert today - yesterday == datetime.timedelta(days=1)
    assert abs(datetime.datetime.now(UTC).date() - today) <= datetime.timedelta(days=1)


def test_the_last_days_end_today():
    today, *_ = parse_days("today")
    assert parse_days("1d") == (today,)
    assert parse_days("7d") == tuple(today - datetime.timedelta(days=days) for days in range(6, -1, -1))


@pytest.mark.parametrize(
    ("pattern", "wider"),
    [
        ("gs://gym/{date}/**", ["gs://gym/*-*-*/**"]),
        ("gs://gym/{date:%Y/%m/%d}/*.mp4", ["gs://gym/*/*/*/*.mp4"]),
        ("gs://gym/{date:%Y%m%d}_*.mp4", ["gs://gym/*_*.mp4"]),
        ("videos/{date}/", ["videos/*-*-*/", "videos/*-*-*/**"]),
        ("gs://gym/set[1/{date}", ["gs://gym/set[1/*-*-*", "gs://gym/set[1/*-*-*/**"]),
    ],
)
def test_a_pattern_is_widened_to_any_day(pattern, wider):
    assert on_any_day(pattern) == wider


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0d",
        "-1d",
        "d",
        "9999d",
        "7d..today",
        "31.1.2026",
        "2026-02-30",
        "2026-01-31..",
        "..2026-01-31",
        "2026-01-31..2026-01-30",
        "a..b",
    ],
)
def test_an_invalid_range_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="Received: "):
        parse_days(text)


def test_a_range_of_a_lifetime_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="at most 3660 days"):
        parse_days("1900-01-01..2026-01-01")


def test_a_day_is_a_day():
    assert parse_day("2026-01-31") == JANUARY_31


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31", datetime.datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T18:30", datetime.datetime(2026, 1, 31, 18, 30, tzinfo=UTC)),
        ("2026-01-31T18:30:00Z", datetime.datetime(2026, 1, 31, 18, 30, tzinfo=UTC)),
        ("2026-01-31T18:30:00+01:00", datetime.datetime(2026, 1, 31, 17, 30, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(text, time):
    assert parse_time(text) == time


def test_an_invalid_time_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be a day such as .*Received: 'last week'"):
        parse_time("last week")


def test_each_day_takes_the_place_of_date():
    days = parse_days("2026-01-31..2026-02-01")
    assert list(with_dates(["gs://b/{date}/**", "gs://c/{date:%Y/%m/%d}/*-{date}.mp4"], days)) == [
        "gs://b/2026-01-31/**",
        "gs://b/2026-02-01/**",
        "gs://c/2026/01/31/*-2026-01-31.mp4",
        "gs://c/2026/02/01/*-2026-02-01.mp4",
    ]


def test_days_that_are_spelled_alike_make_one_pattern():
    assert list(with_dates(["gs://b/{date:%Y-%m}/**"], parse_days("2026-01-01..2026-01-31"))) == ["gs://b/2026-01/**"]


def test_patterns_without_a_place_stay_as_they_are():
    assert list(with_dates(["a/{b}/**", "a/{dates}"], None)) == ["a/{b}/**", "a/{dates}"]


def test_days_and_places_come_together():
    with pytest.raises(ValueError, match=r"needs --dates.*Received: 'gs://b/\{date\}'"):
        list(with_dates(["gs://b/{date}"], None))
    with pytest.raises(ValueError, match=r"needs \{date\} in each input.*Received: 'gs://b/\*\*'"):
        list(with_dates(["gs://b/{date}", "gs://b/**"], parse_days("2026-01-31")))
