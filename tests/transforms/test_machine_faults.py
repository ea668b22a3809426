"""A fault of a machine is known by its type, and a fault of a video is never taken for one."""

import errno
import pickle
import subprocess
import sys

import google.api_core.exceptions
import google.auth.exceptions
import pytest
import requests
import tensorflow as tf
import urllib3
from apache_beam.io.filesystem import BeamIOError

from transforms.machine_faults import (
    MachineFaultError,
    is_machine_fault,
    is_service_fault,
    machine_fault,
    machine_faults,
)
from transforms.objects import ObjectGoneError, ObjectTooLargeError


def device_error(kind):
    return kind(None, None, "CUDA_ERROR_ILLEGAL_ADDRESS")


FAULTS = [
    *(
        device_error(kind)
        for kind in (
            tf.errors.InternalError,
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.UnknownError,
            tf.errors.ResourceExhaustedError,
            tf.errors.FailedPreconditionError,
        )
    ),
    *(
        OSError(getattr(errno, name), "no more")
        for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM", "EIO", "EAGAIN", "EROFS", "ENOTCONN", "ESTALE", "EFBIG")
    ),
    MemoryError(),
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    TimeoutError(),
    google.api_core.exceptions.ServiceUnavailable("503"),
    google.api_core.exceptions.InternalServerError("500"),
    google.api_core.exceptions.TooManyRequests("429"),
    google.api_core.exceptions.RetryError("120 s are over", None),
    google.auth.exceptions.TransportError("no metadata server"),
    requests.ConnectionError("refused"),
    urllib3.exceptions.ProtocolError("reset"),
    MachineFaultError("known already"),
]

NO_FAULTS = [
    device_error(tf.errors.InvalidArgumentError),
    device_error(tf.errors.UnimplementedError),
    ValueError("a bad chunk"),
    RuntimeError("out of memory"),  # the type decides, not the text
    FileNotFoundError(errno.ENOENT, "deleted"),
    PermissionError(errno.EACCES, "not yours"),
    ObjectGoneError("deleted"),
    ObjectTooLargeError("too large"),
    google.api_core.exceptions.NotFound("404"),
    google.api_core.exceptions.Forbidden("403"),
]


def name_of(error):
    return f"{type(error).__name__}-{getattr(error, 'errno', '')}"


@pytest.mark.parametrize("error", FAULTS, ids=name_of)
def test_what_no_video_can_cause_is_a_fault_of_the_machine(error):
    assert is_machine_fault(error)


@pytest.mark.parametrize("error", NO_FAULTS, ids=name_of)
def test_what_a_video_or_the_program_can_cause_is_none(error):
    assert not is_machine_fault(error)


def caused_by(cause):
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


def test_the_cause_of_an_error_decides():
    assert is_machine_fault(caused_by(OSError(errno.ENOSPC, "full")))
    assert not is_machine_fault(caused_by(ValueError()))
    circle = caused_by(None)
    circle.__cause__ = caused_by(circle)
    assert not is_machine_fault(circle)


def test_a_fault_of_a_service_is_told_from_a_fault_of_this_machine():
    unavailable = google.api_core.exceptions.ServiceUnavailable("503")
    assert is_service_fault(unavailable)
    assert is_service_fault(caused_by(requests.ConnectionError("refused")))
    assert is_service_fault(BeamIOError("refused", {"gs://gym/a.mp4": unavailable}))
    for error in (OSError(errno.ENOSPC, "full"), MemoryError(), caused_by(OSError(errno.EMFILE, "no more")), ValueError()):
        assert not is_service_fault(error)


def test_the_errors_that_beams_file_systems_collect_decide():
    unavailable, forbidden = (google.api_core.exceptions.from_http_status(status, "") for status in (503, 403))
    assert is_machine_fault(BeamIOError("refused", {"gs://gym/a.mp4": unavailable}))
    assert not is_machine_fault(BeamIOError("refused", {"gs://gym/a.mp4": forbidden}))


def test_the_error_to_raise_is_one_line_that_travels_between_processes():
    fault = pickle.loads(pickle.dumps(machine_fault("scoring 'a.mp4'", device_error(tf.errors.InternalError))))
    assert str(fault) == (
        "scoring 'a.mp4' met a fault of the machine, not of the video: InternalError: CUDA_ERROR_ILLEGAL_ADDRESS"
    )


def test_any_error_of_what_concerns_no_video_is_a_fault_of_the_machine_in_one_line():
    with pytest.raises(MachineFaultError) as caught, machine_faults("list 'videos/**'"):
        raise PermissionError("refused\nby the bucket")
    assert str(caught.value) == "cannot list 'videos/**': PermissionError: refused by the bucket"


def test_a_fault_of_the_machine_keeps_its_own_line():
    with pytest.raises(MachineFaultError, match=r"^the disk is full$"), machine_faults("list 'videos/**'"):
        raise MachineFaultError("the disk is full")


def test_the_question_imports_none_of_the_clients():
    program = (
        "import sys, transforms.machine_faults as faults\n"
        "assert not faults.is_machine_fault(ValueError())\n"
        "sys.exit(' '.join({'apache_beam', 'tensorflow', 'google.auth', 'requests'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
