"""`repcount run` with the fake model: as a function, and as a program to kill, `python -m tests.support.fake_run`."""

import sys

from model.errors import WeightsError
from model.presets import PRESETS, ModelFacts
from pipeline.main import main
from tests.support.scorers import FakeScorer
from transforms.inference import RepNetModelHandler


def read_fake_facts(name):
    if name != "lite":
        raise WeightsError(f"a model is one of lite. Received: {name!r}")
    return ModelFacts(PRESETS["lite"], "f" * 64)


def make_fake_handler(config):
    return RepNetModelHandler(FakeScorer)


def run_fake(words=None):
    """Runs a command line, by default the program's own, with the fake model in place of lite; returns the exit code."""
    try:
        return main(None if words is None else [*map(str, words)], read_facts=read_fake_facts, make_handler=make_fake_handler)
    except SystemExit as stop:
        return stop.code


if __name__ == "__main__":
    sys.exit(run_fake())
