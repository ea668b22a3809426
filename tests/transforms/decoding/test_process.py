"""Whatever a file does to a decoder is the failure of that video; the next one is read as if nothing had been."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tests.support.videos import draw_video, number_of, numbered
from transforms.decoding import decode_videos as decoding
from transforms.decoding import process as decoder_process
from transforms.decoding.channel import Channel, ChannelClosedError, make_memory, map_memory
from transforms.decoding.decode_videos import DecodeVideos
from transforms.decoding.process import DecoderProcess
from transforms.decoding.reader import DecodeError, DecodingOptions, read_video
from transforms.failure_codes import FailureCode
from transforms.objects import find_object
from transforms.records import Failure

OPTIONS = DecodingOptions(chunk_frames=50, timeout_sec=20.0)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Eighty numbered frames at 30 fps."""
    return draw_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 80, draw=numbered)


@pytest.fixture
def decoder():
    decoder = DecoderProcess()
    yield decoder
    decoder.close()


@pytest.fixture
def faulty():
    decoder = DecoderProcess("tests.support.faulty_decoder_child")
    yield decoder
    decoder.close()


def read(decoder, path, options=OPTIONS):
    with open(path, "rb") as file:
        return list(decoder.read(file, options))


def is_running(pid):
    """Tells whether there is a process that is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


def open_files(pid):
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(path))
    return found


def wait_until(condition, timeout_sec=20.0):
    deadline = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_whose_parent_was_killed_as_it_started_leaves_without_a_word():
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        command = [sys.executable, "-m", "transforms.decoding.child", str(theirs.fileno())]
        ended = subprocess.run(
            command, cwd=ROOT, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.stdout + ended.stderr == ""


def test_frames_times_and_facts_are_those_that_are_read_here(decoder, clip):
    ours = read(decoder, clip)
    with open(clip, "rb") as file:
        for mine, theirs in zip(ours, read_video(file, OPTIONS), strict=True):
            np.testing.assert_array_equal(mine.frames, theirs.frames)
            np.testing.assert_array_equal(mine.times_sec, theirs.times_sec)
            assert mine.facts == theirs.facts
    assert [number_of(frame) for samples in ours for frame in samples.frames] == list(range(80))


def test_frames_stay_when_the_next_ones_and_the_next_video_come(decoder, clip, tmp_path):
    first = read(decoder, clip)
    read(decoder, draw_video(tmp_path / "other.mp4", 120))
    decoder.close()
    assert [number_of(frame) for samples in first for frame in samples.frames] == list(range(80))


def test_one_process_reads_many_videos(decoder, clip):
    pids = {decoder.pid for _ in range(4) if read(decoder, clip)}
    assert len(pids) == 1
    assert None not in pids


def test_a_process_is_replaced_after_many_videos(decoder, clip, monkeypatch):
    monkeypatch.setattr(decoder_process, "VIDEOS_PER_PROCESS", 2)
    pids = []
    for _ in range(4):
        with open(clip, "rb") as file:
            for samples in decoder.read(file, OPTIONS):
                pids.append(decoder.pid)
                assert len(samples.frames)
    assert len(set(pids)) == 2


def test_a_file_that_is_no_video_leaves_the_process_as_it_is(decoder, clip, tmp_path):
    read(decoder, clip)
    pid = decoder.pid
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DecodeError) as caught:
        read(decoder, tmp_path / "text.mp4")
    assert caught.value.code is FailureCode.NOT_A_VIDEO
    assert decoder.pid == pid


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("CRASH", FailureCode.DECODER_CRASHED, r"crashed on this file \(SIGSEGV\)"),
        ("ABORT", FailureCode.DECODER_CRASHED, r"crashed on this file \(SIGABRT\)"),
        ("EXIT", FailureCode.DECODER_CRASHED, r"crashed on this file \(exit code 3\)"),
        ("KILLED", FailureCode.DECODE_OUT_OF_MEMORY, "the system killed the decoder"),
        ("HANG", FailureCode.DECODE_TIMEOUT, "for 1 s no frame came"),
        ("SPIN", FailureCode.DECODE_TIMEOUT, "for 1 s no frame came"),
        ("DRIP", FailureCode.DECODE_TIMEOUT, "decoding took more than 1 s for 0 s of video"),
        ("GROW", FailureCode.DECODE_OUT_OF_MEMORY, "(?i)memory"),
    ],
)
def test_a_fault_is_named_and_the_next_video_is_read(faulty, clip, tmp_path, fault, code, message):
    read(faulty, clip)
    pid = faulty.pid
    (tmp_path / "bad.mp4").write_text(f"{fault}\n")
    timeout_sec = 20.0 if fault == "GROW" else 1.0  # it may grow slowly on a busy machine
    with pytest.raises(DecodeError, match=message) as caught:
        read(faulty, tmp_path / "bad.mp4", DecodingOptions(timeout_sec=timeout_sec, max_memory_bytes=300 << 20))
    assert caught.value.code is code
    assert "\n" not in str(caught.value)
    assert not is_running(pid)
    assert sum(len(samples.frames) for samples in read(faulty, clip)) == 80
    assert faulty.pid != pid


def test_a_process_that_died_between_two_videos_is_replaced(decoder, clip):
    read(decoder, clip)
    pid = decoder.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert sum(len(samples.frames) for samples in read(decoder, clip)) == 80


def test_a_video_that_is_not_read_to_its_end_leaves_no_process_busy_with_it(decoder, clip):
    with open(clip, "rb") as file:
        samples = decoder.read(file, OPTIONS)
        next(samples)
        pid = decoder.pid
        samples.close()
    assert decoder.pid is None
    wait_until(lambda: not is_running(pid))


def test_time_that_others_take_between_frames_is_not_the_decoders(decoder, clip):
    with open(clip, "rb") as file:
        total = 0
        for samples in decoder.read(file, DecodingOptions(chunk_frames=20, timeout_sec=1.5)):
            time.sleep(2.0)
            total += len(samples.frames)
    assert total == 80


def test_frames_are_decoded_ahead_but_not_without_bounds(decoder, tmp_path):
    path = draw_video(tmp_path / "long.mp4", 600)
    with open(path, "rb") as file:
        samples = decoder.read(file, DecodingOptions(chunk_frames=100))
        next(samples)
        time.sleep(1.0)
        maps = Path(f"/proc/{decoder.pid}/maps").read_text()
        assert maps.count("repcount-frames") <= 3
        assert len(list(samples)) == 5


@pytest.mark.parametrize("fault", ["HANG", "SPIN"])
def test_a_process_goes_with_the_one_that_started_it(tmp_path, fault):
    (tmp_path / "bad.mp4").write_text(f"{fault}\n")
    script = (
        "import sys\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.reader import DecodingOptions\n"
        "decoder = DecoderProcess('tests.support.faulty_decoder_child')\n"
        "decoder._start(); print(decoder.pid, flush=True)\n"
        "list(decoder.read(open(sys.argv[1], 'rb'), DecodingOptions()))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "bad.mp4")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())
    time.sleep(1.5)
    assert is_running(pid)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_running(pid))


def test_the_process_imports_nothing_from_the_folder_that_a_run_is_started_in(clip, tmp_path):
    (tmp_path / "av.py").write_text("raise RuntimeError('a stranger was here')\n")
    script = (
        "import os, sys\n"
        "sys.path[0] = sys.argv[1]\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.reader import DecodingOptions\n"
        "os.chdir(sys.argv[2])\n"
        "print(sum(len(samples.frames) for samples in DecoderProcess().read(open(sys.argv[3], 'rb'), DecodingOptions())))\n"
    )
    command = [sys.executable, "-c", script, str(ROOT), str(tmp_path), str(clip)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "80\n"


def test_a_process_out_of_reach_is_the_failure_of_its_video_and_no_hang(clip):
    script = (
        "import os, resource, sys\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.reader import DecodeError, DecodingOptions\n"
        "samples = DecoderProcess().read(open(sys.argv[1], 'rb'), DecodingOptions(chunk_frames=20))\n"
        "next(samples)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "try:\n"
        "    while True: os.open(os.devnull, os.O_RDONLY)\n"
        "except OSError: pass\n"
        "try: list(samples)\n"
        "except DecodeError as error: print(error.code.value)\n"
    )
    command = [sys.executable, "-c", script, str(clip)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "READ_ERROR\n"


def test_what_has_no_limit_is_read(decoder, clip):
    options = dataclasses.replace(OPTIONS, timeout_sec=float("inf"), max_sec=float("inf"), max_memory_bytes=1 << 63)
    assert sum(len(samples.frames) for samples in read(decoder, clip, options)) == 80


def test_the_process_has_no_credentials_and_no_open_files_but_its_own(decoder, clip, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret.json")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with open(clip, "rb") as secret:
        read(decoder, clip)
        variables = Path(f"/proc/{decoder.pid}/environ").read_bytes().split(b"\0")
        names = {variable.split(b"=")[0].decode() for variable in variables if variable}
        assert names <= {*decoder_process._KEPT_VARIABLES, "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        wait_until(lambda: secret.name not in open_files(decoder.pid))  # it has handed the last frames over before it closes


def test_a_default_timeout_of_sockets_does_not_matter(decoder, clip):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30.0)
    try:
        assert sum(len(samples.frames) for samples in read(decoder, clip)) == 80
    finally:
        socket.setdefaulttimeout(before)


def test_a_process_that_does_not_start_is_named(clip):
    decoder = DecoderProcess("tests.no_such_module")
    with pytest.raises(DecodeError, match="the decoder does not start on this machine") as caught:
        read(decoder, clip)
    assert caught.value.code is FailureCode.DECODER_CRASHED
    assert decoder.pid is None


def test_nothing_is_left_in_the_temporary_folder(decoder, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    read(decoder, clip)
    decoder.close()
    assert list(tmp_path.iterdir()) == []


SEEN = []
"""What the pipelines of these tests, in this very process, gave."""


def remember(item):
    name = Path(item.video.uri).name
    SEEN.append((name, item.code.value) if isinstance(item, Failure) else (name, len(item.frames)))


@pytest.mark.parametrize("ahead", [False, True])
def test_files_that_crash_and_hang_a_decoder_do_no_harm_to_the_others_of_a_run(clip, tmp_path, monkeypatch, ahead):
    monkeypatch.setattr(decoding, "DecoderProcess", lambda: DecoderProcess("tests.support.faulty_decoder_child"))
    paths = [clip, tmp_path / "crash.mp4", tmp_path / "hang.mp4", draw_video(tmp_path / "other.mp4", 90), tmp_path / "grow.mp4"]
    for name in ("crash", "hang", "grow"):
        (tmp_path / f"{name}.mp4").write_text(f"{name.upper()}\n")
    options = DecodingOptions(chunk_frames=200, timeout_sec=3.0, max_memory_bytes=300 << 20)
    SEEN.clear()
    pipeline = beam.Pipeline(runner=FnApiRunner())
    videos = pipeline | beam.Create([find_object(str(path)) for path in paths], reshuffle=False)
    _ = videos | DecodeVideos(options, ahead=ahead) | beam.Map(remember)
    pipeline.run()
    assert SEEN == [
        ("clip.mp4", 80),
        ("crash.mp4", "DECODER_CRASHED"),
        ("hang.mp4", "DECODE_TIMEOUT"),
        ("other.mp4", 90),
        ("grow.mp4", "DECODE_OUT_OF_MEMORY"),
    ]


class TestMessages:
    @pytest.fixture
    def channels(self):
        ours, theirs = map(Channel, socket.socketpair())
        yield ours, theirs
        ours.close()
        theirs.close()

    def test_messages_come_whole_and_in_order_with_their_files(self, channels, tmp_path):
        ours, theirs = channels
        with open(tmp_path / "x", "w+b") as file:
            ours.send({"number": 1}, (file.fileno(),))
            ours.send({"text": "é" * 5_000})
        message, files = theirs.receive()
        assert message == {"number": 1}
        assert [os.fstat(number).st_size for number in files] == [0]
        os.close(files[0])
        assert theirs.receive() == ({"text": "é" * 5_000}, [])

    def test_a_message_that_comes_in_pieces_is_not_lost_to_a_timeout(self, channels):
        ours, theirs = channels
        content = json.dumps([0, {"number": 1}]).encode()
        content = len(content).to_bytes(4, "big") + content
        theirs.connection.settimeout(0.05)
        ours.connection.sendall(content[:7])
        with pytest.raises(TimeoutError):
            theirs.receive()
        ours.connection.sendall(content[7:])
        assert theirs.receive()[0] == {"number": 1}

    def test_an_end_is_told(self, channels):
        ours, theirs = channels
        ours.close()
        with pytest.raises(ChannelClosedError):
            theirs.receive()
        assert theirs.is_closed()
        with pytest.raises(ChannelClosedError):
            theirs.send({"number": 1})

    def test_what_is_no_message_is_refused(self, channels):
        ours, theirs = channels
        ours.connection.sendall(b"\xff" * 8)
        with pytest.raises(ChannelClosedError, match="is none"):
            theirs.receive()

    def test_memory_is_shared(self):
        file, frames, times_sec = make_memory(3)
        theirs, their_times_sec = map_memory(file, 3)
        os.close(file)
        frames[2], times_sec[2] = 7, 0.5
        assert (theirs.shape, theirs[2].min(), their_times_sec[2]) == ((3, 112, 112, 3), 7, 0.5)
