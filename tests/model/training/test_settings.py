"""Settings fit each other; the learning rate rises and falls; the average forgets the initial weights soon."""

import dataclasses

import numpy as np
import pytest

from model.training.settings import TrainingSettings

VIDEOS = {"videos": 9, "frozen_encoder": True, "initial_weights": "first.safetensors"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, and finite. Received: 0"),
        ({"minutes": -1.0}, "minutes must be at least 0, and finite. Received: -1.0"),
        ({"minutes": float("nan")}, "minutes must be at least 0, and finite. Received: nan"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, and finite. Received: -0.1"),
        ({"periodicity_weight": -1.0}, "periodicity_weight must be at least 0, and finite. Received: -1.0"),
        ({"path_weight": float("nan")}, "path_weight must be at least 0, and finite. Received: nan"),
        ({"batch_size": 40}, "batch_size must be a multiple of group_clips, 16. Received: 40"),
        ({"buffer_clips": 100}, "buffer_clips must be a multiple of group_clips, 16. Received: 100"),
        ({"buffer_clips": 32}, "buffer_clips must be at least batch_size, 64. Received: 32"),
        ({"views_per_showing": 13}, "views_per_showing must be at most views_per_clip, 12. Received: 13"),
        ({"replay": 0.5}, "replay must be at least 1, and finite. Received: 0.5"),
        ({"replay": float("inf")}, "replay must be at least 1, and finite. Received: inf"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0, and finite. Received: -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, and finite. Received: nan"),
        ({"seed": -1}, "seed must be at least 0, and finite. Received: -1"),
        ({"seed": 2**32}, "seed must be at most 4294967295. Received: 4294967296"),
        ({"warmup": 1.0}, "warmup must be at least 0 and below 1. Received: 1.0"),
        ({"average_decay": 1.0}, "average_decay must be at least 0 and below 1. Received: 1.0"),
        ({"videos": -5}, "videos must not be negative. Received: -5"),
        ({"videos": 9}, "videos need frozen_encoder. Received: 9 videos without"),
        ({"videos": 9, "frozen_encoder": True}, "videos need initial_weights. Received: 9 videos without"),
        ({"frozen_encoder": True}, "frozen_encoder needs initial_weights. Received: none"),
        (VIDEOS | {"whole_periods": True}, "whole_periods is for clips. Received: 9 videos"),
        (VIDEOS | {"without": "camera"}, "without is for clips. Received: 9 videos"),
        (VIDEOS | {"videos": 7}, "batch_videos must be 1 to videos, 7. Received: 8"),
        (VIDEOS | {"batch_videos": 0}, "batch_videos must be 1 to videos, 9. Received: 0"),
        ({"without": "camera,cats"}, "without must list any of .* Received: cats"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_value(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**changes)


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine_to_half_a_percent():
    settings = TrainingSettings(learning_rate=2.0, warmup=0.04)
    assert settings.rate_at(0.0) == 0
    assert settings.rate_at(0.02) == pytest.approx(1.0)
    assert settings.rate_at(0.04) == pytest.approx(2.0)
    assert settings.rate_at(0.52) == pytest.approx(1.005)
    assert settings.rate_at(1.0) == pytest.approx(0.01)
    rates = [settings.rate_at(share) for share in np.linspace(0.04, 1, 50)]
    assert rates == sorted(rates, reverse=True)
    assert dataclasses.replace(settings, warmup=0.0).rate_at(0.0) == 2.0


def test_the_average_forgets_the_initial_weights_soon():
    settings = TrainingSettings()
    share_of_initial = np.prod([settings.decay_at(step) for step in range(200)])
    assert share_of_initial < 1e-6
    assert settings.decay_at(100_000) == settings.average_decay
