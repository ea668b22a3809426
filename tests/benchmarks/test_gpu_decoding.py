"""The benchmark of decoding by a GPU: it refuses to measure anything else. Here the processor stands in for the GPU."""

import dataclasses

import numpy as np
import pytest

from benchmarks import gpu_decoding
from benchmarks.decoding import encode
from tests.support.benchmarks import run_benchmark
from transforms.decoding.process import DecoderProcess
from transforms.decoding.video_facts import NvdecUse


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "disc.mp4"
    encode(path, (128, 96), 12)
    return path


@pytest.fixture
def gpu(monkeypatch):
    """Lets the processor decode what the GPU should, one grey level brighter."""
    read = DecoderProcess.read

    def read_as_gpu(self, file, options):
        on_gpu = options.decoder == "nvdec"
        for samples in read(self, file, dataclasses.replace(options, decoder="cpu")):
            facts = dataclasses.replace(samples.facts, nvdec=NvdecUse.USED) if on_gpu and samples.facts else samples.facts
            yield dataclasses.replace(samples, frames=np.clip(samples.frames, 0, 254) + on_gpu, facts=facts)

    monkeypatch.setattr(DecoderProcess, "read", read_as_gpu)
    monkeypatch.setattr(gpu_decoding, "has_nvidia_gpu", lambda: True)


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(gpu_decoding, "has_nvidia_gpu", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu_decoding.main([])
    assert "this machine must have an NVIDIA GPU and its driver. Received: none" in capsys.readouterr().err


def test_a_video_that_the_gpu_did_not_decode_ends_the_benchmark(video):
    with pytest.raises(SystemExit, match=r"disc\.mp4 must be decoded by the GPU\. Received: [a-z_]+, see"):
        gpu_decoding.frames_per_sec(video, streams=1, repeats=1)


@pytest.mark.slow
def test_both_decoders_are_measured_with_each_number_of_streams(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu_decoding, "VIDEOS", [("360p", "H.264")])
    result = run_benchmark(gpu_decoding, capsys, "--streams", "1", "2", "--seconds", "1", "--repeats", "1")
    assert [(row["video"], row["streams"]) for row in result["rows"]] == [("360p H.264", 1), ("360p H.264", 2)]
    assert all(row["cpu"] > 0 and row["nvdec"] > 0 for row in result["rows"])
    assert all(row["ratio"] == pytest.approx(row["nvdec"] / row["cpu"], rel=0.01) for row in result["rows"])


def test_the_difference_is_that_of_the_frames(gpu, video):
    assert gpu_decoding.mean_difference(video) == pytest.approx(1.0, abs=0.3)
