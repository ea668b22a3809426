"""The body of a request is a JSON object of a limited length that arrives in time."""

import asyncio

import pytest
from starlette.requests import Request

from pipeline.serve import bodies
from pipeline.serve.bodies import read_json
from pipeline.serve.errors import InvalidRequestError, RequestError


def read(*blocks, max_bytes=100, wait_sec=0.0):
    messages = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        await asyncio.sleep(wait_sec)
        return messages.pop(0)

    return asyncio.run(read_json(Request({"type": "http", "method": "POST"}, receive), max_bytes))


def test_an_object_is_read_in_blocks():
    assert read(b'{"na', b'me": "\xc3\xa4"}') == {"name": "ä"}


@pytest.mark.parametrize("body", [b"", b"{", b"1", b"[]", b'"x"', b"\xff", b"null", b"[" * 100])
def test_what_is_no_object_is_invalid(body):
    with pytest.raises(InvalidRequestError):
        read(body)


def test_a_long_body_is_not_read_to_its_end():
    with pytest.raises(RequestError) as refused:
        read(*[b" " * 60] * 1000)
    assert refused.value.status == 413


def test_a_body_that_arrives_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SEC", 0.02)
    with pytest.raises(RequestError) as refused:
        read(b"{}", wait_sec=10)
    assert refused.value.status == 408
