"""The service counts one video at a time, lets a bounded number wait, and counts for nobody who has gone."""

import asyncio
import contextlib
import dataclasses
import threading
import time

import pytest

from pipeline.serve import service as service_module
from pipeline.serve.answers import Answer, Source
from pipeline.serve.errors import DeadlineError, DrainingError, NotReadyError, ServiceBusyError
from pipeline.serve.service import MAX_RETRY_SEC, CountingService
from tests.support.samples import make_failure, make_video, make_video_count
from tests.support.scorers import FAKE_COUNTER, FakeScorer
from tests.support.videos import draw_video
from transforms.machine_faults import MachineFaultError
from transforms.objects import find_object


class Bench:
    """Replaces counting: each video is counted once it is released, in the order of the queue."""

    def __init__(self):
        self.begun = []
        self.stopped = []
        self.released = set()
        self.results = {}

    def __call__(self, video, counter, watch):
        self.begun.append(video.uri)
        while not {video.uri, "all"} & self.released:
            time.sleep(0.002)
            try:
                watch(None)
            except Exception:
                self.stopped.append(video.uri)
                raise
        result = self.results.get(video.uri) or make_video_count(video.uri)
        if isinstance(result, Exception):
            raise result
        return result

    def release(self, uri="all"):
        self.released.add(uri)


@pytest.fixture
def bench(monkeypatch):
    bench = Bench()
    monkeypatch.setattr(service_module, "count_video", bench)
    yield bench
    bench.release()


class Keeper:
    """Tables in memory."""

    def __init__(self):
        self.found = {}
        self.added = []
        self.is_closed = False

    def find(self, video, *, curve):
        found = self.found.get(video.uri)
        if isinstance(found, Exception):
            raise found
        return found

    def add(self, outcome):
        self.added.append(outcome.result.video.uri)

    def close(self):
        self.is_closed = True


@contextlib.asynccontextmanager
async def running(**options):
    service = CountingService(lambda: FAKE_COUNTER, **options)
    await service.start()
    await until(lambda: service.is_ready)
    try:
        yield service
    finally:
        await service.close()


async def until(is_so):
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.002)


def ask(service, uri, **options):
    return asyncio.ensure_future(service.count(make_video(uri), **options))


def test_videos_are_counted_one_after_another_in_their_order(bench):
    async def scenario():
        async with running() as service:
            asked = [ask(service, uri) for uri in "abc"]
            await until(lambda: bench.begun == ["a"] and service.num_waiting == 2)
            bench.release()
            answers = await asyncio.gather(*asked)
            assert bench.begun == ["a", "b", "c"]
            assert [answer.record["video_uri"] for answer in answers] == ["a", "b", "c"]
            assert all(answer.source is Source.COUNTED and answer.status == 200 for answer in answers)

    asyncio.run(scenario())


def test_beyond_the_queue_a_request_is_told_when_to_come_again(bench):
    async def scenario():
        async with running(max_queue=2) as service:
            asked = [ask(service, uri) for uri in "abc"]
            await until(lambda: service.is_counting and service.num_waiting == 2)
            with pytest.raises(ServiceBusyError) as refused:
                await ask(service, "d")
            assert (refused.value.status, refused.value.code) == (429, "BUSY")
            # Until a video was counted, one is expected to take 5 s. A client waits for the running one and half of the queue.
            assert refused.value.retry_after_sec == 10
            bench.release("a")
            await until(lambda: bench.begun == ["a", "b"])
            fourth = ask(service, "d")
            await until(lambda: service.num_waiting == 2)
            bench.release()
            await asyncio.gather(*asked, fourth)

    asyncio.run(scenario())


def test_the_time_to_come_again_follows_how_long_videos_take(bench):
    async def scenario():
        async with running(max_queue=0) as service:
            bench.release()
            for number in range(30):
                await ask(service, f"quick-{number}")
            bench.released.clear()
            slow = ask(service, "slow")
            await until(lambda: service.is_counting)
            with pytest.raises(ServiceBusyError) as refused:
                await ask(service, "refused")
            assert refused.value.retry_after_sec == 1
            assert refused.value.retry_after_sec <= MAX_RETRY_SEC
            bench.release()
            await slow

    asyncio.run(scenario())


