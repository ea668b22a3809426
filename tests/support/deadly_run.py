"""`repcount run` with a fake model that some videos kill, as a program: `python -m tests.support.deadly_run`."""

import sys

from pipeline.main import main
from tests.support.fake_run import read_fake_facts
from tests.support.scorers import DeadlyScorer
from transforms.inference import RepNetModelHandler


def make_deadly_handler(config):
    return RepNetModelHandler(DeadlyScorer)


if __name__ == "__main__":
    sys.exit(main(read_facts=read_fake_facts, make_handler=make_deadly_handler))
