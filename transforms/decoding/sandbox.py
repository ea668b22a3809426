"""Takes from the decoder process everything that decoding does not need. Imports nothing but the standard library.

Each layer is used where the system has it, and each stands alone:

- `oom`: when memory runs out, the system ends a decoder first.
- `limits`: no core files, no growing files, few descriptors, and a limit on memory; none of them can be raised again.
- `uid`: a process of root becomes nobody, with no group and no capability.
- `no_new_privs`: no program that it could start would have more rights.
- `landlock`: no file or folder can be opened, no TCP port bound or reached, no process outside signalled.
- `seccomp`: only the system calls in `_CALLS` and `_checked_calls` work.

The layers hold for threads that start later, so the process must have one thread when it enters the sandbox.

To decode on a GPU, a process opens the driver's devices again for each video. Then `landlock` opens these and what the driver
reads, and `seccomp` also allows `_GPU_CALLS`, among them opening files. Without `landlock`, no GPU is used.

The filter of system calls is an allow-list. FFmpeg, OpenCV, NumPy and CPython need few calls once they are loaded: memory,
threads, clocks, and reading open files. A list of forbidden calls would have to know each new call of each new kernel. A call
that is not allowed fails with EPERM rather than ending the process, because libraries try calls that they can do without. Calls
newer than the list fail with ENOSYS, after which C libraries use the older ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import glob
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NOBODY = 65534
"""User and group without rights of their own."""

_MAX_DESCRIPTORS, _MAX_GPU_DESCRIPTORS = 64, 256
"""Descriptors that a decoder may have open; it uses about ten, and on a GPU about fifty."""

_GPU_DEVICES = "/dev/nvidia*"

_GPU_FOLDERS = ("/proc/self", "/proc/driver", "/proc/sys/vm", "/sys/devices", "/sys/module", "/usr/local/nvidia")
"""Folders that the driver of a GPU reads, besides those of its libraries."""

_GPU_FILES = ("/proc/cpuinfo", "/proc/devices", "/proc/meminfo", "/proc/modules", "/etc/ld.so.cache")

_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME, _PR_GET_NAME = 15, 16
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_VMA = 0x53564D41  # names memory, as C libraries do

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_WRITE_FILE, _LANDLOCK_READ_FILE, _LANDLOCK_READ_DIR, _LANDLOCK_IOCTL_DEV = 1 << 1, 1 << 2, 1 << 3, 1 << 15

_ARCHITECTURES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
"""Of each machine: its number in a filter, its column in `_CALLS`, and its number of the call `seccomp`."""

_CALLS = {
    # Memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    # Files that are open already. `newfstatat` also tells the size of a file by its name, and opens nothing.
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "dup": (32, 23),
    "newfstatat": (262, 79),
    # The socket to the parent, which is connected already
    "poll": (7, None),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "getsockopt": (55, 209),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    # Threads of this process
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "exit": (60, 93),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "getcpu": (309, 168),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    # Clocks, chance, and what a process may know of itself
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "uname": (63, 160),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "time": (201, None),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "getrandom": (318, 278),
}
"""Numbers of the calls that work with any arguments, on x86_64 and aarch64."""

_GPU_CALLS = {
    # Files, of which `landlock` decides
    "openat": (257, 56),
    "stat": (4, None),
    "lstat": (6, None),
    "access": (21, None),
    "faccessat": (269, 48),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    # What the driver's threads need
    "eventfd2": (290, 19),
    "pipe2": (293, 59),
    "getpriority": (140, 141),
    "setpriority": (141, 140),
    "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126),
}
"""Numbers of the calls that also work in a process that uses a GPU, besides `ioctl` for its driver; see `_checked_calls`."""

_CHECKED_CALLS = {
    "clone": (56, 220),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "kill": (62, 129),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
}
"""Numbers of the calls that work with some arguments; see `_checked_calls`."""

_CLONE3 = 435
_NEWEST_CALL = 450
"""Highest number known here. Libraries must do without newer calls."""

# Operations of a filter, an instruction of which is (operation, jump if true, jump if false, value).
_LOAD, _AND, _IF_EQUAL, _IF_GREATER, _IF_ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x45, 0x06

_SECCOMP_SET_MODE_FILTER, _SECCOMP_GET_ACTION_AVAIL = 1, 2

_FILTER_FLAGS = 1 | 4
"""For all threads, and without slowing the processor against attacks that read memory by its speed."""

_ALLOW = 0x7FFF0000
_FAIL = 0x00050000  # plus an error number

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES_AND_PTRACE = 0x7E022000
_IOCTL_TYPE, _NVIDIA_IOCTL_TYPE = 0xFF00, 0x4600  # the type is "F", and 0 for the driver's unified memory
_FCNTL_SET_STATUS = 4
_FCNTL_OF_DESCRIPTORS = (1, 2, 3, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no other process gets signals

Instruction = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class GpuAccess:
    """How a process comes to use a GPU.

    Attributes:
      library_folders: Folders of the driver's libraries.
      connect: Connects to the GPU, and returns whether it can be used. It may start threads.
    """

    library_folders: Sequence[str]
    connect: Callable[[], bool]


def hide_this_process() -> None:
    """Keeps other processes of the same user from reading the environment, memory and descriptors of this one.

    On Linux only. Afterwards, debuggers and profilers of an ordinary user cannot attach to this process either.
    """
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def has_seccomp() -> bool:
    """Returns whether this system can filter system calls on this kind of processor."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES:
        return False
    action = ctypes.c_uint32(_FAIL)
    number = _ARCHITECTURES[platform.machine()][2]
    return _libc().syscall(number, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0


def enter(max_memory_bytes: int, gpu: GpuAccess | None = None) -> list[str]:
    """Gives up what decoding does not need, for good; returns the names of the layers that this system has.

    Call it after everything is loaded, and before a second thread starts.

    Args:
      max_memory_bytes: Most private memory in bytes; values too large for the system are ignored.
      gpu: How to use a GPU, if the process is to.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # the standard error output is the parent's, and may be a terminal
    os.close(nowhere)
    layers = []
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
            layers.append("oom")
    _limit_resources(max_memory_bytes, _MAX_GPU_DESCRIPTORS if gpu else _MAX_DESCRIPTORS)
    layers.append("limits")
    if sys.platform != "linux":
        return layers
    if _become_nobody():
        layers.append("uid")
    # Whatever this process does, the system kills it with the thread that started it. A change of user would undo this.
    if _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0:
        layers.append("parent")
    hide_this_process()
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        layers.append("no_new_privs")
        uses_gpu = False
        if _restrict_files(_gpu_rules(gpu.library_folders) if gpu else {}):
            layers.append("landlock")
            uses_gpu = gpu is not None and gpu.connect()
        if _restrict_calls(uses_gpu):
            layers.append("seccomp")
    return layers


def _limit_resources(max_memory_bytes: int, max_descriptors: int) -> None:
    # Processes cannot be limited by number: the limit counts all processes and threads of a user, those of others included.
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, max_descriptors),
        (resource.RLIMIT_DATA, max_memory_bytes),
    ):
        with contextlib.suppress(ValueError, OSError, OverflowError):  # not every system has every limit
            resource.setrlimit(kind, (most, most))


def _become_nobody() -> bool:
    """Gives up the rights of root, if this process has them and its parent stays able to end it."""
    needed = 1 << _CAP_KILL | 1 << _CAP_SETGID | 1 << _CAP_SETUID
    if os.geteuid() != 0 or _capabilities() & needed != needed:
        return False
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:  # a user namespace may not have this user
        return False
    return True


def _capabilities() -> int:
    """Returns the capabilities of this process, and so of its parent; 0 if unknown."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def _gpu_rules(library_folders: Sequence[str]) -> dict[str, int]:
    """Returns what the driver of a GPU may do with files and folders, by path."""
    read, use = _LANDLOCK_READ_FILE, _LANDLOCK_READ_FILE | _LANDLOCK_WRITE_FILE | _LANDLOCK_IOCTL_DEV
    return {
        **dict.fromkeys((*_GPU_FOLDERS, *library_folders), read | _LANDLOCK_READ_DIR),
        **dict.fromkeys(_GPU_FILES, read),
        **{path: use for path in glob.glob(_GPU_DEVICES) if not os.path.isdir(path)},
    }


def _restrict_files(rules: Mapping[str, int]) -> bool:
    """Enters a Landlock domain that allows nothing it knows of but the rules; returns False if it would not cover all threads.

    Args:
      rules: Rights by path of a file or folder.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        return False
    libc = _libc()
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return False
    # Each version knows more rights. The kernel refuses those it does not know.
    file_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    rights = [(1 << file_rights) - 1]
    if version >= 4:
        rights.append(0b11)  # bind and connect TCP
    if version >= 6:
        rights.append(0b11)  # abstract Unix sockets, signals
    attributes = struct.pack(f"={len(rights)}Q", *rights)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    for path, path_rights in rules.items():
        with contextlib.suppress(OSError):  # not every system has every path
            file = os.open(path, os.O_PATH)
            rule = struct.pack("=Qi", path_rights & rights[0], file)
            libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
            os.close(file)
    try:
        return libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _restrict_calls(uses_gpu: bool) -> bool:
    """Installs the filter of system calls; returns False if this system cannot."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    code = b"".join(
        struct.pack("=HBBI", *instruction) for instruction in filter_program(platform.machine(), os.getpid(), uses_gpu)
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    number = _ARCHITECTURES[platform.machine()][2]
    return _libc().syscall(number, _SECCOMP_SET_MODE_FILTER, _FILTER_FLAGS, program) == 0


def filter_program(machine: str, pid: int, uses_gpu: bool = False) -> list[Instruction]:
    """Returns the filter of system calls as a program of the kernel's classic BPF.

    It gets the number of the call (byte 0), the architecture (byte 4), and six arguments of 8 bytes each (from byte 16).

    Args:
      machine: "x86_64" or "aarch64".
      pid: The process that the filter is for; it may signal itself.
      uses_gpu: Whether to allow what decoding on a GPU needs.
    """
    architecture, column, _ = _ARCHITECTURES[machine]
    program = [
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _FAIL + errno.EPERM),
        (_LOAD, 0, 0, 0),
    ]
    for numbers in (*_CALLS.values(), *(_GPU_CALLS.values() if uses_gpu else ())):
        number = numbers[column]
        if number is not None:
            program += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for name, checks in _checked_calls(pid, uses_gpu).items():
        number = _CHECKED_CALLS[name][column]
        program += [(_IF_EQUAL, 0, len(checks) + 1, number), *checks, (_RETURN, 0, 0, _FAIL + errno.EPERM)]
    return [
        *program,
        (_IF_EQUAL, 1, 0, _CLONE3),  # its flags are in memory, where no filter sees them; C libraries then use clone
        (_IF_GREATER, 0, 1, _NEWEST_CALL),
        (_RETURN, 0, 0, _FAIL + errno.ENOSYS),
        (_RETURN, 0, 0, _FAIL + errno.EPERM),
    ]


