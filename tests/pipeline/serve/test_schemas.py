"""The OpenAPI document says of requests and responses what is true, and a fuzzer finds nothing else."""

import subprocess
import sys

import jsonschema_rs
import pytest
import requests

from pipeline.serve.schemas import SCHEMAS
from tests.support.serving import TIMEOUT_SEC, Served
from tests.support.videos import draw_video

SETTINGS = """\
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "422", "429"]  # 422: what was uploaded is no video
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "squats.mp4", 70)
    (folder / "bad.mp4").write_text("no video")
    with Served(folder, max_upload_bytes=1_000_000) as served:
        yield served


@pytest.fixture(scope="module")
def document(served):
    return served.get("/openapi.json").json()


def check(document, response, path, method):
    """Raises an error unless a response is as the document says."""
    described = document["paths"][path][method]["responses"][str(response.status_code)]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    jsonschema_rs.validator_for(schema).validate(response.json())


@pytest.mark.parametrize("query", ["name=squats.mp4", "name=squats.mp4&curve=true", "name=bad.mp4", "name=none.mp4", "name="])
def test_answers_by_name_are_as_the_document_says(served, document, query):
    check(document, served.get(f"/count?{query}"), "/count", "get")


@pytest.mark.parametrize("body", [{"name": "squats.mp4", "curve": True}, {"name": "bad.mp4"}, {"name": "/etc/passwd"}, {}])
def test_answers_to_posted_names_and_uploads_are_as_the_document_says(served, document, body):
    check(document, served.post("/count", json=body), "/count", "post")
    check(document, served.post("/count", files={"video": b"x"}), "/count", "post")
    check(document, served.post("/count", data="x"), "/count", "post")


def test_answers_to_batches_are_as_the_document_says(served, document):
    names = ["squats.mp4", "bad.mp4", "none.mp4"]
    instances = {"instances": [{"video_uri": name} for name in names], "parameters": {"curve": True}}
    check(document, served.post("/predict", json=instances), "/predict", "post")
    check(document, served.post("/predict", json={}), "/predict", "post")
    calls = [[name] for name in [*names, None]]
    for context in (None, {"field": "count"}, {"field": "code"}):
        check(document, served.post("/bigquery", json={"calls": calls, "userDefinedContext": context}), "/bigquery", "post")
    check(document, served.post("/bigquery", json={}), "/bigquery", "post")


def test_every_schema_that_is_named_is_there(document):
    assert document["components"]["schemas"] == SCHEMAS
    assert document["openapi"] >= "3.1"


def test_a_method_that_a_path_has_not_is_405_with_those_that_it_has(served):
    status, content = served.raw("/count", method="DELETE")
    assert (status, content["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert served.post("/health").headers["allow"] == "GET, HEAD"
    assert requests.delete(f"{served.url}/count", timeout=TIMEOUT_SEC).headers["allow"] == "GET, POST"
    assert set(served.post("/docs").headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.slow
def test_a_fuzzer_over_the_document_finds_nothing(served, tmp_path):
    """Sends a few hundred requests that fit the document, and such that do not, with a fixed seed."""
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", f"{served.url}/openapi.json"]
    limits = ["--seed", "1", "--max-examples", "60", "--generation-database", "none", "--checks", "all", "--no-color"]
    found = subprocess.run([*command, *limits], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    assert "No issues found" in found.stdout
    assert served.get("/count?name=squats.mp4").status_code == 200
