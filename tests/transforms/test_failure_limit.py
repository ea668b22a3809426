"""A run fails if too large a share of its videos failed."""

import math

import pytest

from transforms.failure_limit import FailureLimit, TooManyFailuresError
from transforms.warehouse.rows import RunTotals


@pytest.mark.parametrize(
    ("counted", "failed", "fails"),
    [(0, 20, False), (19, 2, True), (20, 1, False), (0, 21, True), (38, 2, False), (37, 2, True)],
)
def test_a_run_fails_above_the_limit_unless_it_has_few_videos(counted, failed, fails):
    totals = RunTotals(counted + failed + 100, counted, failed, 100, 0, 0.0)
    if fails:
        with pytest.raises(TooManyFailuresError, match="the view failures_by_code shows the causes"):
            FailureLimit().check(totals)
    else:
        FailureLimit().check(totals)


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_share_as_large_as_the_limit_is_allowed(percent):
    limit = FailureLimit(float(f"0.{percent:02}"))
    limit.check(RunTotals(100, 100 - percent, percent, 0, 0, 0.0))
    with pytest.raises(TooManyFailuresError):
        limit.check(RunTotals(100, 99 - percent, percent + 1, 0, 0, 0.0))


def test_a_limit_may_allow_no_failure_or_nothing_else():
    with pytest.raises(TooManyFailuresError):
        FailureLimit(0).check(RunTotals(1000, 999, 1, 0, 0, 0.0))
    FailureLimit(1).check(RunTotals(1000, 0, 1000, 0, 0, 0.0))


@pytest.mark.parametrize("ratio", [-0.1, 1.5, math.nan])
def test_a_limit_outside_0_to_1_is_refused(ratio):
    with pytest.raises(ValueError, match=r"max_failure_ratio must be from 0 to 1\. Received: "):
        FailureLimit(ratio)
