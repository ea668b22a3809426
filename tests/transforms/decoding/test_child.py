"""The decoder process ends with its parent, and loads only what decoding needs."""

import ast
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gpus import SoftwareGpu
from transforms.decoding import child
from transforms.decoding.video_facts import NvdecUse

ROOT = Path(__file__).parents[3]


def test_a_child_whose_parent_ended_during_its_start_prints_nothing():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        command = [sys.executable, "-m", "transforms.decoding.child", str(theirs.fileno()), str(2 << 30), "unused"]
        ended = subprocess.run(command, cwd=ROOT, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False)
    assert ended.stdout + ended.stderr == ""


def test_the_child_loads_neither_beam_nor_tensorflow():
    script = "import sys, transforms.decoding.child; print(sorted({name.split('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(ended.stdout))
    assert {"av", "cv2", "model", "numpy", "transforms"} <= loaded
    assert not loaded & {"apache_beam", "h5py", "keras", "pipeline", "pyarrow", "rich", "tensorflow"}


def test_a_process_that_is_not_to_use_the_gpu_does_not_look_for_it(monkeypatch):
    monkeypatch.setattr(child, "load_driver", lambda: pytest.fail("the driver was loaded"))
    finder = child.GpuFinder(NvdecUse.NO_GPU)
    assert finder.gpu is NvdecUse.NO_GPU
    assert finder.access() is None


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("transforms.decoding.nvdec._LIBRARIES", ("libnone.so.1",))
    finder = child.GpuFinder(NvdecUse.USED)
    assert finder.gpu is NvdecUse.NOT_STARTED
    assert finder.access() is None


@pytest.mark.parametrize("works", [True, False])
def test_the_gpu_is_found_if_it_decodes_a_first_video(monkeypatch, works):
    monkeypatch.setattr(child, "load_driver", lambda: ["/usr/lib"])
    monkeypatch.setattr(child, "Gpu", lambda: SoftwareGpu(refuses=not works))
    finder = child.GpuFinder(NvdecUse.USED)
    assert finder.gpu is NvdecUse.SANDBOX
    access = finder.access()
    assert access.library_folders == ["/usr/lib"]
    assert access.connect() == works
    assert isinstance(finder.gpu, SoftwareGpu) if works else finder.gpu is NvdecUse.NOT_STARTED
