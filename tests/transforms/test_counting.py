"""Every video in a pipeline ends as exactly one count or one failure."""

import math

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.support.scores import FACTS, OPTIONS, PERIOD_OFFSET, chunk, chunks, failure, video
from transforms.coders import VideoRefCoder
from transforms.counting import CountVideos
from transforms.failure_codes import FailureCode, Stage
from transforms.records import ChunkScores, Failure


def outline(item):
    if isinstance(item, Failure):
        return item.video, item.code
    return item.video, round(item.counted.count, 6), len(item.times_sec)


class TestCountVideos:
    def test_every_video_is_either_counted_or_failed(self):
        good, other_generation = video("good.mp4"), video("good.mp4", generation=8)
        empty, cut, poisoned = video("empty.mp4"), video("cut.mp4"), video("poisoned.mp4")
        poisoned_scores = chunk(poisoned, facts=FACTS)
        poisoned_scores.logits[1].period[0, 0] = math.nan
        items = [
            chunk(cut, 1),
            *reversed(chunks(good)),
            failure(Stage.DECODE, FailureCode.EMPTY_FILE, empty),
            poisoned_scores,
            *chunks(other_generation),
            chunk(cut, 0),
        ]

        pipeline = test_pipeline.TestPipeline(runner="FnApiRunner")
        results = pipeline | beam.Create(items) | CountVideos(OPTIONS, PERIOD_OFFSET)
        expected = [
            (good, 18.75, 300),
            (other_generation, 18.75, 300),
            (empty, FailureCode.EMPTY_FILE),
            (cut, FailureCode.INCOMPLETE),
            (poisoned, FailureCode.COUNTING_FAILED),
        ]
        assert_that(results | beam.Map(outline), equal_to(expected))
        result = pipeline.run()
        result.wait_until_finish()

        counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("repcount"))["counters"]
        assert {counter.key.metric.name: counter.committed for counter in counters} == {
            "videos_counted": 2,
            "videos_failed": 3,
            "videos_failed_EMPTY_FILE": 1,
            "videos_failed_INCOMPLETE": 1,
            "videos_failed_COUNTING_FAILED": 1,
        }

    def test_groups_by_the_bytes_of_the_videos_coder(self, monkeypatch):
        encoded = []
        encode = VideoRefCoder.encode

        def noted_encode(coder, ref):
            encoded.append(ref)
            return encode(coder, ref)

        monkeypatch.setattr(VideoRefCoder, "encode", noted_encode)

        with test_pipeline.TestPipeline(runner="FnApiRunner") as pipeline:
            results = pipeline | beam.Create(chunks()) | CountVideos(OPTIONS, PERIOD_OFFSET)
            assert_that(results | beam.combiners.Count.Globally(), equal_to([1]))

        assert set(encoded) == {video()}

    def test_counts_where_beam_checks_the_types_of_elements(self):
        options = PipelineOptions(runtime_type_check=True)
        with test_pipeline.TestPipeline(runner="FnApiRunner", options=options) as pipeline:
            items = [*chunks(), failure(Stage.DECODE, FailureCode.EMPTY_FILE, video("empty.mp4"))]
            scored = pipeline | beam.Create(items).with_output_types(ChunkScores | Failure)
            counted = scored | CountVideos(OPTIONS, PERIOD_OFFSET)
            assert_that(counted | beam.combiners.Count.Globally(), equal_to([2]))
