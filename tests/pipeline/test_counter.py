"""One video is counted in this process as the pipeline counts it, up to its first failure."""

import dataclasses

import numpy as np
import pytest

from model import scoring
from model.counting_options import CountingOptions
from pipeline import counter as counter_module
from pipeline.command_line import UsageError
from pipeline.counter import Counter, count_video, load_counter, warm_up
from pipeline.main import parse
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecoderStartError
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError
from transforms.objects import find_object
from transforms.records import Failure, VideoCount
from transforms.scoring import ModelConfig

MODEL = ModelConfig("fake", "0" * 64, FakeScorer.strides, "float32", period_offset=1)
COUNTER = Counter(DecodingOptions(chunk_frames=128), FakeScorer(), CountingOptions(), MODEL)


def uniform(level):
    return lambda index: np.full((48, 64, 3), level, np.uint8)


def test_a_machine_that_cannot_score_in_8_bits_is_a_usage_error(monkeypatch):
    def refuse(frame_model):
        raise ValueError("int8 needs oneDNN")

    monkeypatch.setattr(scoring, "_check_int8", refuse)
    with pytest.raises(UsageError, match="int8 needs oneDNN"):
        load_counter(parse(["count", "--precision", "int8", "clip.mp4"]))


def test_a_video_is_given_up_at_its_first_failure(tmp_path):
    class CountingScorer(FakeScorer):
        calls = 0

        def score(self, frames, *, is_last=True, repeats=1):
            self.calls += 1
            return super().score(frames, is_last=is_last, repeats=repeats)

    scorer = CountingScorer()
    video = find_object(str(draw_video(tmp_path / "bright.mp4", 300, draw=uniform(250))))
    assert video
    result = count_video(video, dataclasses.replace(COUNTER, scorer=scorer))
    assert isinstance(result, Failure)
    assert result.code is FailureCode.SCORING_FAILED
    assert scorer.calls == 1


def test_a_video_longer_than_a_chunk_counts_as_a_whole(tmp_path):
    video = find_object(str(draw_video(tmp_path / "long.mp4", 300)))
    assert video
    result = count_video(video, COUNTER)
    assert isinstance(result, VideoCount)
    assert len(result.times_sec) == 300
    assert result.counted.count == pytest.approx(15.0)


def test_a_video_that_vanishes_fails_alone(tmp_path):
    path = draw_video(tmp_path / "short_lived.mp4", 10)
    video = find_object(str(path))
    assert video
    path.unlink()
    result = count_video(video, COUNTER)
    assert isinstance(result, Failure)
    assert (result.stage, result.code) == (Stage.DECODE, FailureCode.GONE)


def test_a_warm_counter_has_scored_and_its_decoder_runs():
    class Scorer(FakeScorer):
        shapes = ()

        def score(self, frames, *, is_last=True, repeats=1):
            self.shapes += (frames.shape,)
            return super().score(frames)

    scorer = Scorer()
    counter_module._decoder().close()
    warm_up(dataclasses.replace(COUNTER, scorer=scorer))
    assert scorer.shapes == ((128, 112, 112, 3),)
    assert counter_module._decoder().pid is not None


def test_a_machine_without_the_required_sandbox_is_found_out_before_the_first_video(monkeypatch):
    def refuse(self, file, options):
        raise DecoderStartError("a sandbox is required")
        yield

    monkeypatch.setattr(counter_module.DecoderProcess, "read", refuse)
    with pytest.raises(MachineFaultError, match="a sandbox is required"):
        warm_up(COUNTER)
