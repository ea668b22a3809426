"""`repcount` with the fake model in place of lite, as a program that a test can kill: `python -m tests.fake_run ARGS`."""

import sys

from model.presets import PRESETS, LoadedModel
from pipeline import main, run_command
from tests.scorers import FakeScorer
from transforms.inference import RepNetModelHandler

if __name__ == "__main__":
    run_command.load_model = lambda name: LoadedModel(PRESETS["lite"], None, "f" * 64)
    run_command.make_handler = lambda config: RepNetModelHandler(FakeScorer)
    sys.exit(main.main(sys.argv[1:]))
