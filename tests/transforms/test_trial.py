"""A process for one video shows whether the video kills it."""

import os
import signal

import pytest

from tests.support.decoding import look_up
from tests.support.scorers import DeadlyScorer, FakeScorer
from tests.support.videos import draw_deadly, draw_video
from transforms import trial
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess

OPTIONS = DecodingOptions(chunk_frames=50)


@pytest.fixture
def clip(tmp_path):
    return look_up(draw_video(tmp_path / "clip.mp4", 70))


def refuse_to_load():
    raise RuntimeError("no model")


def test_a_video_that_kills_a_process_that_scores_it_is_found(tmp_path):
    deadly = look_up(draw_deadly(tmp_path / "deadly.mp4"))
    assert trial.find_death(deadly, OPTIONS, DecoderProcess, DeadlyScorer) == "SIGKILL"


@pytest.mark.slow
def test_a_video_that_kills_no_process_that_scores_it_is_not_to_blame(tmp_path):
    deadly = look_up(draw_deadly(tmp_path / "deadly.mp4"))
    assert trial.find_death(deadly, OPTIONS, DecoderProcess, FakeScorer) == ""
    assert trial.find_death(deadly, OPTIONS, DecoderProcess, None) == ""


@pytest.mark.slow
def test_a_process_that_ends_by_itself_says_nothing_against_a_video(clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert trial.find_death(clip, OPTIONS, DecoderProcess, DeadlyScorer) == ""
    assert trial.find_death(look_up(tmp_path / "text.mp4"), OPTIONS, DecoderProcess, DeadlyScorer) == ""
    assert trial.find_death(clip, OPTIONS, DecoderProcess, refuse_to_load) == ""


def be_interrupted():
    os.kill(os.getpid(), signal.SIGINT)


def test_who_ends_the_process_from_outside_says_nothing_against_a_video(clip):
    assert trial.find_death(clip, OPTIONS, DecoderProcess, be_interrupted) == ""


def test_modules_in_the_current_folder_are_not_imported(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert trial.find_death(clip, OPTIONS, DecoderProcess, FakeScorer) == ""
