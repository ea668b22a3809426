"""The page needs no network, takes hostile names as text, and is readable on every screen."""

import dataclasses
import datetime
import itertools
import re

import pytest

from pipeline.output_files import write_text
from pipeline.report import data, page
from pipeline.report.content import Comparison, FailureGroup, Report, ReviewedVideo, Scope, Totals
from pipeline.report.data import read_report
from tests.support.browser import open_browser
from tests.support.html_pages import Parser
from tests.support.reports import OTHER, fill
from tests.support.samples import HOSTILE_NAMES, STARTED, UPDATED
from transforms.failure_codes import EXPLANATIONS, FailureCode
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

SCOPE = Scope("night", ("night",), (datetime.date(2026, 1, 1),), "lite", "0123456789abcdef", STARTED)
EMPTY = Report("/counts.duckdb", SCOPE, Totals(0, 0, listed=0, skipped=0, wall_sec=1.0))

MARKUP = [
    "<script>alert(1)</script>.mp4",
    '"><img src=https://evil.example/x.png onerror=alert(1)>.mp4',
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}.mp4",
    "</style></title><h1>.mp4",
    "\u202egnp.4pm",
]


def render(report):
    return page.render(report, STARTED)


def reviewed(uri):
    return ReviewedVideo(
        uri=uri,
        generation=1,
        upload_date=UPDATED.date(),
        updated=UPDATED,
        size_bytes=10,
        count=2.5,
        count_rounded=3,
        confidence=0.5,
        certainty=0.25,
        best_score=0.5,
        duration_sec=10.0,
        width=640,
        height=360,
        flags=("TRUNCATED",),
        segments=((1.0, 5.0),),
        repetition_times_sec=(2.0, 4.0),
    )


def with_names(names):
    """Returns a report that shows each name wherever a name can be."""
    (name, *_) = names
    return dataclasses.replace(
        EMPTY,
        tables=f"/{name}.duckdb",
        scope=dataclasses.replace(SCOPE, name=name, model=name),
        totals=Totals(len(names), 1, len(names), len(names), 5.0, 10.0, 0.5, 0.5, len(names) + 1, 0, 3.0),
        failures=tuple(FailureGroup("NOT_A_VIDEO", 1, name, f"cannot read {name}") for name in names),
        review=tuple(map(reviewed, names)),
        comparison=Comparison(name, "options"),
        notes=(name,),
    )


@pytest.mark.parametrize("name", MARKUP)
def test_a_hostile_name_is_text_and_adds_no_element(name):
    plain, hostile = Parser(render(with_names(["plain"]))), Parser(render(with_names([name])))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert [set(attributes) for _, attributes in hostile.elements] == [set(attributes) for _, attributes in plain.elements]
    assert name.replace("\u202e", "\ufffd") in hostile.text


def test_names_with_control_characters_and_invalid_utf8_make_a_valid_page(tmp_path):
    text = render(with_names(HOSTILE_NAMES))
    write_text(tmp_path / "report.html", text)
    saved = (tmp_path / "report.html").read_bytes().decode("utf-8")
    assert saved == text
    assert "семь повторений 七回" in saved


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """The page about twenty videos."""
    warehouse = DuckDBWarehouse(str(tmp_path_factory.mktemp("report") / "counts.duckdb"))
    fill(warehouse, 20, names=["/v/" + "a folder/" * 20 + "a_name_without_any_break_" * 8 + ".mp4", *MARKUP])
    return render(read_report(warehouse, compare=OTHER))


def test_the_page_loads_nothing_and_its_policy_forbids_that(twenty):
    elements = Parser(twenty).elements
    (policy,) = [attributes["content"] for tag, attributes in elements if attributes.get("http-equiv")]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy
    assert {tag for tag, _ in elements} & {"script", "iframe", "object", "embed", "base", "form"} == set()
    for _, attributes in elements:
        for name in ("src", "href", "srcset", "action", "style"):
            assert not attributes.get(name) or attributes[name].startswith(("#", "data:")), attributes
        assert not any(name.startswith("on") for name in attributes)
    styles = re.findall(r"<style>(.*?)</style>", twenty, flags=re.DOTALL)
    assert len(styles) == 1
    assert not re.search(r"url\(|@import|//", re.sub(r"/\*.*?\*/", "", styles[0]))


