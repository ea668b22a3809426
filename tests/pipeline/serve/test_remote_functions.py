"""The server answers BigQuery's remote functions by their contract."""

import json
from pathlib import Path

import pytest

from pipeline.serve.errors import DrainingError, ServiceBusyError
from pipeline.serve.remote_functions import FIELDS
from tests.support.serving import Served
from tests.support.videos import draw_video
from transforms.machine_faults import MachineFaultError

REQUEST = {
    "requestId": "124ab1c",
    "caller": "//bigquery.googleapis.com/projects/p/jobs/p:EU.job",
    "sessionUser": "a@example.com",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "a.mp4", 100)
    draw_video(folder / "b.mp4", 140)
    (folder / "bad.mp4").write_text("no video")
    with Served(folder) as served:
        yield served


def call(served, *names, **fields):
    return served.post("/bigquery", json={**REQUEST, "calls": [[name] for name in names], **fields})


def test_replies_are_as_many_as_calls_in_their_order_and_null_for_null(served):
    response = call(served, "b.mp4", None, "a.mp4", "bad.mp4", "none.mp4", "b.mp4")
    assert response.status_code == 200
    replies = response.json()["replies"]
    assert [reply and reply["status"] for reply in replies] == ["counted", None, "counted", "failed", "failed", "counted"]
    assert [replies[0]["count_rounded"], replies[2]["count_rounded"]] == [7, 5]
    assert [replies[3]["error"]["code"], replies[4]["error"]["code"]] == ["NOT_A_VIDEO", "NOT_FOUND"]
    by_name = served.get("/count?name=b.mp4").json()
    assert {**replies[0], "wall_sec": 0} == {**by_name, "wall_sec": 0}


def test_one_field_is_the_whole_reply_if_the_function_was_created_so(served):
    names = ["b.mp4", None, "bad.mp4", "none.mp4"]
    assert call(served, *names, userDefinedContext={"field": "count"}).json() == {
        "replies": [pytest.approx(7.0), None, None, None]
    }
    codes = call(served, *names, userDefinedContext={"field": "code"}).json()["replies"]
    assert codes == [None, None, "NOT_A_VIDEO", "NOT_FOUND"]
    for field in FIELDS:  # BigQuery has no ARRAY or STRUCT here
        replies = call(served, "b.mp4", "bad.mp4", userDefinedContext={"field": field}).json()["replies"]
        assert not [reply for reply in replies if isinstance(reply, (list, dict))]


def test_a_batch_without_calls_and_one_of_nulls_need_no_counting(served):
    assert call(served).json() == {"replies": []}
    assert call(served, None, None).json() == {"replies": [None, None]}


@pytest.mark.parametrize(
    "fields",
    [
        {"calls": None},
        {"calls": "a.mp4"},
        {"calls": ["a.mp4"]},
        {"calls": [[]]},
        {"calls": [["a.mp4", "b.mp4"]]},
        {"calls": [[1]]},
        {"calls": [["a.mp4"]] * 1001},
        {"userDefinedContext": {"field": "segments"}},
        {"userDefinedContext": {"field": []}},
        {"userDefinedContext": {"colour": "red"}},
        {"userDefinedContext": "count"},
        {"userDefinedContext": []},
    ],
)
def test_a_request_that_is_wrong_is_400_with_a_message_for_the_analyst(served, fields):
    response = call(served, "a.mp4", **fields)
    assert response.status_code == 400
    assert response.json()["errorMessage"].startswith("INVALID_REQUEST: ")
    assert len(response.content) < 1024


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ServiceBusyError(7), 429, {"retry-after": "7"}),
        (DrainingError(), 503, {"retry-after": "1"}),
        (MachineFaultError("the disk is full"), 500, {}),
    ],
)
def test_what_may_end_otherwise_later_fails_the_request_so_that_bigquery_tries_again(
    served, monkeypatch, error, status, headers
):
    async def count(video, **options):
        raise error

    monkeypatch.setattr(served.service, "find_and_count", count)
    response = call(served, "a.mp4", "b.mp4")
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in headers} == headers
    assert set(response.json()) == {"errorMessage", "error"}
    assert "the disk is full" not in json.dumps(response.json())


def test_the_sql_in_the_docs_names_this_route_and_fields_that_there_are():
    text = (Path(__file__).parents[3] / "docs" / "serving.md").read_text()
    sql = text.partition("## BigQuery")[2].partition("\n## ")[0]
    assert "endpoint = 'https://SERVICE_URL/bigquery'" in sql
    assert '("field", "count")' in sql
