"""Whatever a file does to a decoder fails that video only, and the next one is read as usual."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from tests.support import gpu_decoder_child
from tests.support.videos import draw_video, encode_streams, number_of
from transforms.decoding import process as decoder_process
from transforms.decoding import watchdog
from transforms.decoding.channel import make_memory
from transforms.decoding.gpus import has_nvidia_gpu
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.reader import read_video
from transforms.decoding.samples import DecodeError, DecoderStartError
from transforms.decoding.video_facts import NvdecUse
from transforms.failure_codes import FailureCode
from transforms.machine_faults import is_machine_fault

OPTIONS = DecodingOptions(chunk_frames=50, timeout_sec=60.0)

GPU_OPTIONS = dataclasses.replace(OPTIONS, decoder="auto")

ROOT = Path(__file__).parents[3]


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


@pytest.fixture
def hostile():
    decoder = DecoderProcess("tests.support.hostile_decoder_child")
    yield decoder
    decoder.close()


def attack(decoder, folder, name, argument=b"", options=OPTIONS):
    """Returns the error of a video that takes the decoder over; see `tests.support.hostile_decoder_child`."""
    (folder / "bad.mp4").write_bytes(b"ATTACK " + name + b"\n" + argument)
    with pytest.raises(DecodeError) as caught:
        read(decoder, folder / "bad.mp4", options)
    assert "\n" not in caught.value.message
    return caught.value


def read(decoder, path, options=OPTIONS):
    with open(path, "rb") as file:
        return list(decoder.read(file, options))


def read_header(decoder, path, options=OPTIONS):
    with open(path, "rb") as file:
        return decoder.read_header(file, options)


def is_running(pid):
    """Returns whether a process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


def wait_until(condition):
    while not condition():
        time.sleep(0.05)


def test_frames_times_and_facts_equal_those_read_in_this_process(decoder, clip):
    ours = read(decoder, clip)
    with open(clip, "rb") as file:
        for mine, theirs in zip(ours, read_video(file, OPTIONS), strict=True):
            np.testing.assert_array_equal(mine.frames, theirs.frames)
            np.testing.assert_array_equal(mine.times_sec, theirs.times_sec)
            assert mine.facts == theirs.facts
    assert [number_of(frame) for samples in ours for frame in samples.frames] == list(range(80))


def test_frames_stay_valid_while_later_ones_are_read(decoder, clip, tmp_path):
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


def test_a_file_that_is_not_a_video_does_not_end_the_process(decoder, clip, tmp_path):
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
        ("HANG", FailureCode.DECODE_TIMEOUT, "no frame could be decoded for 1 s"),
        ("SPIN", FailureCode.DECODE_TIMEOUT, "no frame could be decoded for 1 s"),
        ("DRIP", FailureCode.DECODE_TIMEOUT, "decoding took more than 3 s for 0 s of video"),
        ("GROW", FailureCode.DECODE_OUT_OF_MEMORY, "(?i)memory"),
    ],
)
def test_a_fault_is_reported_and_the_next_video_is_read(faulty, clip, tmp_path, fault, code, message):
    read(faulty, clip)
    pid = faulty.pid
    (tmp_path / "bad.mp4").write_text(f"{fault}\n")
    # On a busy machine, a crash takes a while, and one that drips may pause.
    timeout_sec = {"HANG": 1.0, "SPIN": 1.0, "DRIP": 3.0}.get(fault, 60.0)
    with pytest.raises(DecodeError, match=message) as caught:
        read(faulty, tmp_path / "bad.mp4", DecodingOptions(timeout_sec=timeout_sec, max_memory_bytes=300 << 20))
    assert caught.value.code is code
    assert "\n" not in str(caught.value)
    assert not is_running(pid)
    assert sum(len(samples.frames) for samples in read(faulty, clip)) == 80
    assert faulty.pid != pid


