"""What the annotator process writes arrives as parts with their positions."""

import base64
import os

from transforms.annotation.child import MAX_CONTENT_BYTES, SentFile


class Recorder:
    def __init__(self):
        self.parts = []

    def send(self, message):
        self.parts.append((message["at"], base64.b64decode(message["content"])))


def test_parts_have_the_position_that_was_sought():
    channel = Recorder()
    file = SentFile(channel)
    assert file.write(b"header") == 6
    assert file.write(memoryview(b"body")) == 4
    assert file.seek(2) == 2
    file.write(b"!")
    assert file.seek(0, os.SEEK_END) == 10
    assert channel.parts == [(0, b"header"), (6, b"body"), (2, b"!")]


def test_no_part_is_too_large_for_a_message():
    channel = Recorder()
    SentFile(channel).write(b"x" * (2 * MAX_CONTENT_BYTES + 1))
    assert [(at, len(part)) for at, part in channel.parts] == [
        (0, MAX_CONTENT_BYTES),
        (MAX_CONTENT_BYTES, MAX_CONTENT_BYTES),
        (2 * MAX_CONTENT_BYTES, 1),
    ]
