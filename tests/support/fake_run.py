"""`repcount` with the fake model, as a program that a test can kill: `python -m tests.support.fake_run ARGS`."""

import sys

from model.presets import PRESETS, LoadedModel
from pipeline import main
from pipeline.commands import run as run_command
from tests.support.scorers import FakeScorer
from transforms.inference import RepNetModelHandler

if __name__ == "__main__":
    run_command.load_model = lambda name: LoadedModel(PRESETS["lite"], None, "f" * 64)
    run_command.make_handler = lambda config: RepNetModelHandler(FakeScorer)
    sys.exit(main.main(sys.argv[1:]))
