"""A decoder process that hangs, crashes or uses up memory if the first word of a file says so."""

import ctypes
import os
import signal
import time

from transforms.decoding import child as decoder_child
from transforms.decoding.reader import allocate_arrays, read_video
from transforms.decoding.reader import read_header as read_header_of_video


def read(file, options, allocate=allocate_arrays, progress=None):
    """Reads a video, unless the file starts with the name of a fault."""
    fail_if_asked(file, progress)
    yield from read_video(file, options, allocate, progress)


def read_header(file):
    """Reads a header, unless the file starts with the name of a fault."""
    fail_if_asked(file, lambda presented_sec: None)
    return read_header_of_video(file)


def fail_if_asked(file, progress):
    """Does what the first word of a file says, if it is the name of a fault."""
    word = file.read(6).decode("latin-1").split("\n")[0]
    file.seek(0)
    if word == "HANG":
        time.sleep(600)
    elif word == "SPIN":
        while True:
            pass
    elif word == "CRASH":
        ctypes.string_at(0)
    elif word == "ABORT":
        os.abort()
    elif word == "EXIT":
        os._exit(3)
    elif word == "KILLED":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "GROW":
        _hoard = b"x" * (500 << 20)
        time.sleep(600)
    elif word == "DRIP":
        while True:
            time.sleep(0.05)
            progress(0.01)


if __name__ == "__main__":
    decoder_child.main(read, read_header)