def _checked_calls(pid: int, uses_gpu: bool) -> dict[str, list[Instruction]]:
    """Returns, for each of `_CHECKED_CALLS`, instructions that allow it or run to their end."""
    allow: Instruction = (_RETURN, 0, 0, _ALLOW)

    def allow_if(argument: int, *values: int) -> list[Instruction]:
        checks: list[Instruction] = [(_LOAD, 0, 0, 16 + 8 * argument)]
        for value in values:
            checks += [(_IF_EQUAL, 0, 1, value), allow]
        return checks

    return {
        # Threads, and no processes.
        "clone": [
            (_LOAD, 0, 0, 16),
            (_IF_ANY_BIT, 2, 0, _CLONE_NAMESPACES_AND_PTRACE),
            (_IF_ANY_BIT, 0, 1, _CLONE_THREAD),
            allow,
        ],
        "ioctl": [
            (_LOAD, 0, 0, 24),
            (_AND, 0, 0, _IOCTL_TYPE),
            (_IF_EQUAL, 1, 0, 0),
            (_IF_EQUAL, 0, 1, _NVIDIA_IOCTL_TYPE),
            allow,
        ]
        if uses_gpu
        else [],
        "fcntl": allow_if(1, *_FCNTL_OF_DESCRIPTORS, *((_FCNTL_SET_STATUS,) if uses_gpu else ())),
        "kill": allow_if(0, pid),
        "prctl": allow_if(0, _PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA),
        # The process raises its own limit on processor time with each video. Other limits can be read: no new value.
        "prlimit64": [
            (_LOAD, 0, 0, 16),
            (_IF_EQUAL, 0, 8, 0),
            *allow_if(1, resource.RLIMIT_CPU),
            (_LOAD, 0, 0, 32),
            (_IF_EQUAL, 0, 3, 0),
            (_LOAD, 0, 0, 36),
            (_IF_EQUAL, 0, 1, 0),
            allow,
        ],
        "tgkill": allow_if(0, pid),
    }


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
