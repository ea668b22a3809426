"""A file that takes the decoder over can do nothing but decode badly. The attacks run inside a decoder process."""

import dataclasses
import errno
import logging
import os
import pkgutil
import platform
import socket
import subprocess
import sys
from pathlib import Path

import av
import pytest

from transforms.decoding import sandbox
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.samples import DecodeError, DecoderStartError

ROOT = Path(__file__).parents[3]

OPTIONS = DecodingOptions(chunk_frames=50)

needs_seccomp = pytest.mark.skipif(not sandbox.has_seccomp(), reason="needs a system that filters system calls, as Linux does")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose rights the decoder gives up")
needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="uses the numbers of system calls of x86-64")


@pytest.fixture(scope="module")
def hostile():
    decoder = DecoderProcess("tests.support.hostile_decoder_child")
    yield decoder
    decoder.close()


def attack(decoder, path, name, *arguments):
    """Returns how an attack inside the decoder process ended: "done", or the name of an error."""
    path.write_text(f"ATTACK {name}\n{' '.join(map(str, arguments))}")
    with open(path, "rb") as file, pytest.raises(DecodeError) as caught:
        list(decoder.read(file, OPTIONS))
    return caught.value.message


@needs_seccomp
class TestInsideTheDecoder:
    @pytest.mark.parametrize("what", ["environ", "mem", "maps", "fd/0", "cmdline"])
    def test_nothing_of_its_parent_can_be_read(self, hostile, tmp_path, what):
        assert attack(hostile, tmp_path / "a.mp4", "read", f"/proc/{os.getpid()}/{what}") in ("EPERM", "EACCES")

    def test_no_file_can_be_opened_made_or_removed(self, hostile, tmp_path):
        secret = tmp_path / "credentials.json"
        secret.write_text("secret")
        tmp_path.chmod(0o777)
        secret.chmod(0o666)
        for name in ("read", "write", "remove", "link"):
            assert attack(hostile, tmp_path / "a.mp4", name, secret) == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "write", tmp_path / "new") == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "list", tmp_path) == "EPERM"
        assert secret.read_text() == "secret"

    def test_the_copy_of_another_video_cannot_be_read(self, hostile, tmp_path):
        with open(tmp_path / "other.mp4", "w+b") as other:
            path = f"/proc/{os.getpid()}/fd/{other.fileno()}"
            assert attack(hostile, tmp_path / "a.mp4", "read", path) == "EPERM"
            assert attack(hostile, tmp_path / "a.mp4", "list", f"/proc/{os.getpid()}/fd") == "EPERM"

    def test_the_network_cannot_be_reached(self, hostile, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0.2)
            assert attack(hostile, tmp_path / "a.mp4", "connect", server.getsockname()[1]) == "EPERM"
            with pytest.raises(TimeoutError):
                server.accept()
        assert attack(hostile, tmp_path / "a.mp4", "socket") == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "unix_socket") == "EPERM"

    def test_no_program_and_no_process_can_be_started(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "run", "/bin/true") == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "fork") == "EPERM"

    @needs_x86
    @pytest.mark.parametrize(
        "name", ["ptrace", "read_memory", "take_descriptor", "kill", "kill_thread", "signal_by_descriptor"]
    )
    def test_no_other_process_can_be_read_or_signalled(self, hostile, tmp_path, name):
        assert attack(hostile, tmp_path / "a.mp4", name, os.getpid()) == "EPERM"

    @needs_x86
    @pytest.mark.parametrize(
        "name",
        [
            *("vfork", "new_user_namespace", "new_network_namespace_by_clone", "kill_everybody", "mount", "memory_file"),
            *("shared_memory", "io_uring", "bpf", "perf", "userfaultfd", "keys", "control_device", "root"),
        ],
    )
    def test_no_other_part_of_the_kernel_can_be_used(self, hostile, tmp_path, name):
        assert attack(hostile, tmp_path / "a.mp4", name) == "EPERM"

    @needs_x86
    def test_calls_that_are_newer_than_the_filter_do_not_exist(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "newer_call") == "ENOSYS"

    def test_no_limit_can_be_raised(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "more_memory") == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "more_descriptors") == "EPERM"
        assert attack(hostile, tmp_path / "a.mp4", "another_processes_limit", os.getpid()) == "EPERM"

    def test_the_memory_for_frames_cannot_be_shortened(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "shorten_memory") in ("EPERM", "EINVAL")

    def test_the_standard_error_output_of_the_pipeline_is_out_of_reach(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "own_a_terminal") == "ENOTTY"

    def test_threads_can_be_started(self, hostile, tmp_path):
        assert attack(hostile, tmp_path / "a.mp4", "start_thread") == "done"

    def test_no_part_of_ffmpegs_binding_is_loaded_later(self, hostile, tmp_path):
        names = [module.name for module in pkgutil.walk_packages(av.__path__, "av.") if not module.name.endswith("__main__")]
        assert len(names) > 30
        assert attack(hostile, tmp_path / "a.mp4", "load", *names) == "done"

    def test_a_file_whose_header_is_read_can_do_no_more(self, hostile, tmp_path):
        (tmp_path / "a.mp4").write_text(f"ATTACK read\n/proc/{os.getpid()}/environ")
        with open(tmp_path / "a.mp4", "rb") as file, pytest.raises(DecodeError, match=r"EPERM|EACCES"):
            hostile.read_header(file, OPTIONS)

    def test_a_video_is_decoded_after_all_that(self, hostile, clip):
        with open(clip, "rb") as file:
            assert sum(len(samples.frames) for samples in hostile.read(file, OPTIONS)) == 80


