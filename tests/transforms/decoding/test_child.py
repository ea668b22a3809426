"""The decoder process ends with its parent, and loads only what decoding needs."""

import ast
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_child_whose_parent_ended_during_its_start_prints_nothing():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        command = [sys.executable, "-m", "transforms.decoding.child", str(theirs.fileno()), str(2 << 30)]
        ended = subprocess.run(command, cwd=ROOT, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False)
    assert ended.stdout + ended.stderr == ""


def test_the_child_loads_neither_beam_nor_tensorflow():
    script = "import sys, transforms.decoding.child; print(sorted({name.split('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(ended.stdout))
    assert {"av", "cv2", "model", "numpy", "transforms"} <= loaded
    assert not loaded & {"apache_beam", "h5py", "keras", "pipeline", "pyarrow", "rich", "tensorflow"}
