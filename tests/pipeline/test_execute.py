"""Why a run failed is one line, wherever its worker ran."""

import pytest

from pipeline import execute
from transforms.machine_faults import MachineFaultError

FAULT = "scoring 'a.mp4' met a fault of the machine, not of the video: InternalError: the GPU is lost"

STEP = " [while running 'Score/Score/BeamML_RunInference']"

TRACE = f"""Traceback (most recent call last):
  File "transforms/scoring.py", line 85, in score_or_fail
tensorflow.python.framework.errors_impl.InternalError: the GPU is lost

The above exception was the direct cause of the following exception:

transforms.machine_faults.MachineFaultError: {FAULT}{STEP}

"""


def raised_by_a_step():
    """Returns the error that Beam makes of one in a step: it has the same type, names the step, and follows the original."""
    error = MachineFaultError(FAULT + STEP)
    error.__context__ = MachineFaultError(FAULT)
    return error


@pytest.mark.parametrize("error", [raised_by_a_step(), RuntimeError(TRACE)], ids=["in this process", "in another one"])
def test_a_machine_that_fails_is_named_in_one_line_with_what_becomes_of_its_videos(error):
    assert execute._reason(error) == f"{FAULT}; no video counts as failed, and the next run takes them up again"


def test_another_error_is_named_with_its_type():
    assert execute._reason(ValueError("a\nmistake")) == "ValueError: a mistake"