def test_one_line_names_the_layers(clip, caplog):
    decoder = DecoderProcess()
    with caplog.at_level(logging.INFO, "transforms.decoding.process"), open(clip, "rb") as file:
        list(decoder.read(file, OPTIONS))
        file.seek(0)
        list(decoder.read(file, OPTIONS))
    decoder.close()
    (record,) = caplog.records
    assert "limits" in record.getMessage()
    assert ("seccomp" in record.getMessage()) is sandbox.has_seccomp()


@needs_seccomp
def test_a_required_sandbox_that_is_there_lets_videos_through(clip):
    decoder = DecoderProcess()
    with open(clip, "rb") as file:
        found = list(decoder.read(file, dataclasses.replace(OPTIONS, require_sandbox=True)))
    decoder.close()
    assert sum(len(samples.frames) for samples in found) == 80


def test_without_a_required_sandbox_no_video_is_read(clip):
    decoder = DecoderProcess("tests.support.unconfined_decoder_child")
    with open(clip, "rb") as file, pytest.raises(DecoderStartError, match="a sandbox is required, and this machine cannot"):
        list(decoder.read(file, dataclasses.replace(OPTIONS, require_sandbox=True)))
    with open(clip, "rb") as file, pytest.raises(DecoderStartError, match="a sandbox is required"):
        decoder.read_header(file, dataclasses.replace(OPTIONS, require_sandbox=True))
    assert decoder.pid is None
    with open(clip, "rb") as file:
        assert sum(len(samples.frames) for samples in decoder.read(file, OPTIONS)) == 80
    decoder.close()


