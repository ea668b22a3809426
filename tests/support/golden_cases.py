"""Golden cases of the authors' counting: logits, and the results of their code."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from model import counting
from model.counting_options import CountingOptions, StrideRule
from model.logits import StrideLogits, window_frames
from tests.support.logits import logits_of_positions

REFERENCE = Path(__file__).parent.parent / "reference"
GOLDEN = {2020: (REFERENCE / "golden_postprocess_2020.npz", 1), 2025: (REFERENCE / "golden_postprocess_2025.npz", 0)}
GOLDEN_CASES = [(year, case) for year in GOLDEN for case in range(10)]


def with_frozen(logits, score):
    frozen = logits_of_positions(np.full(64, 5), np.full(64, score), logits.period.shape[1])
    return dataclasses.replace(logits, frozen_period=frozen.period, frozen_periodicity=frozen.periodicity)


def golden_case(year, case):
    """Returns the case's logits as the network would hand them over, its frames, period offset, options, and expected results.

    The windows that fill the last batch are one frozen window shown again in a real run. In some of the files' cases they
    differ from each other, so they are handed over as one frozen window that has the mean of their scores.
    """
    path, offset = GOLDEN[year]
    with np.load(path) as file:
        golden = {key.removeprefix(f"{case}_"): file[key] for key in file.files if key.startswith(f"{case}_")}
    spec = json.loads(str(golden["options"]))
    num_frames = int(golden["seq_len"])
    logits = {}
    for stride in spec["strides"]:
        period, periodicity = golden[f"raw_{stride}"], golden[f"within_{stride}"][:, 0]
        num_real = window_frames(num_frames, stride).size
        logits[stride] = StrideLogits(period[:num_real], periodicity[:num_real])
        if len(period) > num_real:
            padding_scores = counting.position_scores(period[num_real:], periodicity[num_real:], offset)[1]
            logits[stride] = with_frozen(logits[stride], padding_scores.mean(dtype=np.float64))
    options = CountingOptions(
        stride_rule=StrideRule.NOTEBOOK,
        video_threshold=spec["threshold"],
        frame_threshold=spec["within_period_threshold"],
        median_filter=spec["median_filter"],
        constant_speed=spec.get("constant_speed", False),
        fully_periodic=spec.get("fully_periodic", False),
        batch_windows=spec["batch_size"],
    )
    return logits, num_frames, offset, options, golden