def test_headers_are_read_in_the_process_that_decodes(decoder, clip):
    header = read_header(decoder, clip)
    assert (header.width, header.height, header.codec, header.fps) == (64, 48, "mpeg4", 30.0)
    assert header.duration_sec == pytest.approx(80 / 30)
    pid = decoder.pid
    assert sum(len(samples.frames) for samples in read(decoder, clip)) == 80
    assert read_header(decoder, clip) == header
    assert decoder.pid == pid


def test_a_file_without_a_header_does_not_end_the_process(decoder, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DecodeError) as caught:
        read_header(decoder, tmp_path / "text.mp4")
    assert caught.value.code is FailureCode.NOT_A_VIDEO
    pid = decoder.pid
    assert read_header(decoder, clip).duration_sec > 2
    assert decoder.pid == pid


@pytest.mark.parametrize(("fault", "code"), [("CRASH", FailureCode.DECODER_CRASHED), ("HANG", FailureCode.DECODE_TIMEOUT)])
def test_a_fault_in_a_header_is_reported_and_the_next_one_is_read(faulty, clip, tmp_path, fault, code):
    (tmp_path / "bad.mp4").write_text(f"{fault}\n")
    with pytest.raises(DecodeError) as caught:
        read_header(faulty, tmp_path / "bad.mp4", dataclasses.replace(OPTIONS, timeout_sec=1.0) if fault == "HANG" else OPTIONS)
    assert caught.value.code is code
    assert read_header(faulty, clip).duration_sec > 2


def test_an_impossible_header_fails_its_video_and_ends_the_process(hostile, clip, tmp_path):
    for answer in (b'[0, {"header": {}}]', b'[0, {"code": 1}]', b'[0, {"num_frames": 1, "facts": null}]'):
        read_header(hostile, clip)
        pid = hostile.pid
        (tmp_path / "bad.mp4").write_bytes(b"ATTACK send\n" + answer)
        with pytest.raises(DecodeError, match="the decoder answered this file with"):
            read_header(hostile, tmp_path / "bad.mp4")
        assert not is_running(pid)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 500_000,
        b'[4, {"presented_sec": 1.0}]',
        b'[0, {"presented_sec": NaN}]',
        b'[0, {"code": ["GONE"], "message": ""}]',
        b'[0, {"num_frames": 51, "facts": null}]',
        b'[0, {"surprise": 1}]',
    ],
    ids=["no JSON", "files", "no number", "no code", "too many frames", "unknown"],
)
def test_an_impossible_answer_fails_its_video_and_ends_the_process(hostile, clip, tmp_path, content):
    read(hostile, clip)
    pid = hostile.pid
    error = attack(hostile, tmp_path, b"send", content)
    assert (error.code, error.message[:35]) == (FailureCode.DECODER_CRASHED, "the decoder answered this file with")
    assert not is_running(pid)
    assert sum(len(samples.frames) for samples in read(hostile, clip)) == 80


CHUNK = b'[0, {"num_frames": 50, "facts": null}]'


@pytest.mark.parametrize(
    ("name", "argument", "limits", "code"),
    [
        (b"chatter", CHUNK, {"max_frames": 1000}, FailureCode.DECODER_CRASHED),
        (b"chatter", CHUNK, {"timeout_sec": 1.0, "max_frames": 10**9}, FailureCode.DECODER_CRASHED),
        (b"trickle", b"", {"timeout_sec": 1.0}, FailureCode.DECODE_TIMEOUT),
    ],
    ids=["more frames than allowed", "reads nothing", "half a message"],
)
def test_a_process_that_never_ends_ends_at_a_limit(hostile, clip, tmp_path, name, argument, limits, code):
    assert attack(hostile, tmp_path, name, argument, dataclasses.replace(OPTIONS, **limits)).code is code
    assert sum(len(samples.frames) for samples in read(hostile, clip)) == 80


