"""`repcount serve` with a fake model that takes its time: python -m tests.support.slow_server SECONDS_PER_CHUNK OPTION…"""

import dataclasses
import sys
import time

from pipeline.main import main
from tests.support.scorers import FAKE_COUNTER, FakeScorer


class SlowScorer(FakeScorer):
    """Scores as `FakeScorer` does, after a while."""

    def score(self, frames, *, is_last=True, repeats=1):
        time.sleep(float(sys.argv[1]))
        return super().score(frames)


if __name__ == "__main__":
    counter = dataclasses.replace(FAKE_COUNTER, scorer=SlowScorer())
    sys.exit(main(["serve", *sys.argv[2:]], load_counter=lambda args: counter))
