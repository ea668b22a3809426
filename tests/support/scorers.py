"""A fake model for tests of everything around the model. Its scores depend on brightness only."""

import numpy as np

from model.logits import StrideLogits, window_frames

PERIOD_FRAMES = 20


class FakeScorer:
    """Scores frames as repeating every 20 frames; dark frames as not repeating; raises an error for bright frames."""

    strides = (1, 2)

    def score(self, frames, *, is_last=True):
        if frames.mean() > 200:
            raise RuntimeError("out of memory\nwhile scoring")
        logits = {}
        for stride in self.strides:
            num_positions = window_frames(len(frames), stride).size
            period = np.full((num_positions, 32), -9.0, np.float32)
            period[:, PERIOD_FRAMES // stride - 1] = 9.0
            periodicity = np.full(num_positions, 9.0 / stride if frames.mean() > 5 else -9.0, np.float32)
            logits[stride] = StrideLogits(period, periodicity)
        return logits
