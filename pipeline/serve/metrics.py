"""What the server counts and measures, for Prometheus at `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from pipeline.serve.answers import Answer, Source
from pipeline.serve.request_log import RequestFacts
from pipeline.serve.service import CountingService

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper ends of the classes of durations."""

_COUNTED = "COUNTED"
"""What stands in the place of a failure code for a video that was counted."""


class Metrics:
    """Figures of one server, in a registry of its own."""

    def __init__(self, service: CountingService) -> None:
        """Creates figures that are all zero; those of the queue and of the tables are asked for when they are read."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_State(service))
        self._requests = Counter(
            "repcount_requests", "Requests by route, method and status.", ("route", "method", "status"), registry=self._registry
        )
        self._durations = Histogram(
            "repcount_request_duration_seconds",
            "Seconds from a request to the end of its response.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._answers = Counter(
            "repcount_answers",
            "Answers by result, which is COUNTED or a failure code, and by source, which is counted or tables.",
            ("result", "source"),
            registry=self._registry,
        )
        self._video_sec = Counter(
            "repcount_video_seconds", "Seconds of video in answers that were counted, not found.", registry=self._registry
        )

    def observe_request(self, facts: RequestFacts) -> None:
        """Counts a request."""
        self._requests.labels(facts.route, facts.method, str(facts.status)).inc()
        self._durations.labels(facts.route).observe(facts.duration_sec)

    def observe_answer(self, answer: Answer) -> None:
        """Counts an answer."""
        record = answer.record
        self._answers.labels(_COUNTED if answer.is_counted else record["code"], answer.source.value).inc()
        if answer.is_counted and answer.source is Source.COUNTED:
            self._video_sec.inc(record["duration_sec"] or 0.0)

    def to_text(self) -> bytes:
        """Returns all figures in Prometheus' text format."""
        return generate_latest(self._registry)


def make_router(metrics: Metrics) -> APIRouter:
    """Returns the route that Prometheus reads."""
    router = APIRouter()

    @router.head("/metrics", include_in_schema=False, response_class=Response)
    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"description": "Figures in the text format of Prometheus.", "content": {"text/plain": {}}}},
    )
    async def read_metrics() -> Response:
        """Returns what the server has counted and measured since it started."""
        return Response(await asyncio.to_thread(metrics.to_text), media_type=CONTENT_TYPE_LATEST)

    return router


class _State(Collector):
    """Figures that the service and its tables know at any time."""

    def __init__(self, service: CountingService) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Returns nothing, so that registering asks for no figure."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yields the figures as they are now."""
        service = self._service
        yield GaugeMetricFamily("repcount_ready", "1 if requests are taken, else 0.", value=service.is_ready)
        yield GaugeMetricFamily("repcount_queue_videos", "Videos that wait.", value=service.num_waiting)
        yield GaugeMetricFamily("repcount_counting_videos", "Videos that are counted, 0 or 1.", value=service.is_counting)
        if service.keeper is None:
            return
        figures = service.keeper.figures
        for name, text in _STORE_COUNTERS:
            yield CounterMetricFamily(f"repcount_tables_{name}", text, value=getattr(figures, name))
        yield GaugeMetricFamily(
            "repcount_tables_waiting_answers", "Answers that wait to be written to the tables.", value=figures.waiting
        )


_STORE_COUNTERS = (
    ("found", "Lookups with an answer."),
    ("missed", "Lookups without an answer."),
    ("unread", "Lookups that the tables did not answer."),
    ("stored", "Answers written to the tables."),
    ("lost", "Answers that were not written: too many waited, the server ended, or the schema refused them."),
    ("failed_commits", "Attempts to write answers that failed."),
)
"""Name in `StoreFigures` and meaning of the counters of the tables."""
