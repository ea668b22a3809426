"""A run's steps work hand in hand: what is done with one video is known before the next one is begun."""

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.graph import build_pipeline, make_handler
from pipeline.run_config import LOCAL_RUNNER
from tests.support.runs import make_config
from tests.support.samples import make_provenance
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from transforms.inference import RepNetModelHandler
from transforms.progress import Marked, MarkReader
from transforms.scoring import ModelConfig


class WatchfulScorer(FakeScorer):
    """Notes before each chunk how many videos are marked as finished."""

    path = ""
    seen: list[int]

    def score(self, frames, *, is_last=True, repeats=1):
        self.seen.append(MarkReader(self.path).read().done)
        return super().score(frames, is_last=is_last, repeats=repeats)


def test_a_video_is_marked_before_the_next_one_is_scored(tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        draw_video(tmp_path / name, 150)
    (tmp_path / "empty.mp4").touch()
    progress_path = str(tmp_path / "progress")
    monkeypatch.setattr(WatchfulScorer, "path", progress_path)
    monkeypatch.setattr(WatchfulScorer, "seen", [], raising=False)
    config, provenance = make_config(tmp_path), make_provenance()
    config.warehouse.prepare()
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner", LOCAL_RUNNER]))
    build_pipeline(pipeline, config, provenance, RepNetModelHandler(WatchfulScorer), progress_path)
    pipeline.run().wait_until_finish()
    first, *others = WatchfulScorer.seen
    assert len(others) == 5
    assert first <= 1  # the empty file may come first
    assert others[-1] >= 2
    assert others == sorted(others)
    assert MarkReader(progress_path).read() == Marked(done=4, failed=1, frames=450)


def test_workers_load_the_model_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(ModelConfig, "load_scorer", lambda model: ("loaded", model))
    config = make_config(tmp_path)
    assert make_handler(config).load_model() == ("loaded", config.model)
