"""A video is counted by its name, by GET and by POST, and the answer is that of `repcount count --json`."""

import json

import pytest

from pipeline.main import main
from tests.support.scorers import FAKE_COUNTER
from tests.support.serving import Served
from tests.support.videos import draw_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "squats.mp4", 100)
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def served(videos):
    with Served(videos) as served:
        yield served


def without_times(record):
    return {name: value for name, value in record.items() if name not in ("wall_sec", "source", "error")}


def printed(capsys, *words):
    main(["count", "--quiet", "--json", *map(str, words)], load_counter=lambda args: FAKE_COUNTER)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("with_curve", [False, True])
def test_the_answer_is_what_repcount_count_prints(served, videos, capsys, method, with_curve):
    expected = printed(capsys, videos / "squats.mp4", *(["--curve"] if with_curve else []))
    if method == "get":
        response = served.get("/count", params={"name": "squats.mp4", "curve": str(with_curve).lower()})
    else:
        response = served.post("/count", json={"name": "squats.mp4", "curve": with_curve})
    assert response.status_code == 200
    assert response.json()["source"] == "counted"
    assert without_times(response.json()) == without_times(expected)


def test_a_video_that_fails_is_422_with_its_code(served, videos, capsys):
    response = served.get("/count", params={"name": "bad.mp4"})
    assert response.status_code == 422
    record = response.json()
    assert record["error"] == {"code": record["code"], "message": record["message"]}
    assert record["code"] == "NOT_A_VIDEO"
    assert without_times(record) == without_times(printed(capsys, videos / "bad.mp4"))


def test_a_video_that_is_not_there_is_404(served):
    response = served.get("/count", params={"name": "none.mp4"})
    assert response.status_code == 404
    assert response.json() == {"error": {"code": "NOT_FOUND", "message": "there is no such video"}}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "1",
        "{}",
        '{"name": 1}',
        '{"name": "squats.mp4", "curve": 1}',
        '{"name": "squats.mp4", "x": 1}',
        "[" * 99_999,
    ],
)
def test_a_body_that_is_no_request_is_400(served, body):
    response = served.post("/count", data=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


def test_a_body_of_another_type_is_415(served):
    assert served.post("/count", data="squats.mp4", headers={"content-type": "text/plain"}).status_code == 415


@pytest.mark.parametrize("path", ["/count", "/count?name=", "/count?name=squats.mp4&curve=maybe"])
def test_a_query_that_is_no_request_is_400(served, path):
    status, body = served.raw(path)
    assert status == 400
    assert set(body["error"]) == {"code", "message"}
