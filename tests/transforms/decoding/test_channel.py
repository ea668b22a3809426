"""Messages and files arrive whole, and memory is shared."""

import json
import os
import socket

import pytest

from transforms.decoding.channel import Channel, ChannelClosedError, InvalidMessageError, make_memory, map_memory


@pytest.fixture
def channels():
    ours, theirs = map(Channel, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_whole_and_in_order_with_their_files(channels, tmp_path):
    ours, theirs = channels
    with open(tmp_path / "x", "w+b") as file:
        ours.send({"number": 1}, (file.fileno(),))
        ours.send({"text": "é" * 5_000})
    message, files = theirs.receive()
    assert message == {"number": 1}
    assert [os.fstat(number).st_size for number in files] == [0]
    os.close(files[0])
    assert theirs.receive() == ({"text": "é" * 5_000}, [])


def test_a_partial_message_survives_a_timeout(channels):
    ours, theirs = channels
    content = json.dumps([0, {"number": 1}]).encode()
    content = len(content).to_bytes(4, "big") + content
    theirs.connection.settimeout(0.05)
    ours.connection.sendall(content[:7])
    with pytest.raises(TimeoutError):
        theirs.receive()
    ours.connection.sendall(content[7:])
    assert theirs.receive()[0] == {"number": 1}


def test_the_end_of_the_other_process_is_an_error(channels):
    ours, theirs = channels
    ours.close()
    with pytest.raises(ChannelClosedError):
        theirs.receive()
    assert theirs.is_closed()
    with pytest.raises(ChannelClosedError):
        theirs.send({"number": 1})


def test_an_invalid_message_is_refused(channels):
    ours, theirs = channels
    ours.connection.sendall(b"\xff" * 8)
    with pytest.raises(InvalidMessageError, match="Received: 4,294,967,295"):
        theirs.receive()


def test_memory_is_shared():
    file, frames, times_sec = make_memory(3)
    theirs, their_times_sec = map_memory(file, 3)
    os.close(file)
    frames[2], times_sec[2] = 7, 0.5
    assert (theirs.shape, theirs[2].min(), their_times_sec[2]) == ((3, 112, 112, 3), 7, 0.5)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_the_size_of_shared_memory_cannot_be_changed(size):
    file, _, _ = make_memory(3)
    with pytest.raises(PermissionError):
        os.ftruncate(file, size)
    os.close(file)
