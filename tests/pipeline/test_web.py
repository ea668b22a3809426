"""Servers listen where they are told to, and their responses have the headers that protect them."""

import asyncio
import socket

import pytest

from pipeline.command_line import UsageError
from pipeline.web import SafeHeaders, open_socket


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "", "0.0.0.0"])
def test_a_free_port_of_this_machine_is_listened_to(host):
    with open_socket(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        with pytest.raises(UsageError, match=rf"--port must be free, .* Received: {port}"):
            open_socket("127.0.0.1", port)


def test_a_port_beyond_all_ports_is_refused():
    with pytest.raises(UsageError, match="ports go up to 65535"):
        open_socket("127.0.0.1", 65536)


@pytest.mark.parametrize("host", ["192.0.2.1", "no host"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(UsageError, match="Received:"):
        open_socket(host, 0)


def test_headers_of_a_response_are_kept_and_others_added():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=9")]})

    async def send(message):
        sent.update(dict(message["headers"]))

    sent = {}
    wrapped = SafeHeaders(app, {"cache-control": "no-store", "x-content-type-options": "nosniff"})
    asyncio.run(wrapped({"type": "http"}, None, send))
    assert sent == {b"cache-control": b"max-age=9", b"x-content-type-options": b"nosniff"}