def test_headings_tables_and_charts_are_labelled(twenty):
    parser = Parser(twenty)
    levels = [int(tag[1]) for tag, _ in parser.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    tags = [tag for tag, _ in parser.elements]
    assert tags.count("caption") == tags.count("table") > 2
    ids = [attributes["id"] for _, attributes in parser.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in parser.elements:
        for label in attributes.get("aria-labelledby", "").split():
            assert label in ids
        if tag == "a":
            assert attributes["href"][1:] in ids
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag == "img":
            assert attributes["alt"]


def test_each_failure_code_says_what_to_do():
    groups = [FailureGroup(code.value, 2, "a.mp4", "message") for code in FailureCode]
    text = Parser(render(dataclasses.replace(EMPTY, failures=(*groups, FailureGroup("NEW_CODE", 1, "b.mp4", "?"))))).text
    for explanation in EXPLANATIONS.values():
        assert explanation.meaning.replace("`", "") in text
        assert explanation.advice.replace("`", "") in text
    assert "This version of repcount does not know the code." in text


def test_an_empty_report_says_so_and_has_no_empty_section():
    parser = Parser(render(EMPTY))
    assert "0 videos listed: 0 counted, 0 failed, 0 skipped." in parser.text
    assert [attributes["id"] for tag, attributes in parser.elements if tag == "section"] == ["totals"]
    assert "svg" not in [tag for tag, _ in parser.elements]


def test_the_summary_of_a_date_says_whether_it_is_of_one_model_of_several():
    report = dataclasses.replace(EMPTY, scope=dataclasses.replace(SCOPE, run_ids=()), totals=Totals(4, 1, 4))
    assert "5 videos uploaded: 4 counted, 1 failed." in render(report)
    text = render(dataclasses.replace(report, has_others=True))
    assert "5 videos with this model and these options: 4 counted, 1 failed." in text
    assert "uploaded:" not in text


def test_what_came_before_stands_beside_each_number():
    now = Totals(120, 5, 120, 110, 900.0, 3600.0, 0.5, 0.8, 130, 5, 60.0)
    before = Totals(100, 0, 100, 100, 1000.0, 7200.0, 0.75, None, 100, 0, 30.0)
    report = dataclasses.replace(EMPTY, totals=now, before=SCOPE, totals_before=before, failures_before={"GONE": 3})
    text = " ".join(Parser(render(report)).text.split())
    for expected in (
        "before: 100 (+20 %)",
        "before: 1,000 (−10 %)",
        "before: 0",
        "before: 2.0 h",
        "before: 0.75",
        "before: 30.0 s",
    ):
        assert expected in text
    assert "No video failed. Before: 3." in text


def test_numbers_of_the_counts_that_are_left_of_a_run_say_so():
    text = render(dataclasses.replace(EMPTY, totals=Totals(20, 0, 18, 15, 90.0, listed=20, skipped=0)))
    assert "3 without repetition, of 18 counts still in the tables" in text
    assert text.count("of 18 counts still in the tables") == 2  # and the repetitions
    text = render(dataclasses.replace(EMPTY, totals=Totals(20, 0, 20, 15, 90.0, listed=20, skipped=0)))
    assert "5 without repetition" in text
    assert "still in the tables" not in text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.0, "0.0 s"),
        (99.94, "99.9 s"),
        (99.96, "1.7 min"),
        (5996.0, "99.9 min"),
        (7200.0, "2.0 h"),
        (1e7, "2,777.8 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, expected):
    assert page.duration(seconds) == expected


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (326_000, "326 kB"), (16 << 30, "17.2 GB")],
)
def test_a_size_has_the_unit_that_suits_it(num_bytes, expected):
    assert page.size(num_bytes) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_in_a_browser_nothing_is_cut_and_the_keyboard_reaches_every_link(twenty, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    write_text(path, twenty)
    with open_browser(width, scheme=scheme) as browser:
        browser.get(path.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        wide = browser.execute_script(
            "return [...document.querySelectorAll('body *')].filter(element => element.getBoundingClientRect().right > "
            "innerWidth + 0.5).map(element => element.outerHTML.slice(0, 200))"
        )
        assert wide == []
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
        reached = set()
        for _ in range(40):
            browser.switch_to.active_element.send_keys("\ue004")  # Tab
            active = browser.switch_to.active_element
            reached.add(active.get_attribute("href") or active.text)
        links = browser.execute_script("return [...document.links].map(link => link.href)")
        assert len(links) >= 8
        assert set(links) <= reached
        assert "As a table" in reached
        assert browser.get_log("browser") == []


def test_the_page_says_how_many_are_left_out(twenty):
    text = " ".join(Parser(twenty).text.split())
    assert re.search(rf"These are the {data.MAX_REVIEWED} least sure ones; \d are left out\.", text)
    assert re.search(rf"The {data.MAX_LISTED} longest of 1\d videos\.", text)
