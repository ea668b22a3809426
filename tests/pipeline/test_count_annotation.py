"""`repcount count --annotate` writes a whole video or none, says what is missing, and shows what was counted."""

import errno
import io

import av
import numpy as np
import pytest

from pipeline import count_annotation
from pipeline.counter import count_video
from pipeline.main import main
from tests.support.scorers import FAKE_COUNTER
from tests.support.videos import draw_video, encode_streams
from transforms.annotation.process import AnnotatorProcess
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode
from transforms.objects import find_object


def count(*arguments):
    return main(["count", "--quiet", *map(str, arguments)], load_counter=lambda args: FAKE_COUNTER)


def num_frames(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_is_annotated_beside_its_count(tmp_path, capsys):
    video, output = draw_video(tmp_path / "squats.mp4", 100), tmp_path / "counted.mp4"
    output.write_text("older")
    assert count("--json", "--annotate", output, video) == 0
    assert '"count_rounded": 5' in capsys.readouterr().out
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec.canonical_name == "h264"
    assert num_frames(output) == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counted.mp4", "squats.mp4"]


def test_several_videos_are_annotated_under_their_names(tmp_path):
    videos = [draw_video(tmp_path / name, 40) for name in ("a.avi", "b.mp4")]
    assert count("--annotate", "mp4", "--output_dir", tmp_path / "out", *videos) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["squats.mp4", "squats.mp4"], "a video would be overwritten"),
        (["out.mkv", "squats.mp4"], "--annotate must end with .mp4. Received: 'out.mkv'"),
        (["out.mp4", "squats.mp4", "other.mp4"], "--annotate FILE takes one video"),
        (["missing/out.mp4", "squats.mp4"], "--annotate must be a file in an existing, writable folder"),
    ],
)
def test_an_output_that_cannot_be_meant_is_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = draw_video(tmp_path / "squats.mp4", 10).read_bytes()
    draw_video(tmp_path / "other.mp4", 10)
    assert count("--annotate", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert (tmp_path / "squats.mp4").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sound_that_mp4_does_not_take_is_left_out_with_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(AnnotatorProcess, "annotate", lambda *arguments: "wmav2")
    video = draw_video(tmp_path / "squats.mp4", 70)
    assert count("--annotate", tmp_path / "out.mp4", video) == 0
    assert "out.mp4 has no sound: MP4 does not take wmav2" in capsys.readouterr().err


@pytest.mark.parametrize("error", [DecodeError(FailureCode.DECODE_TIMEOUT, "too slow"), KeyboardInterrupt()])
def test_nothing_half_written_stays(tmp_path, capsys, monkeypatch, error):
    def fail(self, file, timeline, options, output):
        output.write(b"half")
        raise error

    monkeypatch.setattr(AnnotatorProcess, "annotate", fail)
    video, output = draw_video(tmp_path / "squats.mp4", 70), tmp_path / "out.mp4"
    output.write_text("older")
    assert count("--annotate", output, video) == (1 if isinstance(error, DecodeError) else 130)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "squats.mp4"]
    assert output.read_text() == "older"
    if isinstance(error, DecodeError):
        assert "not annotated: too slow" in capsys.readouterr().err


def test_a_full_disk_is_a_fault_of_the_output_and_not_of_the_video(tmp_path, capsys, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = AnnotatorProcess.annotate
    monkeypatch.setattr(
        AnnotatorProcess, "annotate", lambda self, file, timeline, options, output: real(self, file, timeline, options, Full())
    )
    video = draw_video(tmp_path / "squats.mp4", 70)
    assert count("--annotate", tmp_path / "out.mp4", video) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_that_fails_is_not_annotated(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert count("--annotate", "mp4", "--output_dir", tmp_path / "out", tmp_path / "empty.mp4") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_shown_is_what_was_counted(tmp_path):
    result = count_video(find_object(str(draw_video(tmp_path / "squats.mp4", 100))), FAKE_COUNTER)
    timeline = count_annotation.timeline_of(result)
    for number, time_sec in enumerate(result.repetition_times_sec, start=1):
        assert timeline.at(time_sec - 1e-6).count == number - 1
        assert timeline.at(time_sec).count == number
    assert timeline.curve[-1] == pytest.approx(result.counted.count)
    assert timeline.segments_sec == pytest.approx(np.array([[0, 10 / 3]]))


def test_a_video_of_several_streams_shows_the_one_that_was_counted(tmp_path):
    video = encode_streams(tmp_path / "two.mkv", [[0], range(50)])
    assert count("--annotate", tmp_path / "out.mp4", video) == 0
    assert num_frames(tmp_path / "out.mp4") == 50
