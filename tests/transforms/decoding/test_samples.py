"""Errors of decoding keep their code and message wherever they travel."""

import pickle

from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode


def test_an_error_can_be_pickled():
    error = pickle.loads(pickle.dumps(DecodeError(FailureCode.GONE, "why")))
    assert (error.code, str(error)) == (FailureCode.GONE, "why")
