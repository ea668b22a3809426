"""Settings of a training run, and the schedule of its learning rate. Imports no Keras: the command line needs the settings."""

from __future__ import annotations

import dataclasses
import math

from model.training.clips import PARTS

_LAST_RATE = 0.005
"""Learning rate at the end of a run, as a share of its peak."""


_LAST_SEED = 2**32 - 1
"""Largest seed that `keras.utils.set_random_seed` takes."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings that determine a training run.

    Attributes:
      steps: Steps to train for, if `minutes` is 0.
      minutes: Minutes to train for, interrupted runs added up. Writing the last weights takes a few seconds more. 0: train for
        `steps`.
      batch_size: Clips shown in a step; a multiple of `group_clips`.
      group_clips: Clips that are drawn, kept and shown together; a view may show one clip of a group after another.
      replay: Mean number of times that a clip is shown, each time in other views and colours; at least 1. Raise it where
        drawing is slower than training.
      buffer_clips: Most clips that wait on the device to be shown again; a multiple of `group_clips`. One takes 2.4 MB.
      views_per_clip: Views drawn of every clip, see `model.training.views`.
      views_per_showing: Views of a clip that a step shows; the next showing continues with others.
      learning_rate: Peak learning rate. It then falls to 0.5 % of the peak along a cosine.
      warmup: Share of the run over which the learning rate rises to its peak.
      weight_decay: Weight decay of AdamW, of kernels only.
      periodicity_weight: Weight of the periodicity loss; the period loss has 1.
      average_decay: Decay of the running average of the weights, which is what is exported.
      seed: Seed of the initial weights, the dropout, the augmentation and the clips.
      frame_policy: Keras dtype policy of the encoder and the taps. "auto": "mixed_bfloat16" on devices that multiply bfloat16
        matrices, else "float32".
      augment: Whether to mirror and recolour clips anew each time they are shown.
      photographs: Whether some textures are parts of photographs, see `model.training.photographs`.
      initial_weights: Path of a weights file to start from. Variables with the same name and shape are taken from it. Empty:
        start from random numbers.
      without: Parts of `clips.PARTS` to leave out of the clips, separated by commas, for ablation.
      whole_periods: Whether to teach only the class nearest to the period instead of two, for ablation.
      frozen_encoder: Whether to keep what embeds frames as it is in `initial_weights`: the encoder, the taps and the layout. A
        step is then three times as fast.
      videos: Whole videos to train on instead of clips: the heads learn to vote for the periods, see `model.training.votes`. It
        needs TensorFlow, `frozen_encoder` and `initial_weights`. Each video is encoded once, and takes 1.4 MB of disk and of
        memory. Every third is slow, and shows its frames several times. 0: train on clips.
      batch_videos: Videos shown in a step.
      path_weight: Weight of the loss of a video's path, in nats, see `model.training.path_loss`; the period loss has 1.
    """

    steps: int = 8000
    minutes: float = 0.0
    batch_size: int = 64
    group_clips: int = 16
    replay: float = 2.6
    buffer_clips: int = 2048
    views_per_clip: int = 12
    views_per_showing: int = 4
    learning_rate: float = 1.5e-3
    warmup: float = 0.04
    weight_decay: float = 1e-2
    periodicity_weight: float = 2.0
    average_decay: float = 0.9985
    seed: int = 0
    frame_policy: str = "auto"
    augment: bool = True
    photographs: bool = True
    initial_weights: str = ""
    without: str = ""
    whole_periods: bool = False
    frozen_encoder: bool = False
    videos: int = 0
    batch_videos: int = 8
    path_weight: float = 0.04

    def __post_init__(self) -> None:
        """Raises ValueError if a setting is out of range, does not fit the others, or `without` has unknown parts."""
        self._check_ranges()
        if self.videos:
            self._check_videos()
        if self.frozen_encoder and not self.initial_weights:
            raise ValueError("frozen_encoder needs initial_weights. Received: none")
        for name in ("batch_size", "buffer_clips"):
            if getattr(self, name) % self.group_clips:
                raise ValueError(
                    f"{name} must be a multiple of group_clips, {self.group_clips}. Received: {getattr(self, name)}"
                )
        if self.buffer_clips < self.batch_size:
            raise ValueError(f"buffer_clips must be at least batch_size, {self.batch_size}. Received: {self.buffer_clips}")
        if self.views_per_showing > self.views_per_clip:
            raise ValueError(
                f"views_per_showing must be at most views_per_clip, {self.views_per_clip}. Received: {self.views_per_showing}"
            )
        if unknown := self.parts_left_out - frozenset(PARTS):
            raise ValueError(f"without must list any of {', '.join(PARTS)}. Received: {', '.join(sorted(unknown))}")

    def _check_ranges(self) -> None:
        """Raises ValueError if a number is out of its range."""
        for name in ("steps", "batch_size", "group_clips", "views_per_clip", "views_per_showing", "replay"):
            if not 1 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 1, and finite. Received: {getattr(self, name)}")
        for name in ("minutes", "weight_decay", "periodicity_weight", "path_weight", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, and finite. Received: {getattr(self, name)}")
        if self.seed > _LAST_SEED:
            raise ValueError(f"seed must be at most {_LAST_SEED}. Received: {self.seed}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, and finite. Received: {self.learning_rate}")
        for name in ("warmup", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1. Received: {getattr(self, name)}")

    def _check_videos(self) -> None:
        """Raises ValueError if the settings of a run on videos do not fit each other."""
        if self.videos < 0:
            raise ValueError(f"videos must not be negative. Received: {self.videos}")
        for name in ("frozen_encoder", "initial_weights"):
            if not getattr(self, name):
                raise ValueError(f"videos need {name}. Received: {self.videos} videos without")
        for name in ("without", "whole_periods"):
            if getattr(self, name):
                raise ValueError(f"{name} is for clips. Received: {self.videos} videos")
        if not 1 <= self.batch_videos <= self.videos:
            raise ValueError(f"batch_videos must be 1 to videos, {self.videos}. Received: {self.batch_videos}")

    @property
    def parts_left_out(self) -> frozenset[str]:
        """The parts in `without`."""
        return frozenset(part for part in self.without.split(",") if part)

    @property
    def groups_per_step(self) -> int:
        """Groups of clips shown in a step."""
        return self.batch_size // self.group_clips

    def rate_at(self, progress: float) -> float:
        """Returns the learning rate at a share of the run, 0..1: it rises linearly, then falls along a cosine."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        falling = (min(progress, 1.0) - self.warmup) / (1.0 - self.warmup)
        return self.learning_rate * (_LAST_RATE + (1.0 - _LAST_RATE) * (0.5 + 0.5 * math.cos(math.pi * falling)))

    def decay_at(self, step: int) -> float:
        """Returns the decay of the running average at a step; it is lower at first, so that the initial weights soon fade."""
        return min(self.average_decay, (1.0 + step) / (10.0 + step))
