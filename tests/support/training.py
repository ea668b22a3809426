"""A training run of two small steps, and drawing in this process."""

from concurrent.futures import Future
from typing import ClassVar

from model.config import RepNetConfig
from model.training.settings import TrainingSettings

TINY = RepNetConfig(
    encoder="small",
    encoder_channels=(2, 2, 2),
    embedding_channels=4,
    head_channels=4,
    num_heads=2,
    position_channels=4,
    num_periods=32,
    period_offset=1,
    similarity_channels=2,
)

SETTINGS = TrainingSettings(
    steps=2,
    batch_size=2,
    group_clips=1,
    buffer_clips=2,
    views_per_clip=4,
    views_per_showing=2,
    photographs=False,
    frame_policy="float32",
    seed=3,
)


class InProcess:
    """Replaces the pool of processes, which take seconds to start, and records the numbers of the groups drawn."""

    numbers: ClassVar[list[int]] = []

    def __init__(self, workers, mp_context, initializer, initargs):
        initializer(*initargs)

    def submit(self, function, slot, number, settings):
        self.numbers.append(number)
        future: Future = Future()
        future.set_result(function(slot, number, settings))
        return future

    def shutdown(self, cancel_futures):
        pass
