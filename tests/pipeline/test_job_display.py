"""Whoever waits for a job on other machines sees its page, states and counters, and a silent service fails no run."""

import logging
import re
import time
from types import SimpleNamespace

import pytest
import rich.console

from pipeline import job_display
from pipeline.job_display import job_page, read_counters, wait_for_job
from pipeline.progress_figures import Figures, WholeRun
from pipeline.run_config import make_pipeline_options
from tests.support.terminals import lines_of
from transforms.records import Slice

PAGE = "https://console.cloud.google.com/dataflow/jobs/europe-west4/2026-01-01_00_00_00-1?project=my-project"

SCORING = {"videos_selected": 10, "videos_skipped": 5, "videos_scored": 4, "failures_found": 2, "frames_scored": 1200}


def options_for(runner="DataflowRunner"):
    return make_pipeline_options(["--runner", runner, "--project", "my-project", "--region", "europe-west4"])


class FakeJob:
    """A job that goes through states, each for as long as one look at it takes, and has counters."""

    has_job = True

    def __init__(self, states=("PENDING", "RUNNING", "DONE"), counters=None, error=None):
        self._states = list(states)
        self._counters = counters or {}
        self._error = error
        self.looks = 0
        self.state_error = self.metrics_error = None

    def job_id(self):
        return "2026-01-01_00_00_00-1"

    @property
    def state(self):
        if self.state_error:
            raise self.state_error
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def is_in_terminal_state(self):
        return len(self._states) == 1

    def metrics(self):
        return self

    def query(self, metrics_filter):
        self.looks += 1
        if self.metrics_error:
            raise self.metrics_error
        return {
            "counters": [
                SimpleNamespace(
                    key=SimpleNamespace(metric=SimpleNamespace(name=name)), attempted=value, committed=None, result=value
                )
                for name, value in self._counters.items()
            ]
        }

    def wait_until_finish(self):
        deadline = time.monotonic() + 20
        while self.looks < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._error:
            self._states = [self._states[-1]]
            raise self._error
        return self._states[-1]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(job_display, "_INTERVAL_SEC", 0.05)


def test_a_dataflow_job_has_a_page():
    assert job_page(FakeJob(), options_for()) == PAGE


@pytest.mark.parametrize("job", [FakeJob(), object()])
def test_a_job_of_another_runner_has_no_page(job):
    assert job_page(job, options_for("FlinkRunner")) == ""


def test_a_job_that_only_became_a_template_has_no_page():
    assert job_page(SimpleNamespace(has_job=False), options_for()) == ""


def test_page_and_states_with_their_times_are_printed_once(capsys):
    assert wait_for_job(FakeJob(), options_for()) == "DONE"
    out, err = capsys.readouterr()
    page, *states = err.splitlines()
    assert (out, page) == ("", f"job: {PAGE}")
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", line) for line in states] == [
        "TIME UTC: the job is PENDING",
        "TIME UTC: the job is RUNNING",
        "TIME UTC: the job is DONE",
    ]


def test_counters_are_printed_when_they_are_new(capsys, monkeypatch):
    monkeypatch.setattr(job_display, "LINE_SEC", 0.0)
    wait_for_job(FakeJob(counters=SCORING), options_for())
    lines = [line for line in capsys.readouterr().err.splitlines() if "done" in line]
    assert lines == ["4 of 10 videos done, 2 failed"]


def test_counters_of_a_slice_also_tell_of_the_whole_run(capsys):
    wait_for_job(FakeJob(counters=SCORING), options_for(), WholeRun(Slice(2, 3), 30, 10))
    assert "Slice 2 of 3: 4 of 10 videos done, 2 failed; all slices: 14 of 30 videos done\n" in capsys.readouterr().err


def test_nothing_is_told_of_counters_before_videos_are_selected(capsys):
    wait_for_job(FakeJob(counters={}), options_for())
    assert "videos" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["state_error", "metrics_error"])
def test_a_service_that_does_not_answer_is_told_once_and_the_job_goes_on(capsys, kind):
    job = FakeJob()
    setattr(job, kind, OSError("503 the service\nis unavailable"))
    assert wait_for_job(job, options_for()) == "DONE"
    told = [line for line in capsys.readouterr().err.splitlines() if "unavailable" in line]
    name = kind.removesuffix("_error").replace("metrics", "counters")
    assert told == [f"the job goes on, but its {name} cannot be read: OSError: 503 the service is unavailable"]


def test_requests_of_the_display_that_fail_are_not_logged_by_beam_as_well(caplog):
    logger = logging.getLogger("apache_beam.utils.retry")

    class NoisyJob(FakeJob):
        def query(self, metrics_filter):
            logger.warning("retrying")
            return super().query(metrics_filter)

        def wait_until_finish(self):
            logger.warning("of the job itself")
            return super().wait_until_finish()

    wait_for_job(NoisyJob(), options_for())
    assert caplog.messages == ["of the job itself"]


def test_a_job_that_fails_shows_its_last_state_and_raises_its_error(capsys):
    job = FakeJob(states=("RUNNING", "RUNNING", "RUNNING", "RUNNING", "RUNNING", "FAILED"), error=RuntimeError("it failed"))
    with pytest.raises(RuntimeError, match="it failed"):
        wait_for_job(job, options_for())
    assert capsys.readouterr().err.endswith("the job is FAILED\n")


def test_an_interrupt_ends_the_wait_without_asking_again_and_says_that_the_job_goes_on(capsys):
    with pytest.raises(KeyboardInterrupt):
        wait_for_job(FakeJob(error=KeyboardInterrupt()), options_for())
    assert f"the job goes on, and is paid for, unless you cancel it: {PAGE}\n" in capsys.readouterr().err


def test_quiet_prints_nothing_and_asks_nothing(capsys):
    logging.getLogger().setLevel(logging.ERROR)
    job = FakeJob()
    job.looks = 4
    assert wait_for_job(job, options_for()) == "DONE"
    assert capsys.readouterr() == ("", "")
    assert job.looks == 4


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_has_a_line_with_state_and_counters_that_fits(capsys, monkeypatch, width):
    def console(**options):
        return rich.console.Console(width=width, force_terminal=True, color_system=None, **options)

    monkeypatch.setattr(job_display, "Console", console)
    counters = {name: 1000 * value for name, value in SCORING.items()}
    wait_for_job(FakeJob(counters=counters), options_for(), WholeRun(Slice(2, 3), 30_000, 10_000))
    page, *lines = lines_of(capsys.readouterr().err)
    assert page == f"job: {PAGE}"  # whole, so that it can be clicked
    assert max(map(len, lines)) <= width
    shown = " ".join(lines)
    for figure in ("DONE", "slice 2 of 3", "listed 15,000", "skipped 5,000", "done 4,000 of 10,000", "failed 2,000"):
        assert figure in shown, figure


def test_counting_after_scoring_decides_what_has_failed():
    counted = {**SCORING, "videos_scored": 10, "failures_found": 7, "videos_counted": 8, "videos_failed": 2}
    assert read_counters(FakeJob(counters=counted)) == Figures(listed=15, skipped=5, done=10, failed=2, frames=1200)


def test_counters_of_retries_never_exceed_the_videos():
    retried = {"videos_selected": 3, "videos_scored": 5, "failures_found": 9, "frames_scored": 10}
    assert read_counters(FakeJob(counters=retried)) == Figures(listed=3, skipped=0, done=3, failed=3, frames=10)