def test_a_client_that_goes_away_frees_its_place_in_the_queue(bench):
    async def scenario():
        async with running(max_queue=1) as service:
            first, second = ask(service, "a"), ask(service, "b")
            await until(lambda: bench.begun == ["a"] and service.num_waiting == 1)
            second.cancel()
            await until(lambda: service.num_waiting == 0)
            third = ask(service, "c")
            bench.release()
            await asyncio.gather(first, third)
            assert bench.begun == ["a", "c"]

    asyncio.run(scenario())


def test_a_client_that_goes_away_stops_its_count(bench):
    async def scenario():
        async with running(max_queue=0) as service:
            first = ask(service, "a")
            await until(lambda: bench.begun == ["a"])
            first.cancel()
            await until(lambda: bench.stopped == ["a"])
            again = ask(service, "a")  # is counted anew and does not join the one that was stopped
            await until(lambda: bench.begun == ["a", "a"])
            bench.release()
            assert (await again).is_counted

    asyncio.run(scenario())


def test_requests_for_the_same_video_share_its_place(bench):
    async def scenario():
        async with running(max_queue=0) as service:
            first, second = ask(service, "a"), ask(service, "a", curve=True)
            await until(lambda: bench.begun == ["a"])
            first.cancel()
            await asyncio.sleep(0.05)
            assert bench.stopped == []
            bench.release()
            assert "curve" in (await second).record
            assert bench.begun == ["a"]

    asyncio.run(scenario())


def test_a_request_beyond_its_deadline_ends_and_frees_its_place(bench):
    async def scenario():
        async with running(deadline_sec=0.5) as service:
            asked = [ask(service, "a"), ask(service, "b")]
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [(type(result), result.status) for result in results] == [(DeadlineError, 504)] * 2
            await until(lambda: bench.stopped == ["a"] and not service.is_counting)
            assert bench.begun == ["a"]
            assert service.num_waiting == 0

    asyncio.run(scenario())


def test_looking_for_a_video_is_within_the_deadline():
    found = threading.Event()

    def find():
        found.wait(30)
        return make_video("a")

    async def scenario():
        async with running(deadline_sec=0.2) as service:
            with pytest.raises(DeadlineError):
                await service.find_and_count(find)
            found.set()

    asyncio.run(scenario())


def test_what_runs_and_waits_is_finished_and_nothing_new_is_taken(bench):
    async def scenario():
        keeper = Keeper()
        async with running(open_keeper=lambda counter: keeper) as service:
            asked = [ask(service, uri) for uri in "ab"]
            await until(lambda: service.is_counting and service.num_waiting == 1)
            draining = asyncio.ensure_future(service.drain(30))
            await until(lambda: service.is_draining)
            assert not service.is_ready
            with pytest.raises(DrainingError):
                await ask(service, "c")
            bench.release()
            await draining
            assert [answer.is_counted for answer in await asyncio.gather(*asked)] == [True, True]
        assert keeper.added == ["a", "b"]
        assert keeper.is_closed

    asyncio.run(scenario())


def test_what_is_not_counted_within_the_grace_is_answered_all_the_same(bench):
    async def scenario():
        async with running() as service:
            asked = [ask(service, uri) for uri in "abc"]
            await until(lambda: service.is_counting and service.num_waiting == 2)
            await service.drain(0.05)
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [(type(result), result.status) for result in results] == [(DrainingError, 503)] * 3
        assert bench.stopped == ["a"]

    asyncio.run(scenario())


def test_a_thread_that_hangs_does_not_hold_the_end_up(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(service_module, "count_video", lambda video, counter, watch: release.wait(30))
    monkeypatch.setattr(service_module, "_STOP_SEC", 0.05)

    async def scenario():
        async with running() as service:
            first = ask(service, "a")
            await until(lambda: service.is_counting)
            await service.drain(0.01)
            await service.close()
            assert not service.has_ended
            assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], DrainingError)
            release.set()

    asyncio.run(scenario())


