"""An answer is the record of `repcount count --json`, and says where it is from."""

import asyncio
import json

import pytest

from pipeline.count_formats import Outcome, json_record
from pipeline.serve.answers import Answer, Source, error_response, json_list_response, json_response, make_answer
from pipeline.serve.errors import NotFoundError, ServiceBusyError
from tests.support.samples import make_failure, make_video_count
from tests.support.scorers import FAKE_COUNTER


def test_a_count_is_the_record_and_its_source():
    outcome = Outcome(make_video_count(), FAKE_COUNTER, wall_sec=1.5)
    answer = make_answer(outcome, curve=True)
    assert answer.to_json() == {**json_record(outcome, with_curve=True), "source": "counted"}
    assert (answer.status, answer.is_counted) == (200, True)
    assert "curve" not in make_answer(outcome, curve=False).to_json()


def test_a_failure_has_the_shape_of_errors_too():
    answer = make_answer(Outcome(make_failure(), FAKE_COUNTER, wall_sec=1.5), curve=False)
    assert (answer.status, answer.is_counted) == (422, False)
    assert answer.to_json()["error"] == {"code": "NOT_A_VIDEO", "message": "no video stream"}
    assert answer.to_json()["status"] == "failed"


def test_an_answer_of_the_tables_says_so():
    assert Answer({"status": "counted"}, Source.TABLES).to_json() == {"status": "counted", "source": "tables"}


def test_a_name_that_is_not_unicode_is_json():
    response = json_response({"video_uri": "\udcff.mp4"})
    assert json.loads(response.body) == {"video_uri": "\udcff.mp4"}


@pytest.mark.parametrize("items", [[], [{"a": 1}], [{"a": "\udcff"}, None, {"b": 0.5}]])
def test_a_list_that_is_written_item_by_item_is_json(items):
    async def read():
        return "".join([piece async for piece in json_list_response("found", iter(items)).body_iterator])

    assert json.loads(asyncio.run(read())) == {"found": items}


def test_an_error_says_when_to_try_again():
    response = error_response(ServiceBusyError(7))
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert "retry-after" not in error_response(NotFoundError("no")).headers
