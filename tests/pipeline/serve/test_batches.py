"""Videos of one request get their answers in order, wait for places in the queue, and share the deadline of one request."""

import asyncio
import dataclasses
import threading

import pytest

from pipeline.serve import batches
from pipeline.serve.allowed import AllowedPlaces
from pipeline.serve.answers import Answer, Source
from pipeline.serve.batches import count_batch
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import DeadlineError, DrainingError, NotFoundError, RequestError, ServiceBusyError
from tests.support.samples import make_video
from transforms.machine_faults import MachineFaultError


@dataclasses.dataclass(frozen=True)
class Places(AllowedPlaces):
    """Finds every video whose name is no number."""

    places: tuple = ()

    def find(self, name):
        if name.isdigit():
            raise NotFoundError("there is no such video")
        return make_video(name)


class Service:
    """Answers what `answers` has for a name: a list of errors to raise, one after the other, before the answer."""

    def __init__(self, **errors):
        self.errors = errors
        self.running = self.most = 0
        self.never = threading.Event()

    def check_open(self):
        pass

    async def find_and_count(self, find, *, curve):
        video = find()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0.001 if video.uri != "stuck" else 3600)
            waiting = self.errors.get(video.uri)
            if waiting:
                raise waiting.pop(0)
            return Answer({"video_uri": video.uri, "curve": curve}, Source.COUNTED)
        finally:
            self.running -= 1


def count(names, service, **options):
    config = ServeConfig(Places(), deadline_sec=options.pop("deadline_sec", 60.0))
    return asyncio.run(count_batch(names, service, config, **options))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(batches, "_AGAIN_SEC", 0.001)


def test_answers_are_in_the_order_of_the_names_and_at_most_four_wait_at_once():
    service = Service()
    names = [f"{letter}.mp4" for letter in "abcdefghijkl"]
    answers = count(names, service, curve=True)
    assert [answer.record for answer in answers] == [{"video_uri": name, "curve": True} for name in names]
    assert service.most == batches.BATCH_PLACES
    assert count([], service) == []


def test_a_name_that_comes_several_times_is_counted_once():
    service = Service()
    answers = count(["a", "b", "a", "a"], service)
    assert [answer.record["video_uri"] for answer in answers] == ["a", "b", "a", "a"]
    assert answers[0] is answers[2] is answers[3]


def test_a_video_without_an_answer_does_not_keep_the_others_from_theirs(caplog):
    service = Service(b=[MachineFaultError("the disk is full")], c=[ValueError("a fault")])
    answers = count(["a", "1", "b", "c", "d"], service)
    assert [answer.status for answer in answers if isinstance(answer, RequestError)] == [404, 500, 500]
    assert [isinstance(answer, Answer) for answer in answers] == [True, False, False, False, True]
    assert "the disk is full" in caplog.text
    assert "the disk is full" not in str([answer.message for answer in answers if isinstance(answer, RequestError)])


def test_a_batch_that_has_begun_waits_for_a_place_in_the_queue():
    service = Service(b=[ServiceBusyError(1)] * 5, c=[ServiceBusyError(1)])
    assert all(isinstance(answer, Answer) for answer in count(["a", "b", "c"], service))


@pytest.mark.parametrize("error", [ServiceBusyError(7), DrainingError()])
def test_a_batch_that_cannot_begin_is_refused_as_a_whole(error):
    with pytest.raises(type(error)):
        count(["a", "b", "c"], Service(a=[error]))


def test_what_is_not_counted_within_the_deadline_has_no_answer_and_frees_its_place():
    service = Service()
    answers = count(["a", "stuck", "b"], service, deadline_sec=0.5)
    assert [type(answer) for answer in answers] == [Answer, DeadlineError, Answer]
    assert service.running == 0
    answers = count(["stuck", "a"], service, deadline_sec=0.1)
    assert [type(answer) for answer in answers] == [DeadlineError, DeadlineError]