def test_before_the_model_is_warm_nothing_is_taken():
    loading = threading.Event()

    async def scenario():
        service = CountingService(lambda: loading.wait(30) and FAKE_COUNTER)
        await service.start()
        with pytest.raises(NotReadyError):
            await ask(service, "a")
        loading.set()
        await until(lambda: service.is_ready)
        await service.close()
        assert service.has_ended

    asyncio.run(scenario())


def test_the_model_is_warm_when_the_service_is_ready(monkeypatch):
    warm = []
    monkeypatch.setattr(service_module, "warm_up", warm.append)

    async def scenario():
        async with running():
            assert warm == [FAKE_COUNTER]

    asyncio.run(scenario())


def test_an_error_while_loading_is_kept_for_the_server():
    def fail():
        raise ValueError("no model")

    async def scenario():
        service = CountingService(fail)
        await service.start()
        await until(lambda: service.load_error)
        with pytest.raises(NotReadyError):
            await ask(service, "a")
        await service.close()

    asyncio.run(scenario())


def test_the_tables_are_asked_first(bench):
    async def scenario():
        keeper = Keeper()
        keeper.found["a"] = Answer({"status": "counted", "video_uri": "a"}, Source.TABLES)
        async with running(open_keeper=lambda counter: keeper, max_queue=0) as service:
            assert (await ask(service, "a")).source is Source.TABLES
            assert bench.begun == []
            bench.release()
            assert (await ask(service, "a", keep=False)).source is Source.COUNTED
            assert keeper.added == []

    asyncio.run(scenario())


def test_a_video_is_counted_even_if_the_tables_can_neither_be_read_nor_written(bench, caplog):
    async def scenario():
        keeper = Keeper()
        keeper.found["a"] = OSError("no tables")
        keeper.add = lambda outcome: 1 / 0
        async with running(open_keeper=lambda counter: keeper) as service:
            bench.release()
            assert (await ask(service, "a")).is_counted

    asyncio.run(scenario())
    assert "The tables cannot be read: OSError: no tables" in caplog.text
    assert "A count is not written to the tables: ZeroDivisionError" in caplog.text


def test_a_failure_of_a_video_is_an_answer_and_a_fault_of_the_machine_is_an_error(bench):
    async def scenario():
        bench.results |= {"bad": make_failure("bad"), "broken": MachineFaultError("the disk is full")}
        bench.release()
        async with running() as service:
            failed = await ask(service, "bad")
            assert (failed.status, failed.to_json()["error"]["code"]) == (422, "NOT_A_VIDEO")
            with pytest.raises(MachineFaultError):
                await ask(service, "broken")
            assert (await ask(service, "good")).is_counted

    asyncio.run(scenario())


def test_a_count_that_is_stopped_ends_before_the_next_chunk_and_the_next_video_is_counted(tmp_path):
    class SlowScorer(FakeScorer):
        def __init__(self):
            self.num_chunks, self.may_go = -1, threading.Event()  # the first call warms it up

        def score(self, frames, *, is_last=True, repeats=1):
            self.num_chunks += 1
            if self.num_chunks == 1:
                self.may_go.wait(30)
            return super().score(frames, is_last=is_last, repeats=repeats)

    scorer = SlowScorer()
    long, short = (find_object(str(draw_video(tmp_path / f"{frames}.mp4", frames))) for frames in (600, 100))

    async def scenario():
        service = CountingService(lambda: dataclasses.replace(FAKE_COUNTER, scorer=scorer))
        await service.start()
        await until(lambda: service.is_ready)
        first = asyncio.ensure_future(service.count(long))
        await until(lambda: scorer.num_chunks == 1)
        first.cancel()
        second = asyncio.ensure_future(service.count(short))
        await asyncio.sleep(0)
        scorer.may_go.set()
        answer = await second
        assert answer.record["count"] == pytest.approx(5.0)
        assert scorer.num_chunks == 2
        await service.close()

    asyncio.run(scenario())