def run_script(script, *arguments):
    """Runs Python code in a process of its own, and returns what it prints."""
    command = [sys.executable, "-c", f"import os, socket, sys\nfrom transforms.decoding import sandbox\n{script}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
class TestEachLayerAlone:
    def test_a_hidden_process_cannot_be_read_by_others_of_its_user(self):
        script = (
            "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
            "sandbox._libc().prctl(4, 1, 0, 0, 0)\n"
            "if sys.argv[1] == 'hidden': sandbox.hide_this_process()\n"
            "reader, writer = os.pipe()\n"
            "if os.fork() == 0:\n"
            "  for name in ('environ', 'mem', 'fd/0'):\n"
            "    try: os.close(os.open(f'/proc/{os.getppid()}/{name}', os.O_RDONLY)); print('read', flush=True)\n"
            "    except OSError as error: print(type(error).__name__, flush=True)\n"
            "  os._exit(0)\n"
            "os.wait()\n"
        )
        assert "read" in run_script(script, "open").split()
        assert run_script(script, "hidden").split() == ["PermissionError"] * 3

    @pytest.mark.skipif(
        run_script("print(sandbox._libc().syscall(444, None, 0, 1))") == "-1", reason="needs a kernel with Landlock"
    )
    def test_landlock_opens_no_file(self, tmp_path):
        (tmp_path / "a").write_text("secret")
        script = (
            "sandbox._libc().prctl(38, 1, 0, 0, 0)\n"
            "assert sandbox._restrict_files({})\n"
            "for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):\n"
            "  try: os.open(sys.argv[1], flags); print('opened')\n"
            "  except OSError as error: print(type(error).__name__)\n"
        )
        assert run_script(script, str(tmp_path / "a")).split() == ["PermissionError"] * 2

    def test_landlock_is_left_out_if_it_would_not_hold_for_all_threads(self):
        script = (
            "import threading\n"
            "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
            "print(sandbox._restrict_files({}))\n"
        )
        assert run_script(script) == "False"

    @needs_root
    def test_root_becomes_nobody_without_capabilities(self, tmp_path):
        (tmp_path / "a").write_text("secret")
        (tmp_path / "a").chmod(0o600)
        script = (
            "if not sandbox._become_nobody(): print('stays root'); sys.exit()\n"
            "print(os.getresuid(), os.getresgid(), os.getgroups(), sandbox._capabilities())\n"
            "try: open(sys.argv[1])\n"
            "except OSError as error: print(type(error).__name__)\n"
        )
        printed = run_script(script, str(tmp_path / "a"))
        if printed == "stays root":
            pytest.skip("this root may not change its user")
        assert printed == f"{(65534,) * 3} {(65534,) * 3} [] 0\nPermissionError"

    def test_no_file_can_grow(self):
        script = (
            "import resource, signal, tempfile\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "file = tempfile.TemporaryFile()\n"
            "sandbox._limit_resources(1 << 30, 64)\n"
            "print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_DATA))\n"
            "try: os.write(file.fileno(), b'x')\n"
            "except OSError as error: print(error.errno)\n"
        )
        assert run_script(script) == f"(0, 0) ({1 << 30}, {1 << 30})\n{errno.EFBIG}"


ALLOW = 0x7FFF0000
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4711


def run_filter(machine, number, *arguments, architecture=None, uses_gpu=False):
    """Returns what the filter answers to a system call, as the kernel would: "allow" or the name of an error."""
    words = {0: number, 4: architecture or MACHINES[machine]}
    for index in range(6):
        value = (arguments[index] if index < len(arguments) else 0) % 2**64
        words |= {16 + 8 * index: value % 2**32, 20 + 8 * index: value >> 32}
    program, position, loaded = sandbox.filter_program(machine, PID, uses_gpu), 0, 0
    while True:
        operation, if_true, if_false, value = program[position]
        position += 1
        if operation == 0x06:
            return "allow" if value == ALLOW else errno.errorcode[value - 0x00050000]
        if operation == 0x20:
            loaded = words[value]
        elif operation == 0x54:
            loaded &= value
        else:
            holds = {0x15: loaded == value, 0x25: loaded > value, 0x45: bool(loaded & value)}[operation]
            position += if_true if holds else if_false


# Names: numbers on x86_64 and aarch64, from the kernel's tables.
FORBIDDEN = {
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "connect": (42, 203),
    "accept4": (288, 242),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "memfd_create": (319, 279),
    "ftruncate": (77, 46),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "ioctl": (16, 29),
    "seccomp": (317, 277),
    "unlinkat": (263, 35),
    "chmod": (268, 53),
}


@pytest.mark.parametrize(("column", "machine"), list(enumerate(MACHINES)))
class TestFilter:
    @pytest.mark.parametrize("name", FORBIDDEN)
    def test_a_forbidden_call_fails(self, column, machine, name):
        assert run_filter(machine, FORBIDDEN[name][column]) == "EPERM"

    @pytest.mark.parametrize(
        ("numbers", "arguments", "answer"),
        [
            ((0, 63), (), "allow"),  # read
            ((202, 98), (), "allow"),  # futex
            ((47, 212), (), "allow"),  # recvmsg
            ((56, 220), (0x3D0F00,), "allow"),  # clone, as C libraries start a thread
            ((56, 220), (0x01200011,), "EPERM"),  # clone, as they fork
            ((56, 220), (0x403D0F00,), "EPERM"),  # a thread in a new network namespace
            ((435, 435), (), "ENOSYS"),  # clone3
            ((62, 129), (PID, 9), "allow"),  # kill
            ((62, 129), (PID + 1, 9), "EPERM"),
            ((62, 129), (0, 9), "EPERM"),
            ((62, 129), (-1, 9), "EPERM"),
            ((234, 131), (PID, PID, 6), "allow"),  # tgkill
            ((234, 131), (1, 1, 6), "EPERM"),
            ((72, 25), (3, 1030, 0), "allow"),  # fcntl: F_DUPFD_CLOEXEC
            ((72, 25), (3, 8, 1), "EPERM"),  # F_SETOWN
            ((157, 167), (15,), "allow"),  # prctl: PR_SET_NAME
            ((157, 167), (4, 1), "EPERM"),  # PR_SET_DUMPABLE
            ((302, 261), (0, 0, 2**40), "allow"),  # prlimit64: RLIMIT_CPU
            ((302, 261), (0, 7, 0), "allow"),  # RLIMIT_NOFILE, without a new value
            ((302, 261), (0, 7, 2**40), "EPERM"),
            ((302, 261), (0, 7, 1), "EPERM"),
            ((302, 261), (1, 0, 2**40), "EPERM"),
            ((2000, 2000), (), "ENOSYS"),
        ],
    )
    def test_some_calls_depend_on_their_arguments(self, column, machine, numbers, arguments, answer):
        assert run_filter(machine, numbers[column], *arguments) == answer

    @pytest.mark.parametrize("uses_gpu", [False, True])
    def test_with_a_gpu_files_can_be_opened_and_its_driver_be_controlled(self, column, machine, uses_gpu):
        allowed = "allow" if uses_gpu else "EPERM"
        assert run_filter(machine, (257, 56)[column], uses_gpu=uses_gpu) == allowed
        for request in (0xC020462A, 0xC00446C9, 0x17, 0x30000001):
            assert run_filter(machine, (16, 29)[column], 9, request, uses_gpu=uses_gpu) == allowed
        for request in (0x5412, 0x8912, 0x4004667F):  # of terminals, of networks, of files
            assert run_filter(machine, (16, 29)[column], 9, request, uses_gpu=uses_gpu) == "EPERM"

    @pytest.mark.parametrize("name", sorted(FORBIDDEN.keys() - {"openat", "ioctl"}))
    def test_a_gpu_makes_no_other_call_possible(self, column, machine, name):
        assert run_filter(machine, FORBIDDEN[name][column], uses_gpu=True) == "EPERM"

    def test_calls_of_another_architecture_fail(self, column, machine):
        assert run_filter(machine, (0, 63)[column], architecture=0x40000003) == "EPERM"

    def test_the_filter_fits_the_kernel(self, column, machine):
        for uses_gpu in (False, True):
            program = sandbox.filter_program(machine, PID, uses_gpu)
            assert len(program) < 4096
            assert max(max(if_true, if_false) for _, if_true, if_false, _ in program) < 256
