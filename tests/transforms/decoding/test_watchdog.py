"""A decoder process is held to its limits on time; those on memory and threads are tested with real ones in `test_process`."""

import os
import types

import pytest

from transforms.decoding import watchdog
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError
from transforms.decoding.watchdog import Watchdog
from transforms.failure_codes import FailureCode


def test_the_time_that_a_video_may_take_does_not_shrink_when_it_is_decoded_again():
    replies = iter([{"presented_sec": 100.0}, {"presented_sec": 1.0}, {"done": True}])
    connection = types.SimpleNamespace(settimeout=lambda seconds: None)
    channel = types.SimpleNamespace(connection=connection, receive=lambda: (next(replies), []))
    waiting = Watchdog(os.getpid(), DecodingOptions(timeout_sec=1.0), 1 << 40)
    waiting.waited_sec = 1000.0
    assert waiting.wait(channel) == {"done": True}


@pytest.fixture
def watch(monkeypatch):
    """Returns the answer of a watchdog whose child says nothing, or one thing, in turns of so many seconds, then "done"."""

    def wait(turns_sec, options, message=None):
        now, turns = [0.0], iter(turns_sec)

        def receive():
            turn_sec = next(turns, None)
            if turn_sec is None:
                return {"done": True}, []
            now[0] += turn_sec
            if message is None:
                raise TimeoutError
            return message, []

        monkeypatch.setattr(watchdog, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
        channel = types.SimpleNamespace(connection=types.SimpleNamespace(settimeout=lambda seconds: None), receive=receive)
        return Watchdog(os.getpid(), options, 1 << 50).wait(channel)

    return wait


def test_the_time_for_which_this_process_was_stopped_does_not_count(watch):
    options = DecodingOptions(timeout_sec=5.0)
    assert watch([0.1, 3600.0, 0.1], options) == {"done": True}
    with pytest.raises(DecodeError, match="no frame could be decoded for 5 s"):
        watch([0.1] * 60, options)


def test_no_video_takes_more_than_six_hours_whatever_it_claims(watch):
    options, claim = DecodingOptions(), {"presented_sec": 1e9}
    assert watch([0.9] * 23_999, options, claim) == {"done": True}
    with pytest.raises(DecodeError, match="decoding took more than 21600 s for 14400 s of video") as caught:
        watch([0.9] * 24_001, options, claim)
    assert caught.value.code is FailureCode.DECODE_TIMEOUT
