"""What tests of several steps of the pipeline share."""

from apache_beam.metrics import MetricsFilter


class StepClock:
    """Advances by 100 ms each time it is read."""

    def __init__(self):
        self.now_sec = 0.0

    def __call__(self):
        self.now_sec += 0.1
        return self.now_sec


def same_as(expected):
    """Returns a check for `assert_that`: the same items in any order."""

    def check(actual):
        assert sorted(actual, key=str) == sorted(expected, key=str)

    return check


def read_metrics(result):
    """Returns the counters and distributions of a pipeline that has run, by name."""
    found = result.metrics().query(MetricsFilter().with_namespace("repcount"))
    return {metric.key.metric.name: metric.committed for kind in ("counters", "distributions") for metric in found[kind]}
