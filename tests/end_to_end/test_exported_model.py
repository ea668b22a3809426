"""The example of docs/serving.md counts a video with an exported model in a process that has TensorFlow and nothing of ours."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import main
from pipeline.command_line import CommandParser
from pipeline.counter import count_video, load_counter
from pipeline.options import add_model_options
from tests.support.videos import draw_video, moving_square
from transforms.matching import list_videos
from transforms.records import VideoCount

ROOT = Path(__file__).resolve().parents[2]
REAL_CLIPS = ROOT.parent / "shared" / "realset" / "clips"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an export of the default model, `exported`."""
    folder = tmp_path_factory.mktemp("clean")
    assert main.main(["model", "export", "lite", str(folder / "exported")]) == 0
    return folder


@pytest.fixture(scope="module")
def counter():
    parser = CommandParser()
    add_model_options(parser)
    return load_counter(parser.parse_args(["--precision", "float32"]))


def test_the_example_counts_without_this_project(folder, tmp_path, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "serving.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "saved_model" in block)
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "exported").symlink_to(folder / "exported")
    video = tmp_path / "demo" / "videos" / "squats.mp4"
    video.parent.mkdir(parents=True)
    draw_video(video, 240, size=(320, 240), draw=lambda index: moving_square(index, period_frames=24, size=(320, 240)))
    command = [sys.executable, "-I", str(ROOT / "tests" / "support" / "clean_child.py"), "example.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr

    assert main.main(["count", "--json", "--precision", "float32", str(video)]) == 0
    expected = json.loads(capsys.readouterr().out)
    rounded, count, *times = [float(number) for number in re.findall(r"[\d.]*\d[\d.]*", done.stdout)]
    assert count == pytest.approx(expected["count"], abs=1e-2)  # OpenCV has other pixels: it makes RGB before it resizes
    assert rounded == expected["count_rounded"] == len(times) > 5
    np.testing.assert_allclose(times, expected["repetition_times_sec"], atol=0.05)


def assert_same(counter, exported, video):
    """Counts a video as `repcount count` does, and its frames with the exported model."""
    chunks = []
    expected = count_video(video, counter, chunks.append)
    assert isinstance(expected, VideoCount), expected
    frames, times_sec = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("frames", "times_sec"))
    found = exported.count(frames, times_sec)
    assert float(found["count"]) == pytest.approx(expected.counted.count, abs=1e-3), video.uri
    assert int(found["stride"]) == expected.counted.stride, video.uri
    np.testing.assert_array_equal(found["times_sec"], expected.times_sec)
    np.testing.assert_allclose(found["periodicity"], expected.counted.periodicity, atol=1e-3)
    if expected.facts.decoded_frames == len(times_sec):  # else the end of the last frame is that of a dropped one
        np.testing.assert_allclose(found["repetition_times_sec"], expected.repetition_times_sec, atol=1e-3)
        np.testing.assert_allclose(found["period_sec"], expected.period_sec, atol=1e-3)


@pytest.mark.parametrize("fps", [6.0, 24.0, 30.0, 60.0])
def test_frames_of_the_decoder_count_as_by_the_command(fps, folder, counter, tmp_path):
    period = round(0.8 * fps)
    draw_video(tmp_path / "square.mp4", round(8 * fps), fps=fps, draw=lambda index: moving_square(index, period_frames=period))
    exported = tf.saved_model.load(str(folder / "exported"))
    (video,) = list_videos(str(tmp_path / "square.mp4"))
    assert_same(counter, exported, video)


@pytest.mark.skipif(not REAL_CLIPS.is_dir(), reason="needs the real clips in ../shared/realset, which are missing")
def test_real_clips_count_as_by_the_command(folder, counter):
    exported = tf.saved_model.load(str(folder / "exported"))
    videos = list(list_videos(str(REAL_CLIPS)))
    assert len(videos) > 30
    for video in videos:
        assert_same(counter, exported, video)
