"""A decoder process that a file has taken over: it does what the file's first line says, and reports how that ended.

The report is the message of a READ_ERROR: "done", or the name of the error, such as "EPERM".
"""

import contextlib
import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time

from transforms.decoding import child as decoder_child
from transforms.decoding.reader import read_header as read_header_of_video
from transforms.decoding.reader import read_video
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def call(number, *arguments):
    check(LIBC.syscall(number, *arguments))


def open_descriptors():
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.fstat(number)
            yield number


def shorten_all_memory():
    """Truncates whatever can be truncated; raises the error of the last attempt if none succeeded."""
    last = OSError(errno.ENOENT, "")
    for number in open_descriptors():
        try:
            os.ftruncate(number, 0)
        except OSError as error:
            last = error
        else:
            return
    raise last


def connect(port):
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", int(port)))


def raise_limit(kind):
    soft, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (soft + 1, hard + 1))
    except ValueError as error:  # Python's own error for EPERM from hard limits
        raise OSError(errno.EPERM, "") from error


def send_files():
    connection = socket.socket(fileno=os.dup(int(sys.argv[1])))
    payload = b'[1, {"presented_sec": 0.0}]'
    for _ in range(50):
        socket.send_fds(connection, [len(payload).to_bytes(4, "big") + payload], [int(sys.argv[1])])


def send(payload):
    os.write(int(sys.argv[1]), len(payload).to_bytes(4, "big") + payload)
    time.sleep(600)


def chatter(payload):
    """Sends a message again and again, and reads nothing."""
    while True:
        os.write(int(sys.argv[1]), len(payload).to_bytes(4, "big") + payload)


def trickle():
    """Sends a long message in parts that arrive soon after each other."""
    os.write(int(sys.argv[1]), (1 << 15).to_bytes(4, "big"))
    while True:
        os.write(int(sys.argv[1]), b" ")
        time.sleep(0.02)


def start_thread():
    done = threading.Event()
    threading.Thread(target=done.set).start()
    assert done.wait()


def tell(words):
    raise DecodeError(FailureCode.READ_ERROR, " ".join(map(str, words)))


def load(*names):
    for name in names:
        importlib.import_module(name)


def own_a_terminal():
    if os.fstat(2).st_rdev != os.makedev(1, 3):
        return
    raise OSError(errno.ENOTTY, "")


ATTACKS = {
    "read": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "write": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT)),
    "list": os.listdir,
    "remove": os.unlink,
    "link": os.readlink,
    "run": lambda path: os.execv(path, [path]),
    "fork": lambda: os.fork() or os._exit(0),
    "vfork": lambda: call(58),
    "new_user_namespace": lambda: call(272, 0x10000000),
    "new_network_namespace_by_clone": lambda: call(56, 0x40000000, 0, 0, 0, 0),
    "socket": lambda: socket.socket().close(),
    "unix_socket": lambda: [end.close() for end in socket.socketpair()],
    "connect": connect,
    "ptrace": lambda pid: check(LIBC.ptrace(16, int(pid), None, None)),
    "read_memory": lambda pid: call(310, int(pid), None, 0, None, 0, 0),
    "take_descriptor": lambda pid: call(434, int(pid), 0),
    "kill": lambda pid: os.kill(int(pid), signal.SIGTERM),
    "kill_everybody": lambda: os.kill(-1, signal.SIGTERM),
    "kill_thread": lambda pid: call(234, int(pid), int(pid), 15),
    "signal_by_descriptor": lambda pid: fcntl.fcntl(int(sys.argv[1]), fcntl.F_SETOWN, int(pid)),
    "mount": lambda: check(LIBC.mount(b"none", b"/mnt", b"tmpfs", 0, None)),
    "memory_file": lambda: os.close(os.memfd_create("x")),
    "shared_memory": lambda: call(29, 0, 1 << 20, 0o1600),
    "io_uring": lambda: call(425, 1, None),
    "bpf": lambda: call(321, 0, None, 0),
    "perf": lambda: call(298, None, 0, -1, -1, 0),
    "userfaultfd": lambda: call(323, 0),
    "keys": lambda: call(250, 0, -1, 0),
    "newer_call": lambda: call(460),
    "control_device": lambda: call(16, 0, 0x5412, b"x"),
    "root": lambda: os.setresuid(0, 0, 0),
    "more_memory": lambda: raise_limit(resource.RLIMIT_DATA),
    "more_descriptors": lambda: raise_limit(resource.RLIMIT_NOFILE),
    "another_processes_limit": lambda pid: resource.prlimit(int(pid), resource.RLIMIT_CPU, (1, 1)),
    "shorten_memory": shorten_all_memory,
    "own_a_terminal": own_a_terminal,
    "start_thread": start_thread,
    "send_files": send_files,
    "load": load,
    "tell_variables": lambda: tell(os.environ),
    "tell_files": lambda: tell(os.fstat(number).st_ino for number in open_descriptors()),
}


def take_memory():
    """Takes memory that is shared, and so is not counted as the process's own."""
    hoard = []
    while True:
        hoard.append(mmap.mmap(-1, 8 << 20))
        hoard[-1].write(b"x" * (8 << 20))
        time.sleep(0.005)


def take_page_tables():
    """Looks at one page in each two megabytes of address space, which takes no memory but page tables."""
    while True:
        space = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000, prot=mmap.PROT_READ)  # without reserving memory
        for position in range(0, 1 << 40, 2 << 20):
            space[position]


def take_threads():
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def hold_the_interpreter():
    """Sleeps with Python's lock held, so that no other thread runs, and without a limit on processor time."""
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ctypes.PyDLL(None).sleep(600)


def read(file, options, allocate, progress):
    """Reads a video, unless the file starts with "ATTACK " and the name of an attack or a message."""
    attack_if_asked(file, lambda: allocate(options.chunk_frames))
    yield from read_video(file, options, allocate, progress)


def read_header(file):
    """Reads a header, unless the file starts as `read` says."""
    attack_if_asked(file, lambda: None)
    return read_header_of_video(file)


def attack_if_asked(file, allocate):
    """Does what a file says that starts with "ATTACK ", and reports how that ended; `allocate` maps memory for frames."""
    if file.read(7) == b"ATTACK ":
        name, _, argument = file.read().partition(b"\n")
        if name == b"send":
            send(argument)
        elif name == b"take_memory":
            take_memory()
        elif name == b"take_page_tables":
            take_page_tables()
        elif name == b"take_threads":
            take_threads()
        elif name == b"hold_the_interpreter":
            hold_the_interpreter()
        elif name == b"trickle":
            trickle()
        elif name == b"chatter":
            chatter(argument)
        allocate()
        try:
            ATTACKS[name.decode()](*argument.decode().split())
        except OSError as error:
            raise DecodeError(FailureCode.READ_ERROR, errno.errorcode[error.errno]) from error
        raise DecodeError(FailureCode.READ_ERROR, "done")
    file.seek(0)


if __name__ == "__main__":
    decoder_child.main(read, read_header)
