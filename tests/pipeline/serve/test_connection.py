"""Clients that keep the server waiting are cut off, however slowly they send. Those that read, and slow answers, are not."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from pipeline.serve import connection
from tests.support.serving import wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

IDLE_SEC = 1.0

BLOCK = bytes(1 << 20)

NUM_BLOCKS = 64  # more than buffers of sockets hold


async def app(scope, receive, send):
    """Answers /slow after twice the limit, /big and /stream with many bytes, at once or in blocks, and others with two."""
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * IDLE_SEC)
    blocks = {"/big": [BLOCK * NUM_BLOCKS], "/stream": [BLOCK] * NUM_BLOCKS}.get(scope["path"], [b"ok"])
    length = str(sum(map(len, blocks))).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for number, block in enumerate(blocks, start=1):
        await send({"type": "http.response.body", "body": block, "more_body": number < len(blocks)})


@pytest.fixture
def server(monkeypatch):
    """A server that runs with a short limit, and its address."""
    monkeypatch.setattr(connection, "IDLE_SEC", IDLE_SEC)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=connection.Connection, lifespan="off", ws="none", log_config=None, timeout_keep_alive=600)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    wait_until(lambda: running.started)
    yield running, listener.getsockname()
    running.should_exit = True
    thread.join()


@pytest.fixture
def client(server):
    with socket.create_connection(server[1]) as client:
        yield client


def ask(client, path):
    client.sendall(REQUEST.replace(b"/ ", path.encode() + b" ", 1))


def read(client):
    """Returns what a client can read, b"" if it is cut off."""
    with contextlib.suppress(ConnectionResetError):
        return client.recv(1 << 16)
    return b""


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_connection_without_a_whole_header_is_cut_off(client, sent):
    client.sendall(sent)
    assert read(client) == b""


def test_a_header_that_comes_byte_by_byte_wins_no_time(client):
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


def test_a_connection_that_was_used_is_cut_off_as_well(client):
    ask(client, "/")
    answer = b""
    while block := read(client):
        answer += block
    assert answer.endswith(b"ok")


def test_a_request_that_takes_longer_is_answered(client):
    ask(client, "/slow")
    assert read(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("paths", [["/big"], ["/stream"], ["/big", "/"], ["/stream", "/stream"]])
def test_a_client_that_does_not_read_its_answers_is_cut_off(server, client, paths):
    for path in paths:
        ask(client, path)
    wait_until(lambda: server[0].server_state.connections)
    wait_until(lambda: not server[0].server_state.connections)


@pytest.mark.parametrize("path", ["/big", "/stream"])
def test_a_client_that_reads_slowly_gets_all_of_its_answer(client, path):
    ask(client, path)
    read_bytes, started = 0, time.monotonic()
    while read_bytes < NUM_BLOCKS * len(BLOCK):
        block = client.recv(1 << 20)
        assert block
        read_bytes += len(block)
        time.sleep(max(0.0, started + 2.5 * IDLE_SEC * read_bytes / (NUM_BLOCKS * len(BLOCK)) - time.monotonic()))
