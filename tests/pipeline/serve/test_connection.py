"""Connections that bring no request are cut off, however slowly they send, and requests that take long are not."""

import asyncio
import contextlib
import socket
import threading

import pytest
import uvicorn

from pipeline.serve import connection
from tests.support.serving import wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

BIG = 64 << 20  # bytes, more than buffers of sockets hold


async def app(scope, receive, send):
    """Answers /slow after three times the limit, /big with many bytes, and others at once."""
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * connection.IDLE_SEC)
    body = bytes(BIG) if scope["path"] == "/big" else b"ok"
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch):
    """A server that runs, and its port, with a limit of a fifth of a second."""
    monkeypatch.setattr(connection, "IDLE_SEC", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=connection.Connection, lifespan="off", ws="none", log_config=None, timeout_keep_alive=60)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    wait_until(lambda: running.started)
    yield running, listener.getsockname()
    running.should_exit = True
    thread.join()


def connect(address):
    client = socket.create_connection(address)
    client.settimeout(30.0)
    return client


def is_cut_off(client):
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_connection_without_a_whole_header_is_cut_off(server, sent):
    with connect(server[1]) as client:
        client.sendall(sent)
        assert is_cut_off(client)


def test_a_header_that_comes_byte_by_byte_wins_no_time(server):
    with connect(server[1]) as client:
        client.setblocking(False)

        def is_over():
            try:
                client.sendall(b"GET /?")
                return client.recv(1) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        wait_until(is_over)


def test_a_connection_that_was_used_is_cut_off_as_well(server):
    with connect(server[1]) as client:
        client.sendall(REQUEST)
        while not client.recv(4096).endswith(b"ok"):
            pass
        assert is_cut_off(client)


def test_a_request_that_takes_longer_is_answered(server):
    with connect(server[1]) as client:
        client.sendall(REQUEST.replace(b"/ ", b"/slow "))
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_its_answer_is_cut_off(server):
    running, address = server
    with connect(address) as client:
        client.sendall(REQUEST.replace(b"/ ", b"/big "))
        wait_until(lambda: running.server_state.total_requests == 1)
        wait_until(lambda: not running.server_state.connections)
