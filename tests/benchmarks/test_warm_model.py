"""The benchmarks' model is loaded once in a process."""

from benchmarks import warm_model


def test_the_same_scorer_is_returned_each_time():
    assert warm_model.lite() is warm_model.lite()
