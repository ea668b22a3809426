"""Programs whose standard error is a terminal, for tests of what people see."""

import os
import re
import subprocess
import sys
import threading

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_at_terminal(code, *, width=120, with_output=False):
    """Runs Python code with standard error at a terminal; returns (exit code, output, shown), without control sequences.

    Args:
      code: Source of the program.
      width: Characters in a line of the terminal.
      with_output: Whether standard output is the same terminal; else it is a file.
    """
    ours, theirs = os.openpty()
    shown = []

    def read():
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                return
            if not part:
                return
            shown.append(part)

    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width)}
    stdout = theirs if with_output else subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdout=stdout, stderr=theirs, env=environment)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    output, _ = process.communicate(timeout=120)
    reader.join()
    os.close(ours)
    return process.returncode, (output or b"").decode(), _CONTROLS.sub("", b"".join(shown).decode(errors="replace"))


def lines_of(shown):
    """Returns the lines of what a terminal was sent, without control sequences; those that were overwritten are among them."""
    return re.split(r"[\r\n]+", _CONTROLS.sub("", shown))
