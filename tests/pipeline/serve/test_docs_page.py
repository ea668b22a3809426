"""The page at `/docs` shows every route, and loads and runs nothing."""

import pytest

from pipeline.serve.docs_page import docs_page
from tests.support.serving import Served


@pytest.fixture(scope="module")
def served():
    with Served(is_awaited=False) as served:
        yield served


def test_every_route_is_shown_with_its_answers(served):
    response = served.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    openapi = served.get("/openapi.json").json()
    assert len(openapi["paths"]) >= 2
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            assert f'<h2><span class="method">{method.upper()}</span>{path}</h2>' in response.text
            for answer in route["responses"].values():
                assert answer["description"] in response.text
    assert "name below --base" in response.text


def test_the_page_loads_and_runs_nothing(served):
    response = served.get("/docs")
    assert response.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    )
    for word in ("<script", "http:", "https:", "@import", "url("):
        assert word not in response.text


def page_of(route):
    return docs_page({"info": {"title": "<s>", "summary": "", "version": "1"}, "paths": {"/<a>": {"get": route}}}).body.decode()


def test_what_openapi_may_leave_out_of_a_parameter_may_be_missing():
    text = page_of({"parameters": [{"name": "curve"}, {"name": "name", "required": True}], "responses": {}})
    assert "<td><code>curve</code></td><td></td>" in text
    assert '<td><code>name</code> <span class="muted small">required</span></td>' in text


def test_a_schema_keeps_its_lines():
    body = {"content": {"application/json": {"schema": {"pattern": "<b>"}}}}
    assert "{\n  &#34;pattern&#34;: &#34;&lt;b&gt;&#34;\n}</pre>" in page_of({"requestBody": body, "responses": {}})


def test_texts_are_escaped():
    route = {"summary": "<b>", "description": "`a` `<i>`", "responses": {"200": {"description": "<u>"}}}
    text = page_of(route)
    assert "<code>a</code> <code>&lt;i&gt;</code>" in text
    assert not {"<b>", "<i>", "<u>", "<s>", "<a>"} & {tag for tag in ("<b>", "<i>", "<u>", "<s>", "<a>") if tag in text}
