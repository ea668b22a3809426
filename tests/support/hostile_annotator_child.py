"""An annotator process that a file has taken over: the file's first line says what it does."""

import errno
import os

from transforms.annotation import child
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode


def annotate(file, sound_file, timeline, options, output, progress):
    """Does what the file says; a DecodeError READ_ERROR reports how that ended."""
    what, _, argument = file.readline().decode().strip().partition(" ")
    try:
        if what == "open":
            os.close(os.open(argument, os.O_RDONLY))
        elif what == "truncate":
            os.ftruncate(file.fileno(), 0)
        elif what == "overwrite":
            os.write(file.fileno(), b"gone")
        elif what == "gap":
            output.seek(1 << 40)
            output.write(b"far away")
        elif what == "flood":
            while True:
                output.write(b"\0" * (1 << 18))
        elif what == "crash":
            os.abort()
    except OSError as error:
        raise DecodeError(FailureCode.READ_ERROR, errno.errorcode[error.errno]) from error
    return "a codec; with a story\n"


if __name__ == "__main__":
    child.annotate = annotate
    child.serve_in_sandbox(lambda file: None, child.serve)
