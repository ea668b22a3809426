"""Each request is a line of JSON with an id and without secrets, and its response names the id."""

import io
import json
import logging

import pytest

from pipeline.serve.request_log import CLIENT_GONE, JsonFormatter, RequestFacts, log_request, set_up_json_logging
from tests.support.serving import Served, wait_until
from tests.support.videos import draw_video


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "secret-name.mp4", 100)
    with Served(folder) as served:
        yield served


@pytest.fixture
def lines():
    """Lines that the server logs, parsed, in order."""
    text = io.StringIO()
    handler, logger = logging.StreamHandler(text), logging.getLogger("repcount.requests")
    root, level = logging.getLogger(), logger.level
    root.addHandler(handler)
    set_up_json_logging()
    yield lambda: [json.loads(line) for line in text.getvalue().splitlines()]
    root.removeHandler(handler)
    logger.setLevel(level)


def test_a_request_is_a_line_with_the_field_names_of_cloud_logging(served, lines):
    response = served.get("/count?name=secret-name.mp4&token=secret", headers={"authorization": "Bearer secret"})
    assert response.status_code == 200
    wait_until(lambda: len(lines()) == 1)
    (line,) = lines()
    assert line["severity"] == "INFO"
    assert line["message"] == "GET /count 200"
    assert (line["route"], line["httpRequest"]["requestMethod"], line["httpRequest"]["status"]) == ("/count", "GET", 200)
    assert line["httpRequest"]["latency"] == f"{line['duration_sec']:.6f}s"
    assert line["time"].endswith("Z")
    assert line["request_id"] == response.headers["x-request-id"]
    assert "secret" not in json.dumps(line)


def test_a_path_that_is_no_route_is_not_written(served, lines):
    assert served.get("/secret/path?x=secret").status_code == 404
    wait_until(lines)
    assert lines()[0]["message"] == "GET other 404"
    assert "secret" not in json.dumps(lines())


@pytest.mark.parametrize("given", ["abc-123", "7f3a.B_c", "x" * 64])
def test_an_id_that_is_short_and_plain_is_kept(served, lines, given):
    assert served.get("/count?name=none.mp4", headers={"x-request-id": given}).headers["x-request-id"] == given
    wait_until(lines)
    assert lines()[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", '{"a":1}', "-x", "a\tb", "é".encode().decode("latin-1")])
def test_another_id_is_replaced(served, given):
    answers = [served.get("/health", headers={"x-request-id": given.encode("latin-1")}) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(len(made) == 32 and made.isalnum() for made in ids)
    assert ids[0] != ids[1]


def test_refused_requests_and_faults_have_an_id_and_a_line_too(served, lines, monkeypatch):
    assert served.get("/count?name=a", headers={"host": "example.com", "x-request-id": "refused"}).status_code == 403

    async def fail(video, **options):
        raise ValueError("a fault")

    monkeypatch.setattr(served.service, "find_and_count", fail)
    response = served.get("/count?name=secret-name.mp4", headers={"x-request-id": "fault"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "fault")
    wait_until(lambda: {"GET other 403", "GET /count 500"} <= {line["message"] for line in lines()})
    found = {line["message"]: (line["severity"], line["request_id"]) for line in lines()}
    assert found["GET other 403"] == ("INFO", "refused")
    assert found["GET /count 500"] == ("ERROR", "fault")
    wait_until(lambda: any("ValueError: a fault" in line.get("stack_trace", "") for line in lines()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-cloud-trace-context", f"{'ab' * 16}/123;o=1"),
        ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"),
    ],
)
def test_the_trace_of_the_platform_is_named_if_the_project_is_known(served, lines, monkeypatch, name, value):
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
    served.get("/count?name=none.mp4", headers={name: value})
    wait_until(lines)
    assert lines()[0]["logging.googleapis.com/trace"] == f"projects/my-project/traces/{'ab' * 16}"
    served.get("/count?name=none.mp4", headers={name: "x" + value})
    wait_until(lambda: len(lines()) == 2)
    assert "logging.googleapis.com/trace" not in lines()[1]


@pytest.mark.parametrize(
    ("route", "status", "severity"),
    [
        ("/count", 200, "INFO"),
        ("/count", 422, "INFO"),
        ("/count", CLIENT_GONE, "INFO"),
        ("/count", 429, "WARNING"),
        ("/health", 503, "WARNING"),
        ("/count", 500, "ERROR"),
        ("/count", 504, "ERROR"),
    ],
)
def test_the_severity_tells_whose_fault_it_is(lines, route, status, severity):
    log_request(RequestFacts("id", "GET", route, status, 0.5))
    assert [line["severity"] for line in lines()] == [severity]


def test_probes_and_metrics_are_not_logged(lines):
    log_request(RequestFacts("id", "GET", "/health", 200, 0.5))
    log_request(RequestFacts("id", "GET", "/metrics", 200, 0.5))
    assert lines() == []


def test_a_message_of_several_lines_is_one_line():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "first\nsecond %s", ("\udcff",), None)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text)["message"] == "first\nsecond \udcff"