def test_files_that_the_process_sends_are_not_taken(hostile, clip, tmp_path):
    read(hostile, clip)
    before = os.listdir("/proc/self/fd")
    attack(hostile, tmp_path, b"send_files")
    assert len(os.listdir("/proc/self/fd")) < len(before) + 50


def test_shared_memory_counts_towards_the_limit(hostile, clip, tmp_path):
    options = dataclasses.replace(OPTIONS, max_memory_bytes=300 << 20)
    error = attack(hostile, tmp_path, b"take_memory", options=options)
    assert error.code is FailureCode.DECODE_OUT_OF_MEMORY
    assert sum(len(samples.frames) for samples in read(hostile, clip, options)) == 80


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize(
    ("name", "memory_bytes", "code"),
    [
        (b"take_page_tables", 300 << 20, FailureCode.DECODE_OUT_OF_MEMORY),
        (b"take_threads", 4 << 30, FailureCode.DECODER_CRASHED),
    ],
)
def test_page_tables_and_threads_are_limited(hostile, clip, tmp_path, name, memory_bytes, code):
    options = dataclasses.replace(OPTIONS, max_memory_bytes=memory_bytes, timeout_sec=600.0)
    assert attack(hostile, tmp_path, name, options=options).code is code
    assert sum(len(samples.frames) for samples in read(hostile, clip, options)) == 80


