"""Every error of a request has its HTTP status, and says whether to try again."""

import pytest

from pipeline.serve import errors


@pytest.mark.parametrize(
    ("error", "status", "code", "is_worth_a_retry"),
    [
        (errors.InvalidRequestError("x"), 400, "INVALID_REQUEST", False),
        (errors.ForbiddenPlaceError("x"), 403, "FORBIDDEN", False),
        (errors.NotFoundError("x"), 404, "NOT_FOUND", False),
        (errors.ServiceBusyError(9), 429, "BUSY", True),
        (errors.NotReadyError(), 503, "NOT_READY", True),
        (errors.DrainingError(), 503, "DRAINING", True),
        (errors.DeadlineError(1.5), 504, "DEADLINE", False),
    ],
)
def test_an_error_has_a_status_a_code_and_one_line(error, status, code, is_worth_a_retry):
    assert (error.status, error.code) == (status, code)
    assert error.message == str(error)
    assert "\n" not in error.message
    assert (error.retry_after_sec is not None) == is_worth_a_retry
