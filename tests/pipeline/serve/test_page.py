"""The page loads nothing from elsewhere, runs nothing but its own script, and is all that is answered without a token."""

import re

import pytest

from pipeline.serve.page import ADVICE, PUBLIC_PATHS, REMARKS
from tests.support.html_pages import Parser
from tests.support.serving import Served
from transforms.failure_codes import EXPLANATIONS, FailureCode
from transforms.records import VideoFlag

TOKEN = "0123456789abcdef"
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src data:",
    "media-src blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@pytest.fixture(scope="module")
def served():
    with Served(is_awaited=False, max_upload_bytes=12345) as served:
        yield served


@pytest.fixture(scope="module")
def page(served):
    return Parser(served.get("/").text)


def test_the_page_and_its_files_have_their_types_and_the_headers_that_keep_others_out(served):
    page = served.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert set(page.headers["content-security-policy"].split("; ")) == POLICY
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    for path in PUBLIC_PATHS[1:]:
        response = served.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"] == TYPES[re.search(r"\.\w+$", path)[0]]
        assert "default-src 'none'" in response.headers["content-security-policy"]
    for path in PUBLIC_PATHS:
        headers = served.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"


def test_nothing_refers_to_another_server(served):
    for path in PUBLIC_PATHS:
        text = served.get(path).text.replace("http://www.w3.org/2000/svg", "")  # a name that is never loaded
        assert not re.search(r"https?:|[\"'(=]//|@import|url\(", text), path


def test_everything_that_the_page_loads_is_there_and_relative(served, page):
    scripts = [found["src"] for found in page.find("script")]
    styles = [found["href"] for found in page.find("link", rel="stylesheet")]
    imported = re.findall(r'from "\./(.*)"', served.get("/static/page.js").text)
    assert (len(scripts), len(styles), len(imported)) == (1, 2, 1)
    assert {f"/{path}" for path in (*scripts, *styles)} | {f"/static/{name}" for name in imported} == set(PUBLIC_PATHS) - {"/"}
    assert served.get("/static/none.js").status_code == 404


def test_the_page_has_no_script_and_no_style_of_its_own(page):
    assert page.find("style") == []
    assert [name for _, found in page.elements for name in found if name.startswith("on") or name == "style"] == []


def test_texts_reach_the_page_as_text_only(served):
    script = served.get("/static/page.js").text
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|DOMParser|createContextualFragment", script
    )
    assert not re.search(r"localStorage|sessionStorage|cookie|indexedDB", script)


def test_every_control_has_a_name(page):
    labelled = {found["for"] for found in page.find("label") if "for" in found}
    inputs = [found for tag, found in page.elements if tag in ("input", "video", "progress")]
    assert len(inputs) >= 4
    assert [found for found in inputs if found["id"] not in labelled | {"file"} and "aria-label" not in found] == []


def test_the_page_knows_the_largest_upload_and_asks_for_no_name_where_nothing_may_be_read(page):
    (body,) = page.find("body")
    assert body["data-max-upload-bytes"] == "12345"
    assert body["data-has-token"] == "false"
    assert page.find("input", id="name") == []


@pytest.mark.parametrize(("has_base", "label"), [(True, "Or the name of a video"), (False, "Or the whole path or gs:// URI")])
def test_a_name_can_be_typed_where_videos_may_be_read(tmp_path, has_base, label):
    with Served(tmp_path if has_base else None, allow=[tmp_path], is_awaited=False) as served:
        page = Parser(served.get("/").text)
    assert page.find("input", id="name")
    assert label in page.text


def test_the_page_needs_no_token_and_what_it_asks_does():
    with Served(token=TOKEN, predict_route="/", is_awaited=False) as served:
        assert [served.get(path).status_code for path in PUBLIC_PATHS] == [200] * len(PUBLIC_PATHS)
        assert Parser(served.get("/").text).find("body")[0]["data-has-token"] == "true"
        assert TOKEN not in "".join(served.get(path).text for path in PUBLIC_PATHS)
        assert served.get("/count?name=a.mp4").status_code == 401
        assert served.post("/count", files={"video": b""}).status_code == 401
        assert served.post("/", json={"instances": []}).status_code == 401


def test_where_the_platform_asks_for_the_path_of_the_page_it_gets_its_answer():
    with Served(health_route="/") as served:
        assert served.get("/").json() == {"status": "ok"}


def test_every_failure_and_every_flag_is_explained(page):
    assert set(ADVICE) == set(FailureCode)
    assert set(REMARKS) == set(VideoFlag)
    assert {found["data-code"] for _, found in page.elements if "data-code" in found} == {code.value for code in FailureCode}
    assert {found["data-flag"] for _, found in page.elements if "data-flag" in found} == {flag.value for flag in VideoFlag}
    assert EXPLANATIONS[FailureCode.NO_VIDEO_STREAM].meaning + " Choose the recording with its picture." in page.text
    assert "`" not in page.text


def test_the_page_is_no_route_for_programs(served):
    assert not set(served.get("/openapi.json").json()["paths"]) & set(PUBLIC_PATHS)