def test_a_thread_that_outlives_the_main_one_decodes_to_the_end(clip):
    script = (
        "import sys, threading, time\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.options import DecodingOptions\n"
        "def read():\n"
        "    decoder = DecoderProcess()\n"
        "    for number, samples in enumerate(decoder.read(open(sys.argv[1], 'rb'), DecodingOptions(chunk_frames=20))):\n"
        "        pids.append(decoder.pid); begun.set()\n"
        "        threading.main_thread().join(); time.sleep(0.2)\n"
        "    print(number + 1, len(set(pids)))\n"
        "pids, begun = [], threading.Event()\n"
        "threading.Thread(target=read).start()\n"
        "begun.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(clip)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("4 1\n", "")


def test_without_a_thread_left_the_machine_is_at_fault(clip, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(decoder_process, "_starter", decoder_process._Starter())
    monkeypatch.setattr(decoder_process.threading, "Thread", fail)
    with pytest.raises(BlockingIOError) as caught:
        read(DecoderProcess(), clip)
    assert is_machine_fault(caught.value)


def test_a_video_whose_process_the_system_kills_is_read_once_more(decoder, clip):
    with open(clip, "rb") as file:
        samples = decoder.read(file, dataclasses.replace(OPTIONS, chunk_frames=20))
        frames = [next(samples).frames]
        os.kill(decoder.pid, signal.SIGKILL)
        frames += [later.frames for later in samples]
    assert [number_of(frame) for frame in np.concatenate(frames)] == list(range(80))


def test_without_an_option_the_limit_follows_from_the_machine(hostile, tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_process, "default_memory_bytes", lambda: 300 << 20)
    error = attack(hostile, tmp_path, b"take_memory")
    assert (error.code, error.message) == (FailureCode.DECODE_OUT_OF_MEMORY, "decoding takes more than 300 MiB of memory")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_the_system_ends_decoders_first_when_memory_runs_out(decoder, clip):
    read(decoder, clip)
    assert Path(f"/proc/{decoder.pid}/oom_score_adj").read_text() == "1000\n"


def test_a_process_that_ended_between_two_videos_is_replaced(decoder, clip):
    read(decoder, clip)
    pid = decoder.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert sum(len(samples.frames) for samples in read(decoder, clip)) == 80


def test_leaving_a_video_unfinished_ends_the_process(decoder, clip):
    with open(clip, "rb") as file:
        samples = decoder.read(file, OPTIONS)
        next(samples)
        pid = decoder.pid
        samples.close()
    assert decoder.pid is None
    wait_until(lambda: not is_running(pid))


def test_the_time_of_the_caller_does_not_count_towards_the_timeout(decoder, clip, monkeypatch):
    taken_sec = 0.0
    monkeypatch.setattr(watchdog, "time", types.SimpleNamespace(monotonic=lambda: time.monotonic() + taken_sec))
    with open(clip, "rb") as file:
        total = 0
        for samples in decoder.read(file, dataclasses.replace(OPTIONS, chunk_frames=20)):
            taken_sec += 2 * OPTIONS.timeout_sec
            total += len(samples.frames)
    assert total == 80


def test_memory_for_frames_is_made_for_one_chunk_in_advance(decoder, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(decoder_process, "make_memory", lambda frames: made.append(frames) or make_memory(frames))
    path = draw_video(tmp_path / "long.mp4", 600)
    with open(path, "rb") as file:
        for number, _ in enumerate(decoder.read(file, DecodingOptions(chunk_frames=100)), start=1):
            assert made == [100] * (number + 1)
    assert number == 6


@pytest.mark.parametrize(
    ("child", "content"),
    [
        ("faulty_decoder_child", "HANG\n"),
        ("faulty_decoder_child", "SPIN\n"),
        ("hostile_decoder_child", "ATTACK hold_the_interpreter\n"),
    ],
    ids=["hangs", "spins", "is taken over"],
)
def test_a_process_ends_with_its_parent(tmp_path, child, content):
    (tmp_path / "bad.mp4").write_text(content)
    script = (
        "import sys\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.options import DecodingOptions\n"
        f"decoder = DecoderProcess('tests.support.{child}')\n"
        "decoder._start(DecodingOptions()); print(decoder.pid, flush=True)\n"
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


def test_the_process_imports_nothing_from_the_current_folder(clip, tmp_path):
    (tmp_path / "av.py").write_text("raise RuntimeError('imported from the current folder')\n")
    script = (
        "import os, sys\n"
        "sys.path[0] = sys.argv[1]\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.options import DecodingOptions\n"
        "os.chdir(sys.argv[2])\n"
        "print(sum(len(samples.frames) for samples in DecoderProcess().read(open(sys.argv[3], 'rb'), DecodingOptions())))\n"
    )
    command = [sys.executable, "-c", script, str(ROOT), str(tmp_path), str(clip)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "80\n"


def test_a_process_without_free_descriptors_gets_an_error_and_does_not_hang(clip):
    script = (
        "import os, resource, sys\n"
        "from transforms.decoding.process import DecoderProcess\n"
        "from transforms.decoding.options import DecodingOptions\n"
        "samples = DecoderProcess().read(open(sys.argv[1], 'rb'), DecodingOptions(chunk_frames=20))\n"
        "next(samples)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "try:\n"
        "    while True: os.open(os.devnull, os.O_RDONLY)\n"
        "except OSError: pass\n"
        "try: list(samples)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    command = [sys.executable, "-c", script, str(clip)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "Too many open files\n"


def test_infinite_limits_are_accepted(decoder, clip):
    options = dataclasses.replace(OPTIONS, timeout_sec=float("inf"), max_sec=float("inf"), max_memory_bytes=1 << 63)
    assert sum(len(samples.frames) for samples in read(decoder, clip, options)) == 80


def test_the_process_has_no_credentials_and_no_files_of_its_parent(hostile, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/secret.json")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with open(clip, "rb") as secret:
        read(hostile, clip)
        names = attack(hostile, tmp_path, b"tell_variables").message.split()
        assert "PATH" in names
        assert set(names) <= {*decoder_process._KEPT_VARIABLES, "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "OPENBLAS_NUM_THREADS"}
        inodes = attack(hostile, tmp_path, b"tell_files").message.split()
        assert str(os.stat(tmp_path / "bad.mp4").st_ino) in inodes
        assert str(os.fstat(secret.fileno()).st_ino) not in inodes


def test_a_default_socket_timeout_does_not_reach_the_process(decoder, clip):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30.0)
    try:
        assert sum(len(samples.frames) for samples in read(decoder, clip)) == 80
    finally:
        socket.setdefaulttimeout(before)


@pytest.mark.parametrize("executable", [None, ""])
def test_a_program_that_embeds_python_without_its_path_is_at_fault_and_not_the_video(clip, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with clip.open("rb") as file, pytest.raises(DecoderStartError, match=r"sys\.executable does not say where it is"):
        next(DecoderProcess().read(file, OPTIONS))


def test_a_process_that_does_not_start_is_reported(clip):
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


@pytest.fixture
def on_gpu(monkeypatch):
    """A decoder on a machine that seems to have a GPU."""
    monkeypatch.setattr(decoder_process, "has_nvidia_gpu", lambda: True)
    decoder = DecoderProcess("tests.support.gpu_decoder_child")
    yield decoder
    decoder.close()


def encode_h264(path, width=320):
    return encode_streams(path, [range(120)], codec="libx264", size=(width, 240))


def check_all_frames(samples, use):
    frames = np.concatenate([part.frames for part in samples])
    assert [number_of(frame) for frame in frames] == list(range(120))
    np.testing.assert_allclose(np.concatenate([part.times_sec for part in samples]), np.arange(120) / 30, atol=1e-6)
    assert samples[-1].facts.nvdec is use


def test_the_process_decodes_on_a_gpu_if_there_is_one(on_gpu, tmp_path):
    path = encode_h264(tmp_path / "a.mp4")
    check_all_frames(read(on_gpu, path, GPU_OPTIONS), NvdecUse.USED)
    check_all_frames(read(on_gpu, path, OPTIONS), NvdecUse.UNUSED)
    check_all_frames(read(on_gpu, path, GPU_OPTIONS), NvdecUse.USED)


@pytest.mark.parametrize("width", [gpu_decoder_child.CRASHES, gpu_decoder_child.HANGS, gpu_decoder_child.FAILS])
def test_a_process_that_fails_on_the_gpu_costs_no_video_and_no_frame(on_gpu, tmp_path, width):
    path = encode_h264(tmp_path / "a.mp4", width)
    options = dataclasses.replace(GPU_OPTIONS, timeout_sec=2.0)
    check_all_frames(read(on_gpu, path, options), NvdecUse.FAILED)
    check_all_frames(read(on_gpu, encode_h264(tmp_path / "b.mp4"), GPU_OPTIONS), NvdecUse.USED)


def test_a_gpu_that_ends_processes_is_left_alone_in_the_end(on_gpu, tmp_path):
    path = encode_h264(tmp_path / "a.mp4", gpu_decoder_child.CRASHES)
    for _ in range(3):
        check_all_frames(read(on_gpu, path, GPU_OPTIONS), NvdecUse.FAILED)
    check_all_frames(read(on_gpu, path, GPU_OPTIONS), NvdecUse.NOT_STARTED)


def test_a_driver_that_does_not_decode_is_noted_and_the_processor_decodes(monkeypatch, tmp_path):
    if has_nvidia_gpu():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(decoder_process, "has_nvidia_gpu", lambda: True)
    with contextlib.closing(DecoderProcess()) as decoder:
        check_all_frames(read(decoder, encode_h264(tmp_path / "a.mp4"), GPU_OPTIONS), NvdecUse.NOT_STARTED)


def test_without_a_gpu_only_a_decoder_that_was_named_is_noted(monkeypatch, decoder, tmp_path):
    monkeypatch.setattr(decoder_process, "has_nvidia_gpu", lambda: False)
    path = encode_h264(tmp_path / "a.mp4")
    check_all_frames(read(decoder, path, GPU_OPTIONS), NvdecUse.UNUSED)
    check_all_frames(read(decoder, path, dataclasses.replace(OPTIONS, decoder="nvdec")), NvdecUse.NO_GPU)
